"""Names for an encoder and its settings: a line for readers, and a folder's name for a configuration."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from infoser.encoders.layers import LAST

_DEFAULTS = {"layer": LAST, "pooling": "mean", "precision": "float32"}


def describe(provenance: Mapping[str, Any]) -> str:
    """One line about an encoder, such as `wavlm-large, layer last, mean (sha256 1a2b3c4d)`."""
    said = [str(provenance["id"])]
    if "weights_sha256" in provenance:
        said.append(f"layer {provenance['layer']}")
    said += [str(provenance[key]) for key in ("level", "pooling") if key in provenance]
    if provenance.get("frames"):
        said.append("frames kept")
    if provenance["precision"] != _DEFAULTS["precision"]:
        said.append(str(provenance["precision"]))
    digest = provenance.get("weights_sha256")
    return ", ".join(said) + (f" (sha256 {digest[:8]})" if digest else "")


def differing(first: Mapping[str, Any], other: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """The settings by which two encoders' features differ.

    Versions of libraries do not count; nor do names, where the digest of weights tells that they are the same.

    Args:
      free: further settings that may differ.
    """
    told_apart = "weights_sha256" in first and "weights_sha256" in other
    passed = {"versions", *free, *(("id",) if told_apart else ())}
    return [key for key in dict.fromkeys((*first, *other)) if key not in passed and first.get(key) != other.get(key)]


def slug(audio: Mapping[str, Any], text: Mapping[str, Any] | None) -> str:
    """A short folder-safe name for a pair of encoders, such as `egemapsv02+hashing512`; settings follow if not default."""
    return "+".join(_one(each) for each in (audio, text) if each is not None)


def _one(provenance: Mapping[str, Any]) -> str:
    name = str(provenance["id"])
    if provenance["kind"] == "opensmile":
        name = name.partition(":")[2]
    elif provenance["kind"] == "hashing":
        name = name.replace(":", "")
    else:
        name = name.partition("@")[0].rpartition("/")[2]
    parts = [name]
    for key, default in _DEFAULTS.items():
        value = str(provenance.get(key, default))
        if value != default:
            parts.append(f"layer{value}" if key == "layer" else value.replace("+", ""))
    if provenance.get("frames"):
        parts.append("frames")
    return re.sub(r"[^a-z0-9._]+", "-", "-".join(parts).lower()).strip("-._") or "encoder"
