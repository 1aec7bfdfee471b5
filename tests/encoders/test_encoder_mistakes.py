"""Encoders that can't be had: every reason is said in one message that tells what to do."""

import builtins
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _library in ("torch", "transformers", "soundfile", "soxr", "opensmile"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import huggingface_hub  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from infoser.encoders import encoder as encoder_module  # noqa: E402
from infoser.encoders.audio import load_audio_encoder  # noqa: E402
from infoser.encoders.text import load_text_encoder  # noqa: E402
from infoser.errors import InfoserError  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save_speech(folder / "speech", "hubert")
    tiny_models.save_text(folder / "bert", "bert")
    return folder


@pytest.fixture
def speech(models: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(models / "speech", tmp_path / "speech")
    return tmp_path / "speech"


def refused(load, *says: str) -> None:
    with pytest.raises(InfoserError) as found:
        load()
    message = str(found.value)
    assert "\n" not in message
    for each in says:
        assert each in message


@pytest.mark.parametrize("spec", ["/no/such/folder", "./nothing", "~/no/such", "a b", "../x/y"])
def test_no_such_folder(spec):
    refused(lambda: load_audio_encoder(spec), f"encoder {spec}: there is no such folder")


def test_a_file_is_no_folder(speech):
    refused(lambda: load_audio_encoder(str(speech / "model.safetensors")), "a file; give the folder")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            huggingface_hub.errors.LocalEntryNotFoundError("no network\nat all"),
            "can't be downloaded (no network); give a folder",
        ),
        (ConnectionError("no route"), "can't be downloaded (no route)"),
        (huggingface_hub.errors.HFValidationError("bad"), "neither a folder here nor a model on the Hugging Face Hub"),
    ],
)
def test_an_id_that_the_hub_does_not_give(error, says, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused(lambda: load_audio_encoder("someone/some-model"), "encoder someone/some-model: ", says)


def test_an_id_comes_from_the_hubs_cache_without_a_network(models, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--tiny"
    shutil.copytree(models / "speech", cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "import json; from infoser.encoders.audio import load_audio_encoder as load\n"
        "print(json.dumps([load(s).provenance for s in ('someone/tiny', f'someone/tiny@{COMMIT}')]))\n"
        "load('someone/other')"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code.replace("{COMMIT}", commit).replace("f'", "'")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "InfoserError: encoder someone/other: no such folder here, and as a Hugging Face id" in done.stderr
    one, other = json.loads(done.stdout)
    assert (one["id"], other["id"]) == ("someone/tiny", f"someone/tiny@{commit}")
    local = load_audio_encoder(str(models / "speech")).provenance
    assert one["weights_sha256"] == other["weights_sha256"] == local["weights_sha256"]
    assert one["config_sha256"] == local["config_sha256"]


def test_pickled_weights_are_never_loaded(speech, monkeypatch):
    state = load_file(speech / "model.safetensors")
    torch.save(state, speech / "pytorch_model.bin")
    (speech / "model.safetensors").unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    refused(lambda: load_audio_encoder(str(speech)), "no safetensors but pytorch_model.bin", "Save the model as safetensors")


@pytest.mark.parametrize("found", [[], [7]])
def test_the_hubs_own_conversion_is_pointed_at_not_taken(found, speech, monkeypatch):
    (speech / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(speech))
    requests = [type("Request", (), {"num": number}) for number in found]
    monkeypatch.setattr(huggingface_hub, "get_repo_discussions", lambda *_, **__: iter(requests))
    refused(lambda: load_audio_encoder("someone/old"), f"someone/old@refs/pr/{found[0] if found else 'N'}")


def test_files_that_are_missing_or_damaged(speech, models, tmp_path):
    def with_out(name, *says):
        kept = (speech / name).read_bytes()
        (speech / name).unlink()
        refused(lambda: load_audio_encoder(str(speech)), *says)
        (speech / name).write_bytes(kept)

    with_out("model.safetensors", "has no weights (model.safetensors)")
    with_out("config.json", "no config.json")
    with_out("preprocessor_config.json", "no preprocessor_config.json, which says the sample rate")
    weights = (speech / "model.safetensors").read_bytes()
    (speech / "model.safetensors").write_bytes(weights[:1000])
    refused(lambda: load_audio_encoder(str(speech)), "encoder speech can't be loaded: ")
    (speech / "model.safetensors").unlink()
    index = speech / "model.safetensors.index.json"
    for text, says in (
        ("{", "is damaged"),
        ('{"weight_map": {"a": 1}}', "is damaged"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "lacks gone.safetensors"),
        ('{"weight_map": {"a": "../speech/config.json"}}', "lacks ../speech/config.json"),
    ):
        index.write_text(text)
        refused(lambda: load_audio_encoder(str(speech)), says)


def test_weights_that_the_checkpoint_lacks_are_not_made_up(speech):
    state = load_file(speech / "model.safetensors")
    name = next(key for key in state if "layers.1.attention.q_proj.weight" in key)
    del state[name]
    save_file(state, speech / "model.safetensors", {"format": "pt"})
    refused(lambda: load_audio_encoder(str(speech)), "lacks 1 of its model's weights", name, "random")


def test_heads_that_are_not_used_may_be_missing(models, tmp_path):
    shutil.copytree(models / "bert", tmp_path / "bert")
    state = load_file(tmp_path / "bert" / "model.safetensors")
    bare = {key: value for key, value in state.items() if "pooler" not in key}
    assert len(bare) < len(state)
    save_file(bare, tmp_path / "bert" / "model.safetensors", {"format": "pt"})
    one, other = (load_text_encoder(str(folder / "bert")).encode(["the cat"])[0] for folder in (models, tmp_path))
    np.testing.assert_array_equal(one, other)


def test_code_in_a_checkpoint_is_not_run_nor_asked_about(speech, monkeypatch):
    (speech / "modeling.py").write_text("raise SystemExit('ran')")
    config = json.loads((speech / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "modeling.C", "AutoModel": "modeling.M"}}
    (speech / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked at the terminal"))
    refused(lambda: load_audio_encoder(str(speech)), "encoder speech can't be loaded")


def test_the_wrong_kind_of_model(models, tmp_path):
    refused(lambda: load_audio_encoder(str(models / "bert")), "a bert model takes input_ids, not waveforms")
    refused(lambda: load_text_encoder(str(models / "speech")), "a hubert model takes input_values, not text")
    shutil.copytree(models / "bert", tmp_path / "gpt")
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 30, "bos_token_id": 2, "eos_token_id": 3}
    transformers.GPT2Model(transformers.GPT2Config(**sizes)).save_pretrained(tmp_path / "gpt")
    refused(lambda: load_text_encoder(str(tmp_path / "gpt")), "gpt2 model does not read text in both directions")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32}
    transformers.ViTModel(transformers.ViTConfig(**sizes, patch_size=16)).save_pretrained(tmp_path / "vit")
    refused(lambda: load_audio_encoder(str(tmp_path / "vit")), "a vit model takes pixel_values, not waveforms")


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("4", "layer 4: encoder speech has hidden states 0 (the input of its first layer) to 3, or -4 to -1"),
        ("-5", "-4 to -1"),
        ("1-4", "layer 1-4: encoder speech has"),
        ("3-1", "the range ends before it starts"),
        ("first", "layer 'first': give 'last', an index"),
        ("", "give 'last', an index"),
        ("1-", "give 'last', an index"),
        ("1.5", "give 'last', an index"),
    ],
)
def test_wrong_layers(layer, says, models):
    refused(lambda: load_audio_encoder(str(models / "speech"), layer=layer), says)


def test_settings_that_can_not_be_had(models):
    spec = str(models / "speech")
    refused(lambda: load_audio_encoder(spec, precision="int8"), "precision 'int8': choose one of float32, bfloat16, float16")
    refused(lambda: load_text_encoder("hashing:8", precision="double"), "precision 'double'")
    refused(lambda: load_audio_encoder(spec, device="abacus"), "device 'abacus' can't be used")
    if not torch.cuda.is_available():
        refused(lambda: load_audio_encoder(spec, device="cuda:1"), "device 'cuda:1' can't be used")
    for window_s in (0.5, float("nan"), float("inf"), -1.0):
        refused(lambda window_s=window_s: load_audio_encoder(spec, window_s=window_s), "give at least one second")
    refused(lambda: load_audio_encoder("opensmile:eGeMAPSv9"), "no such set; choose one of ComParE_2016, GeMAPS", "eGeMAPSv02")
    refused(lambda: load_audio_encoder("opensmile:eGeMAPSv02", layer="2"), "opensmile:eGeMAPSv02 has no layers")
    refused(lambda: load_text_encoder("hashing:8", layer="2"), "hashing:8 has no layers")
    for width in ("", "0", "-1", "1.5", "x", "65537", "1000000"):
        refused(lambda width=width: load_text_encoder(f"hashing:{width}"), "give a width of 1 to 65536")


@pytest.mark.parametrize(
    ("library", "load"),
    [
        ("torch", lambda models: load_audio_encoder(str(models / "speech"))),
        ("transformers", lambda models: load_text_encoder(str(models / "bert"))),
        ("opensmile", lambda _: load_audio_encoder("opensmile:eGeMAPSv02")),
    ],
)
def test_without_the_extra_it_is_named(library, load, models, monkeypatch):
    real = importlib.import_module

    def missing(name: str):
        if name == library:
            raise ImportError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(encoder_module.importlib, "import_module", missing)
    refused(lambda: load(models), f"needs the encoders extra ({library} can't be imported", "pip install -e '.[encoders]'")


def test_weights_that_are_not_finite_are_noticed(speech):
    state = load_file(speech / "model.safetensors")
    next(value for key, value in state.items() if "q_proj.weight" in key)[0, 0] = float("nan")
    save_file(state, speech / "model.safetensors", {"format": "pt"})
    refused(lambda: load_audio_encoder(str(speech)), "encoder speech gave values that are not finite, in float32")
