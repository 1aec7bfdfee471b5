"""What an encoder is: a frozen map from a waveform or a transcript to frames, and a record of all that decides them."""

import importlib
import importlib.metadata
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from infoser.errors import InfoserError


@runtime_checkable
class Encoder(Protocol):
    """A frozen encoder.

    Attributes:
      sample_rate: of the waveforms it takes, in Hz; 0 for text.
      dim: width of a frame.
      frames_kept: whether it gives sequences; where not, every input becomes a single frame.
      provenance: plain JSON values that decide the output. Among them are `kind`, `id` (of a local folder its name alone),
        `layer`, `precision` and `versions` (of libraries); and of a pretrained one the hashes of its files.
    """

    sample_rate: int
    dim: int
    frames_kept: bool
    provenance: dict[str, Any]

    def encode(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """The frames of each input, (frames, dim) float32: the same in any company and order, to float32 rounding."""
        ...

    def length(self, one: Any) -> int:
        """What batches are bucketed by: samples of a waveform, tokens of a transcript."""
        ...


def extra(module: str) -> Any:
    """Imports a library of the optional extra.

    Raises:
      InfoserError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library that it wraps is not there
        raise InfoserError(
            f"encoding recordings needs the encoders extra ({module} can't be imported: {error}): pip install -e '.[encoders]'"
        ) from error


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of some packages."""
    return {package: importlib.metadata.version(package) for package in packages}
