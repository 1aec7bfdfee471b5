"""The demo: its sample follows its model, and its stated truth agrees with independent calculations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, linalg, stats

from infoser import demo
from infoser.errors import InfoserError

AUDIO, TEXT = demo.AUDIO_DIM, demo.TEXT_DIM


@pytest.fixture(scope="module")
def large() -> demo.Corpus:
    return demo.sample(seed=1, size=60_000)


def test_layout() -> None:
    corpus = demo.sample()
    assert len(corpus) == 1200 and corpus.name == "demo"
    assert corpus.audio.shape == (1200, 24) and corpus.text is not None and corpus.text.shape == (1200, 32)
    assert corpus.audio.dtype == corpus.text.dtype == np.float32 and corpus.label.dtype == np.int32
    assert corpus.session is not None and corpus.dialogue is not None
    assert len(set(corpus.session.tolist())) == 5 and len(set(corpus.speaker.tolist())) == 10
    assert len(set(corpus.dialogue.tolist())) == 30
    pairs = set(zip(corpus.session.tolist(), corpus.speaker.tolist(), strict=True))
    assert len(pairs) == 10 and all(speaker.startswith(f"Ses{session}") for session, speaker in pairs)
    assert "synthetic" in corpus.provenance["source"]


def test_labels_are_imbalanced_and_a_quarter_is_missing() -> None:
    corpus = demo.sample()
    assert 0.2 < 1 - corpus.labelled.mean() < 0.3
    counts = np.bincount(corpus.label[corpus.labelled])
    assert counts.max() > 2.5 * counts.min()
    emotion = corpus.columns["emotion"]
    np.testing.assert_array_equal(emotion[corpus.labelled], np.array(corpus.classes)[corpus.label[corpus.labelled]])
    assert set(emotion[~corpus.labelled].tolist()) == set(demo.OUTSIDE)
    assert corpus.provenance["unlabelled"] == {name: int((emotion == name).sum()) for name in demo.OUTSIDE}


def test_transcripts_come_back_only_among_scripted_lines() -> None:
    corpus = demo.sample()
    scripted, transcript = corpus.columns["scripted"], corpus.columns["transcript_hash"]
    assert scripted.dtype == bool and 0.4 < scripted.mean() < 0.6
    improvised = transcript[~scripted]
    assert len(set(improvised.tolist())) == len(improvised)
    assert corpus.session is not None
    in_sessions = [set(corpus.session[transcript == each].tolist()) for each in set(transcript[scripted].tolist())]
    assert sum(len(sessions) > 1 for sessions in in_sessions) > 20


def test_sampling_is_deterministic_and_the_truth_is_one() -> None:
    one, again, other = demo.sample(seed=4), demo.sample(seed=4), demo.sample(seed=5)
    np.testing.assert_array_equal(one.audio, again.audio)
    np.testing.assert_array_equal(one.columns["transcript_hash"], again.columns["transcript_hash"])
    assert not np.array_equal(one.audio, other.audio)
    first = demo.truth()
    demo.truth.cache_clear()
    demo.parameters.cache_clear()
    assert demo.truth() == first


def test_too_small_a_sample_is_refused() -> None:
    with pytest.raises(InfoserError, match="at least 60 utterances, not 3"):
        demo.sample(size=3)


def test_sample_moments_agree_with_the_model(large: demo.Corpus) -> None:
    """Within a speaker the offsets cancel; across speakers their covariance is what the model says (few draws, so loosely)."""
    assert large.text is not None
    model = demo.parameters()
    joint = np.concatenate([large.audio, large.text], axis=1).astype(float)
    emotions = np.array(demo.CLASSES + demo.OUTSIDE)
    index = np.argmax(large.columns["emotion"][:, None] == emotions, axis=1)
    residual = joint - np.concatenate([model.audio_mean, model.text_mean], axis=1)[index]
    speakers = np.unique(large.speaker)
    offsets = np.array([residual[large.speaker == speaker].mean(axis=0) for speaker in speakers])
    within = residual - offsets[np.searchsorted(speakers, large.speaker)]

    audio = model.audio_shared @ model.audio_shared.T + np.eye(AUDIO)
    text = model.text_shared @ model.text_shared.T + np.eye(TEXT)
    cross = model.audio_shared @ model.text_shared.T
    expected = np.block([[audio, cross], [cross.T, text]])
    standard_error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(large))
    assert np.max(np.abs(within.T @ within / len(large) - expected) / standard_error) < 5.5

    for cut, loadings in (
        (slice(AUDIO), (model.audio_session, model.audio_speaker)),
        (slice(AUDIO, None), (model.text_speaker,)),
    ):
        power = sum(float(np.sum(loading**2)) for loading in loadings)
        assert 0.5 * power < np.mean(np.sum(offsets[:, cut] ** 2, axis=1)) < 1.8 * power


def test_class_means_are_recovered(large: demo.Corpus) -> None:
    """Differences of class means within speakers are free of offsets."""
    model = demo.parameters()
    means = np.array(
        [
            [large.audio[(large.speaker == speaker) & (large.label == label)].mean(axis=0) for label in range(4)]
            for speaker in np.unique(large.speaker)
        ]
    )
    contrasts = (means - means[:, :1]).mean(axis=0)
    np.testing.assert_allclose(contrasts, model.audio_mean[:4] - model.audio_mean[0], atol=0.1)


def test_information_given_class_agrees_with_canonical_correlations() -> None:
    covariance = demo.parameters().covariance
    audio, text, cross = covariance[:AUDIO, :AUDIO], covariance[AUDIO:, AUDIO:], covariance[:AUDIO, AUDIO:]
    correlations = linalg.svdvals(linalg.inv(linalg.sqrtm(audio)) @ cross @ linalg.inv(linalg.sqrtm(text)))
    assert np.sum(correlations > 1e-8) == demo.SHARED_DIM
    expected = -0.5 * np.sum(np.log(1 - correlations**2))
    assert demo.truth().audio_text_information_given_class_nats == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("modality", demo.MODALITIES)
def test_truth_agrees_with_scipys_densities(modality: demo.Modality) -> None:
    """An independent Monte Carlo in the full feature space, with SciPy's multivariate normal."""
    rng = np.random.default_rng(99)
    cut = {"audio": slice(AUDIO), "text": slice(AUDIO, None), "both": slice(None)}[modality]
    mean, covariance = demo.parameters().class_mean[:, cut], demo.parameters().covariance[cut, cut]
    per_class = 10_000
    label = np.repeat(np.arange(4), per_class)
    features = mean[label] + stats.multivariate_normal(cov=covariance).rvs(len(label), random_state=rng)
    log_density = np.stack([stats.multivariate_normal(each, covariance).logpdf(features) for each in mean], axis=1)
    posterior = np.exp(log_density - np.logaddexp.reduce(log_density, axis=1, keepdims=True))
    np.testing.assert_allclose(demo.class_posterior(features, modality), posterior, atol=1e-9)

    truth = demo.truth()
    log_own = np.log(4 * posterior[np.arange(len(label)), label])
    tolerance = 4 * (log_own.std() / np.sqrt(len(label)) + truth.standard_error[f"class_{modality}_information_nats"])
    assert abs(log_own.mean() - getattr(truth, f"class_{modality}_information_nats")) < tolerance

    for key, prior, weight in (("ua", np.full(4, 0.25), np.full(4, 0.25)), ("wa", demo.CLASS_PRIOR, demo.CLASS_PRIOR)):
        right = np.argmax(log_density + np.log(prior), axis=1) == label
        recall = np.array([right[label == each].mean() for each in range(4)])
        error = np.sqrt(np.sum(weight**2 * recall * (1 - recall)) / per_class)
        value = getattr(truth, f"bayes_{key}_{modality}")
        assert abs(weight @ recall - value) < 4 * (error + truth.standard_error[f"bayes_{key}_{modality}"])


def one_dimensional(distance: float) -> demo.Parameters:
    """Two pairs of classes that coincide, `distance` apart along one text axis of unit noise."""
    model = demo.parameters()
    text_mean = np.zeros_like(model.text_mean)
    text_mean[[2, 3], 0] = distance
    none = {key: np.zeros_like(getattr(model, key)) for key in ("text_speaker", "text_shared")}
    return replace(model, text_mean=text_mean, **none)


def test_a_case_that_quadrature_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Gaussians `d` apart: recall Φ(d/2) of the pair, halved by the ties; information by integration."""
    distance = 1.5
    model = one_dimensional(distance)
    monkeypatch.setattr(demo, "parameters", lambda: model)
    truth = demo.truth.__wrapped__(samples_per_class=50_000)

    def integrand(x: float) -> float:
        densities = [stats.norm.pdf(x), stats.norm.pdf(x - distance)]
        mixture = sum(densities) / 2
        return sum(0.5 * density * np.log(density / mixture) for density in densities)

    expected: Any = integrate.quad(integrand, -10, 12)[0]
    assert truth.class_text_information_nats == pytest.approx(expected, abs=0.006)
    assert truth.audio_text_information_given_class_nats == pytest.approx(0, abs=1e-12)
    assert truth.class_both_information_nats > truth.class_audio_information_nats


def test_the_demo_leaves_room_and_has_something_to_learn() -> None:
    truth = demo.truth()
    assert truth.bayes_ua_audio == pytest.approx(0.72, abs=0.02)
    assert truth.bayes_ua_text == pytest.approx(0.68, abs=0.02)
    assert truth.bayes_ua_both == pytest.approx(0.85, abs=0.02)
    assert 0.8 < truth.audio_text_information_given_class_nats < 1.2
    for modality in demo.MODALITIES:
        assert getattr(truth, f"bayes_wa_{modality}") > getattr(truth, f"bayes_ua_{modality}") - 0.005
        assert 0 < truth.standard_error[f"bayes_ua_{modality}"] < 0.002


def test_bayes_accuracy_is_reached_on_a_sample_and_not_exceeded() -> None:
    """Many small samples, so that the average runs over many speakers."""
    truth = demo.truth()
    recalls = []
    for seed in range(60):
        corpus = demo.sample(seed=seed, size=600)
        chosen = corpus.labelled
        guess = np.argmax(demo.class_posterior(corpus.audio[chosen], "audio"), axis=1)
        label = corpus.label[chosen]
        recalls.append(np.mean([np.mean(guess[label == each] == each) for each in range(4)]))
    assert abs(np.mean(recalls) - truth.bayes_ua_audio) < 4 * np.std(recalls) / np.sqrt(len(recalls))


def test_posterior_with_a_prior_and_of_a_wrong_width() -> None:
    features = demo.sample(size=60).audio
    uniform = demo.class_posterior(features, "audio")
    np.testing.assert_allclose(uniform.sum(axis=1), 1)
    weighted = demo.class_posterior(features, "audio", prior=demo.CLASS_PRIOR)
    expected = uniform * demo.CLASS_PRIOR
    np.testing.assert_allclose(weighted, expected / expected.sum(axis=1, keepdims=True))
    far = demo.class_posterior(1e4 * features, "audio")
    assert np.isfinite(far).all()
    with pytest.raises(ValueError, match="text needs"):
        demo.class_posterior(features, "text")


def test_further_utterances_are_of_the_same_speakers_and_new(large: demo.Corpus) -> None:
    further, other = (demo.further_utterances(1, 60_000, count=40_000, draw=draw) for draw in (1, 2))
    assert len(further) == 40_000 and not np.array_equal(further.audio, other.audio)
    assert not {row.tobytes() for row in further.audio} & {row.tobytes() for row in large.audio}
    for emotion in ("neutral", "frustrated"):
        for speaker in sorted(set(large.speaker.tolist())):
            first, again = (
                corpus.audio[(corpus.speaker == speaker) & (corpus.columns["emotion"] == emotion)]
                for corpus in (large, further)
            )
            # Means of the same distribution: the difference is a few standard errors in every dimension.
            error = first.std(axis=0) * np.sqrt(1 / len(first) + 1 / len(again))
            assert (np.abs(first.mean(axis=0) - again.mean(axis=0)) < 5 * error).all()
    strangers = demo.further_utterances(2, 60_000, count=40_000)
    one, another = (corpus.audio[corpus.speaker == "Ses1F"].mean(axis=0) for corpus in (large, strangers))
    assert np.abs(one - another).max() > 1


def test_audio_drawn_again_shares_what_text_says_and_no_more(large: demo.Corpus) -> None:
    rows, model = np.arange(len(large)), demo.parameters()
    again = demo.audio_again(1, 60_000, rows)
    assert again.dtype == np.float32 and not np.array_equal(again, demo.audio_again(1, 60_000, rows, draw=2))
    np.testing.assert_array_equal(demo.audio_again(1, 60_000, rows)[:3], again[:3])
    assert large.text is not None
    groups = np.unique(np.char.add(large.columns["emotion"], large.speaker), return_inverse=True)[1]

    def centred(features: np.ndarray) -> np.ndarray:
        total = np.stack([np.bincount(groups, column) for column in features.T], axis=1)
        return features - (total / np.bincount(groups)[:, None])[groups]

    first, second, text = (centred(each.astype(np.float64)) for each in (large.audio, again, large.text))
    count = len(rows)
    load, into = model.audio_shared, model.text_shared
    np.testing.assert_allclose(second.T @ second / count, load @ load.T + np.eye(AUDIO), atol=0.06)
    np.testing.assert_allclose(second.T @ text / count, load @ into.T, atol=0.06)
    # Var E[u | t] = I − (I + W_t'W_t)⁻¹: all that the two draws have in common.
    common = np.eye(demo.SHARED_DIM) - np.linalg.inv(np.eye(demo.SHARED_DIM) + into.T @ into)
    np.testing.assert_allclose(second.T @ first / count, load @ common @ load.T, atol=0.06)
    assert not np.allclose(second.T @ first / count, load @ load.T, atol=0.06)
    # The group means are those of the model, speaker by speaker.
    means = [[features[groups == one].mean(axis=0) for one in range(groups.max() + 1)] for features in (large.audio, again)]
    np.testing.assert_allclose(means[0], means[1], atol=0.35)
