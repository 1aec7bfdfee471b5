"""Audio encoders against transformers and openSMILE called directly on single, unpadded inputs."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _library in ("torch", "transformers", "soundfile", "soxr", "opensmile"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import opensmile  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402

from infoser.encoders.audio import load_audio_encoder, windows  # noqa: E402
from infoser.encoders.encoder import Encoder  # noqa: E402
from infoser.encoders.hidden_states import widen_wrong_convolutions  # noqa: E402
from infoser.errors import InfoserError  # noqa: E402

LENGTHS = (16_000, 1_600, 12_345, 400, 12_345, 9_001)


@pytest.fixture(scope="module")
def waveforms() -> list[np.ndarray]:
    """Louder and louder noise, off centre, so that normalising one by its neighbour's loudness would show."""
    rng = np.random.default_rng(0)
    return [(0.01 * (1 + n) * (rng.standard_normal(length) + 0.2)).astype(np.float32) for n, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """saved(name): the folder and the model, made once."""
    made = {}

    def saved(name: str):
        if name not in made:
            folder = tmp_path_factory.mktemp("models") / name
            save = tiny_models.save_whisper if name == "whisper" else tiny_models.save_speech
            made[name] = folder, save(folder, *([] if name == "whisper" else [name]))
        return made[name]

    return saved


LAYERS = ("last", "0", "2", "-2", "1-2", "-3--1")
CASES = [(name, layer) for name in ("wav2vec2-layer", "whisper") for layer in LAYERS]
CASES += [(name, layer) for name in tiny_models.SPEECH if name != "wav2vec2-layer" for layer in ("last", "1-2")]


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_a_mixed_batch_is_what_transformers_gives_for_each_alone(name, layer, saved, waveforms):
    folder, model = saved(name)
    encoder = load_audio_encoder(str(folder), layer=layer)
    assert isinstance(encoder, Encoder)
    assert encoder.sample_rate == 16_000 and encoder.dim == 32 and encoder.frames_kept
    expected = [tiny_models.direct_speech(model, folder, one, layer) for one in waveforms]
    if name == "whisper":
        expected = [frames[: -(-len(one) // 320)] for frames, one in zip(expected, waveforms, strict=True)]
    for order in (range(6), (3, 0, 5, 1, 4, 2)):
        found = encoder.encode([waveforms[row] for row in order])
        for row, frames in zip(order, found, strict=True):
            assert frames.dtype == np.float32
            assert frames.shape == expected[row].shape
            np.testing.assert_allclose(frames, expected[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer", "wavlm", "hubert", "data2vec-audio"])
def test_known_models_share_padded_batches(name, saved):
    encoder = load_audio_encoder(str(saved(name)[0]))
    assert encoder._pads  # type: ignore[attr-defined]


def test_naive_padding_would_not_agree(saved, waveforms, monkeypatch):
    # Without this the tests above might not be able to fail.
    folder, model = saved("wav2vec2-group")
    encoder = load_audio_encoder(str(folder))
    for module in encoder._alone:  # type: ignore[attr-defined]
        module.remove()
    monkeypatch.setattr(encoder, "_alone", [])
    found = encoder.encode(waveforms[:2])[1]
    assert np.abs(found - tiny_models.direct_speech(model, folder, waveforms[1])).max() > 1e-3


@pytest.mark.parametrize("normalised", [True, False])
def test_samples_are_normalised_as_the_checkpoint_says(normalised, tmp_path, waveforms):
    model = tiny_models.save_speech(tmp_path, "wav2vec2-layer", do_normalize=normalised)
    found = load_audio_encoder(str(tmp_path)).encode(waveforms[:2])
    for frames, one in zip(found, waveforms[:2], strict=True):
        np.testing.assert_allclose(frames, tiny_models.direct_speech(model, tmp_path, one), atol=1e-5, rtol=0)


def test_a_long_recording_goes_in_windows_of_one_normalisation(saved):
    folder, model = saved("wav2vec2-layer")
    long = np.random.default_rng(1).standard_normal(3 * 16_000 + 300).astype(np.float32)
    long[20_000:] *= 0.1
    short = long[:5_000].copy()
    found = load_audio_encoder(str(folder), window_s=1.0).encode([short, long, short])
    centred = (long - long.mean()) / np.sqrt(long.var() + 1e-7)
    with torch.inference_mode():
        # 300 samples are fewer than the 400 of a frame: they go with the third second.
        parts = [
            model(torch.from_numpy(centred[None, a:b])).last_hidden_state[0].numpy()
            for a, b in ((0, 16_000), (16_000, 32_000), (32_000, 48_300))
        ]
    np.testing.assert_allclose(found[1], np.concatenate(parts), atol=1e-5, rtol=0)
    np.testing.assert_allclose(found[0], tiny_models.direct_speech(model, folder, short), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(found[0], found[2])


def test_whisper_windows_are_its_own_and_no_frame_is_of_padding(saved):
    folder, model = saved("whisper")
    long = np.random.default_rng(2).standard_normal(2 * 32_000 + 3_201).astype(np.float32)
    encoder = load_audio_encoder(str(folder), window_s=7.0)
    assert encoder.provenance["window_s"] == 2.0
    found = encoder.encode([long, long[:500]])
    parts = [tiny_models.direct_speech(model, folder, long[start : start + 32_000]) for start in (0, 32_000, 64_000)]
    np.testing.assert_allclose(found[0], np.concatenate([parts[0], parts[1], parts[2][:11]]), atol=1e-5, rtol=0)
    assert found[1].shape == (2, 32)


def test_windows():
    assert windows(10, 10, 3) == [(0, 10)]
    assert windows(2, 10, 3) == [(0, 2)]
    assert windows(12, 10, 3) == [(0, 12)]
    assert windows(13, 10, 3) == [(0, 10), (10, 13)]
    assert windows(32, 10, 3) == [(0, 10), (10, 20), (20, 32)]


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.005)])
def test_other_precisions_are_near_and_say_so(precision, tolerance, saved, waveforms):
    folder, _ = saved("wav2vec2-layer")
    exact = load_audio_encoder(str(folder)).encode(waveforms[:2])
    encoder = load_audio_encoder(str(folder), precision=precision, device="cpu")
    assert encoder.provenance["precision"] == precision
    for one, other in zip(encoder.encode(waveforms[:2]), exact, strict=True):
        assert one.dtype == np.float32
        assert 0 < np.linalg.norm(one - other) < tolerance * np.linalg.norm(other)


def test_a_grouped_convolution_that_comes_out_wrong_runs_in_float32():
    class Wrong(torch.nn.Conv1d):
        def forward(self, input):  # noqa: A002 (PyTorch's name)
            found = super().forward(input)
            return found if found.dtype == torch.float32 else found.roll(1, 1)

    torch.manual_seed(0)
    model = torch.nn.Sequential(Wrong(32, 32, 5, groups=2), torch.nn.Conv1d(32, 32, 5, groups=32), Wrong(32, 32, 5))
    exact = copy.deepcopy(model[0])
    model.to(torch.bfloat16)
    assert widen_wrong_convolutions(model) == ["0"]  # one group is nobody's trouble so far, and what is right stays as it is
    sample = torch.randn(2, 32, 20).to(torch.bfloat16)
    with torch.inference_mode():
        found, expected = model[0](sample), exact(sample.float())
    assert found.dtype == torch.bfloat16 == model[1].weight.dtype
    assert torch.linalg.norm(found.float() - expected) < 0.01 * torch.linalg.norm(expected)


def test_provenance_names_no_place_and_follows_the_weights(tmp_path: Path):
    provenances = []
    variants: list[dict[str, Any]] = [{}, {}, {"hidden_size": 36}]
    for number, changes in enumerate(variants):
        folder = tmp_path / str(number) / "tiny"
        tiny_models.save_speech(folder, "wavlm", **changes)
        provenances.append(load_audio_encoder(str(folder)).provenance)
    assert provenances[0] == provenances[1]
    assert provenances[0]["weights_sha256"] != provenances[2]["weights_sha256"]
    assert provenances[0]["config_sha256"] != provenances[2]["config_sha256"]
    assert str(tmp_path) not in str(provenances)
    said = {"kind": "transformers", "id": "tiny", "model_type": "wavlm", "layer": "last", "precision": "float32"}
    assert provenances[0].items() >= (said | {"sample_rate": 16_000, "window_s": 30.0}).items()
    assert set(provenances[0]["versions"]) == {"numpy", "soundfile", "soxr", "torch", "transformers"}


@pytest.mark.parametrize(("frames", "shape"), [(False, (1, 88)), (True, (96, 25))])
def test_opensmile_is_what_opensmile_gives(frames, shape, waveforms):
    encoder = load_audio_encoder("opensmile:egemapsv02", frames=frames)
    assert isinstance(encoder, Encoder)
    assert encoder.provenance["id"] == "opensmile:eGeMAPSv02"
    assert (encoder.dim, encoder.frames_kept, encoder.sample_rate) == (shape[1], frames, 16_000)
    level = opensmile.FeatureLevel.LowLevelDescriptors if frames else opensmile.FeatureLevel.Functionals
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)
    found = encoder.encode([waveforms[1], waveforms[0]])
    for values, one in zip(found, (waveforms[1], waveforms[0]), strict=True):
        np.testing.assert_array_equal(values, smile.process_signal(one, 16_000).to_numpy())
    assert found[1].shape == shape and found[1].dtype == np.float32


def test_lengths_are_samples(saved, waveforms):
    for spec in ("opensmile:eGeMAPSv02", str(saved("hubert")[0]), str(saved("whisper")[0])):
        encoder = load_audio_encoder(spec)
        assert [encoder.length(one) for one in waveforms] == list(LENGTHS)
        assert encoder.encode([]) == []


def test_too_few_samples_are_refused(saved):
    with pytest.raises(InfoserError, match="399 samples: one frame needs 400"):
        load_audio_encoder(str(saved("hubert")[0])).encode([np.ones(399, np.float32)])
    with pytest.raises(InfoserError, match="too short for opensmile:eGeMAPSv02"), pytest.warns(UserWarning, match="too short"):
        load_audio_encoder("opensmile:eGeMAPSv02").encode([np.ones(100, np.float32)])
