"""What a generator makes features from: draws of class and text, and the pool of rows that come of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_of_classes

#: Folded into keys that are split as well: a small number folded in would give one of the keys that splitting gives.
_BESIDE = 2**16


@struct.dataclass
class GenerateRun:
    """What differs between runs: the fold's rows, and numbers.

    Attributes:
      view: the fold's training rows.
      aligner: which layer of `Features.condition` holds this run's text representations.
      numbers: the floating-point settings of `GenerateConfig`; `text_noise` is of all of them, the others of some.
      lenders: where the view has rows without text, those that have it: they lend theirs to audio made from the class.
    """

    view: FoldView
    aligner: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]
    lenders: FoldView | None = None


class Pool(NamedTuple):
    """Generated rows: standardised audio features and emotions; the text that goes with each.

    `text` is generated too when pairs are; otherwise `text_row` is the corpus row that lends its own. `score` is D's, higher
    for what it takes for real; `log_q` is Q's ln q(c|ĥ). A generator without them says zeros.
    """

    audio: Float[Array, "pool audio_dim"]
    label: Int[Array, " pool"]
    text_row: Int[Array, " pool"]
    text: Float[Array, "pool text_dim"] | None
    score: Float[Array, " pool"]
    log_q: Float[Array, "pool classes"]


def unstratified(view: FoldView) -> FoldView:
    """The view, each place of whose batches draws from all rows. In strata, neighbours in a batch are such in the corpus."""
    return view.replace(virtual_shards=1)  # pyright: ignore[reportAttributeAccessIssue]


class Draw(NamedTuple):
    """A whole batch of rows, their emotions, the rows whose text goes with them; and this device's share of both conditions."""

    rows: Int[Array, " batch"]
    labels: Int[Array, " batch"]
    text_rows: Int[Array, " batch"]
    label: Int[Array, " local"]
    text: Float[Array, "local text_dim"] | None


def draw(key: jax.Array, shared: Features, run: GenerateRun, batch_size: int, axis: BatchAxis, text: str) -> Draw:
    """Class-balanced labelled rows, and what goes with them.

    Args:
      text: "none"; "own": each row's; "other": that of a row of the same class; "wrong": that of a row of another class.
    """
    rows, labels = draw_class_balanced(key, run.view, batch_size)
    text_rows = rows
    if text in ("other", "wrong"):
        class_key, row_key = jax.random.split(jax.random.fold_in(key, _BESIDE))
        classes = _other_classes(class_key, run.view, labels) if text == "wrong" else labels
        text_rows = draw_of_classes(row_key, run.view, classes)
    read = None if text == "none" else read_condition(jax.random.fold_in(key, _BESIDE + 1), shared, run, text_rows, axis)
    return Draw(rows, labels, text_rows, axis.local(labels), read)


def draw_lent(key: jax.Array, run: GenerateRun, labels: Int[Array, " batch"]) -> Int[Array, " batch"]:
    """For each label a row of the class whose text goes with audio that is made without any; `key` is that of `draw`."""
    return draw_of_classes(jax.random.fold_in(key, _BESIDE + 2), run.view if run.lenders is None else run.lenders, labels)


def draw_for_pool(key: jax.Array, shared: Features, run: GenerateRun, size: int, text: str) -> tuple[Draw, GenerateRun]:
    """`draw` for `size` rows of which a part is as good as any other, and the run that further rows are to be drawn from."""
    lenders = None if run.lenders is None else unstratified(run.lenders)
    run = run.replace(view=unstratified(run.view), lenders=lenders)  # pyright: ignore[reportAttributeAccessIssue]
    return draw(key, shared, run, size, SINGLE, text), run


def read_condition(
    key: jax.Array, shared: Features, run: GenerateRun, rows: Int[Array, " batch"], axis: BatchAxis
) -> Float[Array, "local text_dim"]:
    """This device's share of the text representations of a whole batch, with Gaussian noise of the deviation `text_noise`.

    A generator that knows a training row's text exactly can learn that very row (conditioning augmentation, arXiv 1612.03242,
    section 3.2, here of a fixed width).
    """
    assert shared.condition is not None
    noise = axis.local(jax.random.normal(key, (len(rows), shared.condition.shape[-1])))
    return shared.condition[run.aligner, axis.local(rows)] + run.numbers["text_noise"] * noise


def _other_classes(key: jax.Array, view: FoldView, labels: Int[Array, " batch"]) -> Int[Array, " batch"]:
    """For each label another class that occurs, all equally likely; the same where no other occurs."""
    classes = jnp.arange(len(view.class_count))
    allowed = (view.class_count > 0)[None] & (classes[None] != labels[:, None])
    drawn = jax.random.categorical(key, jnp.where(allowed, 0.0, -jnp.inf))
    return jnp.where(allowed.any(axis=1), drawn, labels).astype(labels.dtype)
