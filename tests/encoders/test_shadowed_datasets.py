"""The folder `datasets/` at the repository's root has the name of Hugging Face's package, which transformers looks for.

Started from the root, encoders must load and encode whether that package is installed or not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

for _library in ("torch", "transformers", "soundfile", "soxr", "opensmile"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import tiny_models  # noqa: E402

ROOT = Path(__file__).parents[2]
CODE = """
import sys
import numpy as np
import importlib.util
from infoser.encoders.audio import load_audio_encoder
from infoser.encoders.text import load_text_encoder
found = importlib.util.find_spec("datasets")
print("package" if found.origin else "folder")
for name in ("speech", "whisper", "opensmile:eGeMAPSv02"):
    audio = load_audio_encoder(name if ":" in name else f"{sys.argv[1]}/{name}")
    print(name, *audio.encode([np.sin(np.arange(8000.0, dtype=np.float32))])[0].shape)
print(*load_text_encoder(f"{sys.argv[1]}/bert").encode(["the cat sat"])[0].shape)
print(*load_text_encoder("hashing:8").encode(["the cat sat"])[0].shape)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save_speech(folder / "speech", "wavlm")
    tiny_models.save_whisper(folder / "whisper")
    tiny_models.save_text(folder / "bert", "bert")
    return folder


@pytest.mark.parametrize("installed", [False, True])
def test_encoders_work_from_the_repositorys_root(installed, models, tmp_path):
    assert (ROOT / "datasets").is_dir() and not (ROOT / "datasets" / "__init__.py").exists()
    environment = dict(os.environ)
    if installed:  # a stand-in that is installed as a package is, and says so if anything wants more of it than to be there
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "__init__.py").write_text(
            "__version__ = '4.0.0'\ndef __getattr__(name):\n    raise RuntimeError(f'datasets.{name} is wanted')\n"
        )
        (tmp_path / "datasets-4.0.0.dist-info").mkdir()
        (tmp_path / "datasets-4.0.0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: datasets\nVersion: 4.0.0\n"
        )
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [environment.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "error::ImportWarning", "-c", CODE, str(models)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [
        "package" if installed else "folder",
        "speech 24 32",
        "whisper 25 32",
        "opensmile:eGeMAPSv02 1 88",
        "5 32",
        "1 8",
    ]
    assert done.stdout.splitlines() == expected
    assert not done.stderr


def test_modules_are_light_until_used():
    names = ("encoder", "pooling", "batches", "waveform", "layers", "pretrained", "hidden_states", "audio", "text", "identity")
    code = f"import sys; {'; '.join(f'import infoser.encoders.{name}' for name in names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    heavy = {"torch", "transformers", "soundfile", "soxr", "opensmile", "huggingface_hub", "sklearn", "jax"}
    assert not set(done.stdout.split()) & heavy
