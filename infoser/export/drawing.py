"""Fresh rows of a restored model: any number, apart from those that its classifiers were trained on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from infoser.augmenters import AUGMENTERS, Rows
from infoser.errors import InfoserError
from infoser.export.source import Request, Source, labelled
from infoser.progress import Progress
from infoser.selection import drawn_for, select, wanted_by_class
from infoser.stages.conditions import Pool
from infoser.variants import GENERATORS

#: Rows that are drawn with one key, and keys that are used together.
BLOCK, TOGETHER = 1024, 8
#: Folded into a run's key: no step has that number.
_FRESH = 2**32 - 1
#: How often more rows are drawn, twice as many each time, before a class counts as one that the model does not make.
_ATTEMPTS = 6


class Drawn(NamedTuple):
    """Rows in the units of the encoders' features.

    Attributes:
      audio: (rows, audio_dim) float32.
      text: (rows, text_dim) float32 text features that were made along with them, or None.
      target: (rows, classes) class probabilities.
      soft: whether these are more than labels.
      condition: (rows,) the class that each was made from; −1 for none.
      text_from: (rows,) the corpus row whose text goes with each; −1 for none.
      given_text: whether that text is what the row was made from.
      score: (rows,) D's, or None.
      log_q: (rows,) Q's ln q(c|ĥ) of the row's class in nats, or None.
      position: (rows,) the place of each among the rows that were drawn: of a generator, whatever number was asked for, the
        same row has the same place.
    """

    audio: np.ndarray
    text: np.ndarray | None
    target: np.ndarray
    soft: bool
    condition: np.ndarray
    text_from: np.ndarray
    given_text: bool
    score: np.ndarray | None
    log_q: np.ndarray | None
    position: np.ndarray


def draw(source: Source, request: Request) -> Drawn:
    """The rows that are asked for; the same for the same model and draw seed.

    Raises:
      InfoserError: if a class would get no row, or the model does not make enough of one.
    """
    if source.pools is None:
        return _of_control(source, request)
    return _of_generator(source, request)


def _wanted(source: Source, request: Request, real: np.ndarray) -> np.ndarray:
    """How many rows of each class are wanted, given the labelled rows of each."""
    if request.per_class is not None:
        return np.where(real > 0, request.per_class, 0)
    assert request.count is not None
    wanted = wanted_by_class("prior", real, request.count)
    if not wanted[real > 0].all():
        rare = source.corpus.classes[int(np.flatnonzero((real > 0) & (wanted == 0))[0])]
        raise InfoserError(
            f"--count {request.count}: by the classes' frequency {rare!r} gets no row; ask for more, or use --per-class"
        )
    return wanted


def _real_by_class(source: Source, *, with_text: bool) -> np.ndarray:
    rows = labelled(source, with_text=with_text)
    return np.bincount(source.unit.label[rows], minlength=len(source.corpus.classes))


def _of_control(source: Source, request: Request) -> Drawn:
    """Rows of a control: of audio and text together, where there is text and it is asked for."""
    with_text = source.corpus.text is not None and request.with_text
    modality = "both" if with_text else "audio"
    real = labelled(source, with_text=with_text)
    wanted = _wanted(source, request, _real_by_class(source, with_text=with_text))
    identity = np.eye(len(source.corpus.classes), dtype=np.float32)
    known = Rows(source.space.real(source.number, modality, real), identity[source.unit.label[real]])
    size = int(wanted.max()) * int((wanted > 0).sum())
    generator = source.unit.generator("export", source.variant, str(request.draw_seed))
    for _ in range(_ATTEMPTS):  # a control is class-balanced on average only
        made = AUGMENTERS[source.variant](known, size + BLOCK, generator, source.config.augment)
        chosen, _ = select(made.target.argmax(axis=1), None, 1.0, wanted, 0)
        if len(chosen) == wanted.sum():
            break
        size *= 2
    else:
        raise InfoserError(f"--variant {source.variant} did not make as many rows of every class as were asked for")
    features, target = (part[chosen] for part in made)
    nobody = np.full(len(chosen), -1)
    view: Any = source.space.views[source.number]
    audio = _unstandardised(features[:, : _audio_dim(source)], view.audio_mean, view.audio_scale)
    text = _unstandardised(features[:, _audio_dim(source) :], view.text_mean, view.text_scale) if with_text else None
    soft = bool(((target > 0) & (target < 1)).any())
    return Drawn(audio, text, target, soft, target.argmax(axis=1), nobody, False, None, None, chosen)


def _of_generator(source: Source, request: Request) -> Drawn:
    recipe, settings = GENERATORS[source.variant], source.config.generate
    real = _real_by_class(source, with_text=recipe.needs_text)
    wanted = _wanted(source, request, real)
    share = 1.0 if settings.keep_by == "all-rows" else settings.keep_share
    size, drawn, enough = drawn_for(wanted, int((real > 0).sum()), 0, share), None, False
    for _ in range(_ATTEMPTS):
        drawn = _fresh(source, size, request.draw_seed)
        assert source.pools is not None
        target, sure = source.pools.judged(source.number, source.arm, drawn)
        chosen, _ = select(target.argmax(axis=1), sure, share, wanted, 0)
        enough = len(chosen) == wanted.sum()
        if enough:
            break
        size *= 2
    if drawn is None or not enough:
        made = np.bincount(target.argmax(axis=1), minlength=len(wanted))
        lacking = int(np.argmax(wanted - share * made))
        raise InfoserError(
            f"of {len(target):,} drawn rows {source.variant} made {made[lacking]:,} of class "
            f"{source.corpus.classes[lacking]!r}, and {wanted[lacking]:,} are wanted; ask for fewer"
        )
    audio, label, text_row, text, score, log_q = (None if part is None else np.asarray(part)[chosen] for part in drawn)
    assert audio is not None and label is not None and text_row is not None and log_q is not None
    view: Any = source.space.views[source.number]
    if text is not None:
        width = source.corpus.text.shape[1] if source.corpus.text is not None else 0
        text = _unstandardised(text[:, :width], view.text_mean, view.text_scale)
    lends = source.corpus.text is not None and text is None and request.with_text
    asked = recipe.conditioned_on_text or (lends and request.lend_text)
    target = target[chosen]
    own = np.take_along_axis(log_q, target.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Drawn(
        audio=_unstandardised(audio[:, : _audio_dim(source)], view.audio_mean, view.audio_scale),
        text=text,
        target=target,
        soft=settings.label_by != "condition" or recipe.group == "nothing",
        condition=label if recipe.by_class else np.full(len(label), -1),
        text_from=text_row if asked else np.full(len(label), -1),
        given_text=recipe.conditioned_on_text,
        score=score if recipe.model == "gan" else None,
        log_q=own if _has_q(source) else None,
        position=chosen,
    )


def _has_q(source: Source) -> bool:
    """Whether Q learned anything of classes: it is there in any case."""
    recipe, settings = GENERATORS[source.variant], source.config.generate
    if recipe.model != "gan":
        return False
    assert source.pools is not None
    stage = source.pools.generator(source.number, source.arm)[0].group.stage
    informed = recipe.information and settings.class_mi_weight > 0 and settings.class_mi_estimator == "barber-agakov"
    return stage.labels_itself or (informed and recipe.by_class)


def _fresh(source: Source, size: int, draw_seed: int) -> Pool:
    """At least `size` rows by keys that nothing else uses."""
    assert source.pools is not None
    trained, which, function = source.pools.generator(source.number, source.arm)
    key = jax.random.wrap_key_data(jax.numpy.asarray(trained.group.keys[which]))
    key = jax.random.fold_in(jax.random.fold_in(key, np.uint32(_FRESH)), draw_seed)
    parts = []
    rounds = -(-size // (BLOCK * TOGETHER))
    with Progress("drawing rows", rounds * BLOCK * TOGETHER, unit="rows") as progress:
        for number in range(rounds):
            blocks = range(number * TOGETHER, (number + 1) * TOGETHER)
            keys = np.stack([np.asarray(jax.random.key_data(jax.random.fold_in(key, block))) for block in blocks])
            made: Any = trained.outputs(function, BLOCK, only=[which] * TOGETHER, keys=keys)
            parts.append([None if part is None else part.reshape(-1, *part.shape[2:]) for part in made])
            progress.update((number + 1) * BLOCK * TOGETHER)
    joined: Any = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
    return Pool(*joined)


def _audio_dim(source: Source) -> int:
    """Width of the encoder's audio features; in the joined space a representation stands behind them."""
    return source.corpus.audio.shape[1]


def _unstandardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse of (x − mean) · scale, in float64."""
    return (np.asarray(features, np.float64) / np.asarray(scale, np.float64) + np.asarray(mean, np.float64)).astype(np.float32)
