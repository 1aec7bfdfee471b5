"""Which hidden layer of a pretrained model, or which range of them, its frames are taken from."""

import re

from infoser.errors import InfoserError

LAST = "last"
_RANGE = re.compile(r"(-?\d+)-(-?\d+)")


def resolve_layer(layer: str, states: int, what: str) -> str:
    """A layer's one name among several that mean it: `last`, an index, or FROM-TO.

    Args:
      layer: `last`, the model's output; an index into its hidden states, where 0 is the input of the first layer and
        negative ones count from the end; or FROM-TO, the mean of that range, both ends included.
      states: how many hidden states the model has.
      what: names the model in messages.

    Raises:
      InfoserError: if the layer isn't one of these, or the model has no such layer.
    """
    if layer == LAST:
        return LAST
    written = _RANGE.fullmatch(layer)
    if written is None and re.fullmatch(r"-?\d+", layer) is None:
        raise InfoserError(f"layer {layer!r}: give 'last', an index such as 9 or -2, or a range such as 4-9")
    bounds = [int(each) for each in (written.groups() if written else (layer,))]
    if not all(-states <= each < states for each in bounds):
        raise InfoserError(
            f"layer {layer}: {what} has hidden states 0 (the input of its first layer) to {states - 1}, or -{states} to -1"
        )
    bounds = [each % states for each in bounds]
    if bounds[0] > bounds[-1]:
        raise InfoserError(f"layer {layer}: the range ends before it starts")
    return str(bounds[0]) if bounds[0] == bounds[-1] else f"{bounds[0]}-{bounds[-1]}"


def layer_bounds(layer: str) -> tuple[int, int] | None:
    """First and last hidden state of a resolved layer; None for the model's output."""
    if layer == LAST:
        return None
    ends = [int(each) for each in layer.split("-")]
    return ends[0], ends[-1]


def refuse_layer(layer: str, what: str) -> None:
    """Raises InfoserError if a layer is asked of an encoder that has none."""
    if layer != LAST:
        raise InfoserError(f"layer {layer}: {what} has no layers; leave it at 'last'")
