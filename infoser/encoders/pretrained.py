"""The files of a pretrained model: a local folder's or the Hugging Face Hub's, safetensors only, and their hashes."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infoser import digests
from infoser.encoders.encoder import extra
from infoser.errors import InfoserError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
#: All besides the weights that decides what comes out.
_SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?)(@(?P<revision>[\w./-]+))?")
_CONVERTER = "SFconvertbot"  # opens pull requests with safetensors on the Hub


@dataclass(frozen=True)
class Pretrained:
    """A model's files.

    Attributes:
      folder: where they are.
      id: the Hub's name for it, with the revision if one was given; of a local folder its name alone.
      weights: the safetensors files, sorted.
    """

    folder: Path
    id: str
    weights: tuple[Path, ...]

    def hashes(self) -> dict[str, str]:
        """SHA-256 over the weights (of a single file, that file's own), and over what else decides the output."""
        settings = [self.folder / name for name in _SETTINGS if (self.folder / name).is_file()]
        return {"weights_sha256": _sha256(self.weights), "config_sha256": _sha256(settings)}


def find_pretrained(spec: str) -> Pretrained:
    """Finds a model's files, downloading them if the spec is the Hub's.

    Args:
      spec: a local folder, or an id of the Hugging Face Hub, with `@revision` if it isn't to be the main one.

    Raises:
      InfoserError: if there is no such folder or id, the Hub can't be reached and has left nothing in the cache, or there
        are no safetensors weights.
    """
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return Pretrained(folder, folder.resolve().name, _weights(folder, spec))
    if folder.exists():
        raise InfoserError(f"encoder {spec}: a file; give the folder that a model was saved to")
    named = _HUB_ID.fullmatch(spec)
    if named is None:
        raise InfoserError(f"encoder {spec}: there is no such folder")
    folder = _download(spec, named["id"], named["revision"])
    return Pretrained(folder, spec, _weights(folder, spec, named["id"]))


def _download(spec: str, name: str, revision: str | None) -> Path:
    """The Hub's files of a model in the local cache."""
    hub = extra("huggingface_hub")
    errors = extra("huggingface_hub.errors")
    patterns = [*_SETTINGS, _WEIGHTS, _INDEX, "model-*-of-*.safetensors"]
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except errors.GatedRepoError as error:
        raise InfoserError(f"encoder {spec}: the Hub asks you to accept its terms and to log in (hf auth login)") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InfoserError(f"encoder {spec}: neither a folder here nor a model on the Hugging Face Hub") from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise InfoserError(
            f"encoder {spec}: no such folder here, and as a Hugging Face id it is not in the cache and can't be downloaded "
            f"({_first_line(error)}); give a folder, or run once with a network"
        ) from error


def _weights(folder: Path, spec: str, hub_id: str = "") -> tuple[Path, ...]:
    """The safetensors files of a folder; refuses one that has none, or lacks one that its index names."""
    if not (folder / "config.json").is_file():
        raise InfoserError(f"encoder {spec}: no config.json; give the folder that a transformers model was saved to")
    if (folder / _WEIGHTS).is_file():
        return (folder / _WEIGHTS,)
    if not (folder / _INDEX).is_file():
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickled or hub_id:  # of the Hub's files only those that can be used were downloaded
            raise InfoserError(
                f"encoder {spec}: its weights are no safetensors{f' but {pickled[0]}' if pickled else ''}; other formats can "
                f"run code when they are loaded, so they never are. Save the model as safetensors{_conversion(hub_id)}"
            )
        raise InfoserError(f"encoder {spec}: has no weights ({_WEIGHTS})")
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text())["weight_map"].values()))
        files = tuple(folder / name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfoserError(f"encoder {spec}: {_INDEX} is damaged") from error
    missing = [name for name, path in zip(names, files, strict=True) if "/" in name or not path.is_file()]
    if missing or not files:
        raise InfoserError(f"encoder {spec}: lacks {missing[0] if missing else 'weights'}, which {_INDEX} names")
    return files


def _conversion(name: str) -> str:
    """What else to do: where the Hub has a model as safetensors if not on its main branch, in its converter's pull request.

    Nothing is taken from there unasked; the words say what to write.
    """
    if not name:
        return ""
    hub = extra("huggingface_hub")
    try:
        requests: Any = hub.get_repo_discussions(
            name, author=_CONVERTER, discussion_type="pull_request", discussion_status="open"
        )
        found = [f"refs/pr/{each.num}" for each in requests]
    except Exception:  # a mere hint: without a network there is none
        found = []
    return f", or take those of the Hub's converter: {name}@{found[0]}" if found else f", or give a revision: {name}@refs/pr/N"


def _sha256(files: Sequence[Path]) -> str:
    found = sorted((path.name, digests.of_file(path)) for path in files)
    return found[0][1] if len(found) == 1 else hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
