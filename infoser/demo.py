"""The demo corpus: synthetic audio and text features whose information and best possible accuracies are known.

An utterance of class c by speaker k in session s has the features

  audio  h = m_h[c] + A_h s + B_h k_h + W_h u + e_h
  text   t = m_t[c]         + B_t k_t + W_t u + e_t

with the session offset s, the speaker offsets k_h and k_t (weaker in the text), the latent u that audio and text share
beyond the class, and the noise e all standard normal. For a speaker not heard before the offsets are unknown, so that
(h, t) given c is Gaussian with one covariance for every class: all that `truth` says follows from that density.
Numpy only; importing this module does not import jax.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

import infoser
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError

Modality = Literal["audio", "text", "both"]
MODALITIES: tuple[Modality, ...] = ("audio", "text", "both")

SIZE = 1200
SMALLEST = 60
AUDIO_DIM = 24
TEXT_DIM = 32
SHARED_DIM = 3
CLASSES = ("angry", "happy", "neutral", "sad")
OUTSIDE = ("frustrated", "surprised")  # emotions outside the task: their utterances carry no label
CLASS_PRIOR = np.array([0.14, 0.26, 0.40, 0.20])  # among labelled utterances; imbalanced, as recorded corpora are
OUTSIDE_SHARE = 0.25
SESSIONS = 5
DIALOGUES = 6  # per session; the first half scripted, the others improvised
SCRIPT_LINES = 30  # per scripted dialogue, the lines that every session speaks again
REPEATED_SHARE = 0.4  # of the scripted utterances

_PARAMETER_SEED = 20255


@dataclass(frozen=True)
class DemoTruth:
    """What is true of the demo's distribution, for unseen speakers; information in nats.

    The class is uniform everywhere but in `bayes_wa_*`. `bayes_ua_*` is the highest unweighted average recall that any
    classifier of that modality can reach, `bayes_wa_*` the highest accuracy under the sampling prior `CLASS_PRIOR`.

    Attributes:
      class_audio_information_nats, class_text_information_nats, class_both_information_nats: I(c;h), I(c;t), I(c;h,t).
      audio_text_information_given_class_nats: I(h;t|c), exact.
      bayes_ua_audio, bayes_ua_text, bayes_ua_both: as above, in 0..1.
      bayes_wa_audio, bayes_wa_text, bayes_wa_both: as above, in 0..1.
      standard_error: by the name of every estimated attribute, its Monte Carlo standard error in that attribute's unit.
    """

    class_audio_information_nats: float
    class_text_information_nats: float
    class_both_information_nats: float
    audio_text_information_given_class_nats: float
    bayes_ua_audio: float
    bayes_ua_text: float
    bayes_ua_both: float
    bayes_wa_audio: float
    bayes_wa_text: float
    bayes_wa_both: float
    standard_error: Mapping[str, float]


@dataclass(frozen=True)
class Parameters:
    """The model's fixed numbers; rows of the means follow `CLASSES`, then `OUTSIDE`.

    Attributes:
      audio_mean, text_mean: (6, audio_dim), (6, text_dim).
      audio_session, audio_speaker, audio_shared: A_h, B_h and W_h, (audio_dim, latents).
      text_speaker, text_shared: B_t and W_t, (text_dim, latents).
    """

    audio_mean: np.ndarray
    text_mean: np.ndarray
    audio_session: np.ndarray
    audio_speaker: np.ndarray
    audio_shared: np.ndarray
    text_speaker: np.ndarray
    text_shared: np.ndarray

    @property
    def class_mean(self) -> np.ndarray:
        """(classes, audio_dim + text_dim) mean of [h; t] for each class of the task."""
        return np.concatenate([self.audio_mean, self.text_mean], axis=1)[: len(CLASSES)]

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of [h; t] given the class, offsets marginalised; square, audio_dim + text_dim wide."""
        audio = sum(load @ load.T for load in (self.audio_session, self.audio_speaker, self.audio_shared))
        text = sum(load @ load.T for load in (self.text_speaker, self.text_shared))
        cross = self.audio_shared @ self.text_shared.T
        return np.block([[audio + np.eye(AUDIO_DIM), cross], [cross.T, text + np.eye(TEXT_DIM)]])


@cache
def parameters() -> Parameters:
    """The demo's parameters: the same whatever the sampling seed, so that the truth is one."""
    rng = np.random.default_rng(_PARAMETER_SEED)

    def normal(rows: int, columns: int, scale: float) -> np.ndarray:
        return scale * rng.standard_normal((rows, columns))

    def directions(rows: int, columns: int, scale: float) -> np.ndarray:
        return scale * np.linalg.qr(rng.standard_normal((rows, columns)))[0]

    emotions = len(CLASSES) + len(OUTSIDE)
    return Parameters(
        audio_mean=normal(emotions, AUDIO_DIM, 0.371),
        text_mean=normal(emotions, TEXT_DIM, 0.27),
        audio_session=directions(AUDIO_DIM, 4, 0.8),
        audio_speaker=directions(AUDIO_DIM, 8, 1.0),
        audio_shared=directions(AUDIO_DIM, SHARED_DIM, 1.7),
        text_speaker=directions(TEXT_DIM, 4, 0.4),
        text_shared=directions(TEXT_DIM, SHARED_DIM, 1.5),
    )


def sample(seed: int = 0, size: int = SIZE) -> Corpus:
    """Draws a demo corpus of `size` utterances: 5 sessions of 2 speakers and 6 dialogues each.

    Columns: `emotion` (also outside the task), `scripted`, and `transcript_hash`, in which some scripted lines come
    back in several sessions. The same seed and size give the same corpus.

    Raises:
      InfoserError: when `size` is too small to hold every session and class, or `seed` is negative.
    """
    return _sampled(seed, size)[0]


def further_utterances(seed: int = 0, size: int = SIZE, *, count: int = SIZE, draw: int = 1) -> Corpus:
    """What the same speakers say further, in the same sessions: rows that no one trained on, of the training distribution.

    Args:
      seed, size: of the corpus whose speakers and sessions these are.
      count: how many utterances, drawn as the corpus' own are.
      draw: another number draws others.

    Raises:
      InfoserError: as `sample`.
    """
    _, offsets = _sampled(seed, size)
    return _sampled(seed, count, offsets, draw)[0]


def audio_again(seed: int, size: int, rows: np.ndarray, draw: int = 1) -> np.ndarray:
    """Audio features of utterances of `sample(seed, size)`, drawn anew given their emotion, text, speaker and session.

    What a perfect generator makes of a class and the text of a training row: such rows are nearer to that row than other
    rows of the speaker are, for what text says of audio, without a memory of it.

    Args:
      seed, size: of the corpus.
      rows: (n,) rows of it; a row may be named again.
      draw: another number draws others.

    Returns:
      (n, AUDIO_DIM) float32.
    """
    corpus, (of_session, of_speaker, of_speaker_in_text) = _sampled(seed, size)
    assert corpus.text is not None and corpus.session is not None
    model, rng = parameters(), np.random.default_rng([seed, draw, 1])
    names = {name: number for number, name in enumerate(CLASSES + OUTSIDE)}
    emotion = np.array([names[name] for name in corpus.columns["emotion"][rows]])
    session = corpus.session[rows].astype(int) - 1
    speaker = 2 * session + np.char.endswith(corpus.speaker[rows], "M")
    # u given t: normal, of precision I + W_t'W_t, the noise being white.
    rest = corpus.text[rows] - model.text_mean[emotion] - of_speaker_in_text[speaker]
    precision = np.eye(SHARED_DIM) + model.text_shared.T @ model.text_shared
    mean = np.linalg.solve(precision, model.text_shared.T @ rest.T).T
    shared = mean + np.linalg.solve(np.linalg.cholesky(precision).T, rng.standard_normal((SHARED_DIM, len(rows)))).T
    audio = model.audio_mean[emotion] + of_session[session] + of_speaker[speaker] + shared @ model.audio_shared.T
    return (audio + rng.standard_normal((len(rows), AUDIO_DIM))).astype(np.float32)


def _sampled(
    seed: int, size: int, offsets: tuple[np.ndarray, ...] | None = None, draw: int = 0
) -> tuple[Corpus, tuple[np.ndarray, ...]]:
    if seed < 0:
        raise InfoserError(f"the demo corpus' seed is an integer from 0 on, not {seed}")
    if size < SMALLEST:
        raise InfoserError(f"the demo corpus needs at least {SMALLEST} utterances, not {size}")
    rng = np.random.default_rng([seed, draw] if draw else seed)
    model = parameters()
    dialogue_index = np.arange(size) * (SESSIONS * DIALOGUES) // size
    session, within = dialogue_index // DIALOGUES, dialogue_index % DIALOGUES
    male = rng.integers(2, size=size)
    speaker_index = 2 * session + male
    prior = np.concatenate([CLASS_PRIOR * (1 - OUTSIDE_SHARE), np.full(len(OUTSIDE), OUTSIDE_SHARE / len(OUTSIDE))])
    emotion = rng.choice(len(prior), size=size, p=prior)

    def drawn(loading: np.ndarray, count: int) -> np.ndarray:
        return rng.standard_normal((count, loading.shape[1])) @ loading.T

    shared = rng.standard_normal((size, SHARED_DIM))
    audio = model.audio_mean[emotion] + shared @ model.audio_shared.T + rng.standard_normal((size, AUDIO_DIM))
    own = [drawn(model.audio_session, SESSIONS), drawn(model.audio_speaker, 2 * SESSIONS)]
    text = model.text_mean[emotion] + shared @ model.text_shared.T + rng.standard_normal((size, TEXT_DIM))
    own.append(drawn(model.text_speaker, 2 * SESSIONS))
    of_session, of_speaker, of_speaker_in_text = offsets or own
    audio += of_session[session] + of_speaker[speaker_index]
    text += of_speaker_in_text[speaker_index]

    scripted = within < DIALOGUES // 2
    lines = rng.integers(2**63, size=(DIALOGUES, SCRIPT_LINES))
    repeated = scripted & (rng.random(size) < REPEATED_SHARE)
    line = lines[within, rng.integers(SCRIPT_LINES, size=size)]
    transcript = np.where(repeated, line, rng.integers(2**63, size=size))
    names = np.array(CLASSES + OUTSIDE)[emotion]
    label = np.where(emotion < len(CLASSES), emotion, UNLABELLED).astype(np.int32)
    gender = np.array(["F", "M"])[male]
    dialogue = np.array(
        [
            f"Ses{s + 1}_{'script' if w < DIALOGUES // 2 else 'impro'}{w % (DIALOGUES // 2) + 1}"
            for s, w in zip(session, within, strict=True)
        ]
    )
    turn = np.arange(size) - np.searchsorted(dialogue_index, dialogue_index)
    corpus = Corpus(
        name="demo",
        utterance_id=np.array([f"{d}_{g}{n:03d}" for d, g, n in zip(dialogue, gender, turn, strict=True)]),
        audio=audio.astype(np.float32),
        text=text.astype(np.float32),
        label=label,
        classes=CLASSES,
        speaker=np.array([f"Ses{s + 1}{g}" for s, g in zip(session, gender, strict=True)]),
        session=(session + 1).astype(str),
        dialogue=dialogue,
        columns={
            "emotion": names,
            "scripted": scripted,
            "transcript_hash": np.array([f"{each:016x}" for each in transcript]),
        },
        provenance={
            "source": "synthetic (infoser.demo): no recorded speech",
            "settings": {"kind": "demo", "seed": seed, "size": size, "infoser": infoser.__version__},
            "unlabelled": dict(sorted(Counter(names[label == UNLABELLED].tolist()).items())),
            "skipped": {},
        },
    )
    return corpus, (of_session, of_speaker, of_speaker_in_text)


@cache
def truth(samples_per_class: int = 100_000, seed: int = 0) -> DemoTruth:
    """The demo's information and best possible accuracies; the estimated ones by Monte Carlo under the true densities.

    Args:
      samples_per_class: Monte Carlo draws for each class, the same number for each, per modality.
      seed: of those draws; it does not touch the model.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, float] = {}
    errors: dict[str, float] = {}

    def estimate(key: str, draws: np.ndarray, weights: np.ndarray) -> None:
        """Weighted mean over classes of (classes, samples) draws, stratified by class."""
        values[key] = float(weights @ draws.mean(axis=1))
        errors[key] = float(np.sqrt(weights**2 @ draws.var(axis=1) / draws.shape[1]))

    uniform = np.full(len(CLASSES), 1 / len(CLASSES))
    for modality in MODALITIES:
        centres = _discriminants(modality)
        points = centres[:, None] + rng.standard_normal((len(CLASSES), samples_per_class, centres.shape[1]))
        scores = points @ centres.T - 0.5 * np.sum(centres**2, axis=1)  # log density of each class, up to a constant
        own = np.arange(len(CLASSES))[:, None]
        log_posterior = scores - np.logaddexp.reduce(scores, axis=2, keepdims=True)
        own_log_posterior = np.take_along_axis(log_posterior, own[:, :, None], axis=2)[:, :, 0]
        estimate(f"class_{modality}_information_nats", own_log_posterior + np.log(len(CLASSES)), uniform)
        estimate(f"bayes_ua_{modality}", np.argmax(scores, axis=2) == own, uniform)
        estimate(f"bayes_wa_{modality}", np.argmax(scores + np.log(CLASS_PRIOR), axis=2) == own, CLASS_PRIOR)
    return DemoTruth(audio_text_information_given_class_nats=_information_given_class(), standard_error=errors, **values)


def class_posterior(features: np.ndarray, modality: Modality, prior: np.ndarray | None = None) -> np.ndarray:
    """p(class | features) under the true densities, for utterances of unseen speakers.

    Args:
      features: (N, width), in the corpus' own scale: audio, text, or audio and text side by side for "both".
      modality: which of them the features are.
      prior: (classes,) probabilities; None is uniform.

    Returns:
      (N, classes) float64, rows sum to one.

    Raises:
      ValueError: when the width is not that of the modality.
    """
    chosen = _chosen(modality)
    mean = parameters().class_mean[:, chosen]
    if features.ndim != 2 or features.shape[1] != mean.shape[1]:
        raise ValueError(f"features of shape {features.shape}; {modality} needs (utterances, {mean.shape[1]})")
    weights = np.linalg.solve(parameters().covariance[chosen, chosen], mean.T)
    scores = np.asarray(features, np.float64) @ weights - 0.5 * np.sum(mean.T * weights, axis=0)
    if prior is not None:
        scores = scores + np.log(prior)
    return np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))


def _chosen(modality: Modality) -> slice:
    return {"audio": slice(AUDIO_DIM), "text": slice(AUDIO_DIM, None), "both": slice(None)}[modality]


def _discriminants(modality: Modality) -> np.ndarray:
    """(classes, classes − 1) class means where the noise is white: that subspace alone tells the classes apart."""
    chosen = _chosen(modality)
    root = np.linalg.cholesky(parameters().covariance[chosen, chosen])
    white = np.linalg.solve(root, parameters().class_mean[:, chosen].T).T
    white -= white.mean(axis=0)
    left, scale, _ = np.linalg.svd(white, full_matrices=False)
    return (left * scale)[:, : len(CLASSES) - 1]


def _information_given_class() -> float:
    """I(h;t|c) = ½ ln(det Σ_h det Σ_t / det Σ), for Gaussians that share one covariance."""
    covariance = parameters().covariance
    parts = (covariance[_chosen(each), _chosen(each)] for each in MODALITIES)
    audio, text, both = (np.linalg.slogdet(part)[1] for part in parts)
    return float(0.5 * (audio + text - both))
