"""Cross-fitting: representations in which no row was embedded by an aligner that saw its label."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from infoser.corpus import UNLABELLED
from infoser.errors import InfoserError

#: Rows that the rotations between aligners are fitted on, for each dimension of the representation.
_ANCHORS_PER_DIMENSION = 8


@dataclass(frozen=True)
class CrossFit:
    """Which aligner sees which labels, and which rows it embeds.

    Attributes:
      labels: for each aligner, (N,) labels with −1 for every row whose label it must not see.
      embedded_by: (N,) the aligner that embeds a training row; −1 for rows outside the training part, which all embed.
      anchors: training rows whose label no aligner sees: the rotations are fitted on them.
      has_text: (N,) bool, or None where all rows have text; the text of the others is nothing to fit on, and comes out 0.
    """

    labels: tuple[Int[np.ndarray, " rows"], ...]
    embedded_by: Int[np.ndarray, " rows"]
    anchors: Int[np.ndarray, " anchors"]
    has_text: Bool[np.ndarray, " rows"] | None = None


def cross_fit(
    train: Int[np.ndarray, " train"],
    label: Int[np.ndarray, " rows"],
    speaker: np.ndarray,
    *,
    parts: int,
    dim: int,
    generator: np.random.Generator,
    has_text: np.ndarray | None = None,
) -> CrossFit:
    """Deals the training rows to `parts` aligners by speaker, so that a row is embedded as an unseen speaker's would be.

    With fewer speakers than parts, or where an aligner would see no label of a class, rows are dealt singly. Where the
    training part has too few unlabelled rows to serve as anchors, labelled ones drawn at random are made up to the
    number: no aligner sees their labels. Where some rows have no text, the same goes for those that have it.

    Args:
      train: training rows.
      label: (N,) labels; only those of `train` are read.
      speaker: (N,) speakers.
      parts: number of aligners.
      dim: width of the representations.
      generator: draws the anchors.
      has_text: (N,) bool, or None where all rows have text, or none has.

    Raises:
      InfoserError: if there are too few labels for every aligner to see one.
    """
    hidden = np.full(len(label), UNLABELLED, label.dtype)
    hidden[train] = label[train]
    anchors = train[hidden[train] < 0]
    spare = int((hidden[train] >= 0).sum()) // 4
    for counted in ([] if has_text is None else [has_text]) + [np.ones(len(label), bool)]:
        labelled = train[(hidden[train] >= 0) & counted[train]]
        missing = min(_ANCHORS_PER_DIMENSION * dim - int(counted[anchors].sum()), spare, len(labelled) // 4)
        if missing > 0:
            withheld = generator.choice(labelled, missing, replace=False)
            anchors = np.sort(np.concatenate([anchors, withheld]))
            hidden[withheld] = UNLABELLED
            spare -= missing
    read = hidden if has_text is None else np.where(has_text, hidden, UNLABELLED)
    embedded_by = deal(train, hidden, read, speaker, parts)
    if not _every_aligner_sees_labels(embedded_by[train], read[train], parts):
        raise InfoserError(
            f"the aligned space needs labels for each of {parts} aligners, and the training part has "
            f"{(read[train] >= 0).sum()}{'' if has_text is None else ' with a transcript'} besides those withheld to compare "
            "them; use --space encoder, fewer --align.cross-fits or more labels"
        )
    labels = tuple(np.where(embedded_by == part, UNLABELLED, hidden).astype(label.dtype) for part in range(parts))
    return CrossFit(labels, embedded_by, anchors, has_text)


def deal(
    train: Int[np.ndarray, " train"],
    label: Int[np.ndarray, " rows"],
    read: Int[np.ndarray, " rows"],
    speaker: np.ndarray,
    parts: int,
) -> Int[np.ndarray, " rows"]:
    """(N,) the part that each training row is of, −1 for other rows: by speaker, or singly where that hides a class.

    What is fitted for a part has to see every class that has two labels: it would say of its rows that they are of another.

    Args:
      train: training rows.
      label: (N,) labels that speakers are weighed by, −1 for none.
      read: (N,) those that can be learned from.
      speaker: (N,) speakers.
      parts: number of parts; what is fitted for one sees the others.
    """
    part = np.full(len(label), -1)
    part[train] = _dealt_by_speaker(speaker[train], label[train] >= 0, parts)
    if not _every_part_is_taught(part[train], read[train], parts):
        part[train] = _dealt_by_row(read[train], parts)
    return part


def _every_aligner_sees_labels(dealt: np.ndarray, label: np.ndarray, parts: int) -> bool:
    return all(((label >= 0) & (dealt != part)).any() for part in range(parts))


def _every_part_is_taught(dealt: np.ndarray, label: np.ndarray, parts: int) -> bool:
    """Whether what is fitted for each part sees labels, and of every class that has more than one."""
    count = np.bincount(label[label >= 0])
    seen = [np.bincount(label[(label >= 0) & (dealt != part)], minlength=len(count)) for part in range(parts)]
    return all(own.any() and (own[count > 1] > 0).all() for own in seen)


def _dealt_by_speaker(speaker: np.ndarray, labelled: np.ndarray, parts: int) -> np.ndarray:
    """Part of each row: whole speakers, the largest first to the smallest part."""
    names, inverse = np.unique(speaker, return_inverse=True)
    size = np.bincount(inverse, weights=labelled + 1e-6)
    load, part = np.zeros(parts), np.zeros(len(names), int)
    if len(names) < parts:
        return _dealt_by_row(np.where(labelled, 0, UNLABELLED), parts)
    for name in np.argsort(-size, kind="stable"):
        part[name] = int(np.argmin(load))
        load[part[name]] += size[name]
    return part[inverse]


def _dealt_by_row(label: np.ndarray, parts: int) -> np.ndarray:
    """Part of each row: in turn within each class, and within the rows without a label."""
    part = np.zeros(len(label), int)
    part[np.argsort(label, kind="stable")] = np.arange(len(label)) % parts
    return part


def combine(fit: CrossFit, embedded: list[Float[np.ndarray, "parts rows dim"]]) -> list[Float[np.ndarray, "rows dim"]]:
    """One representation for each modality out of all aligners': mapped onto the first by a rotation of both modalities.

    A training row takes its own aligner's, every other row the mean over aligners. The rotation is the orthogonal
    Procrustes solution (doi 10.1007/BF02289451) over the anchors, which no aligner saw a label of.

    Args:
      fit: from `cross_fit`.
      embedded: for each modality (audio, and text if there is any) the representations of every row by every aligner.
    """
    from scipy.linalg import orthogonal_procrustes  # SciPy takes 0.3 s to import, which the first step need not wait for

    parts = len(fit.labels)
    text_anchors = fit.anchors if fit.has_text is None else fit.anchors[fit.has_text[fit.anchors]]
    chosen = (fit.anchors, text_anchors)
    anchors = np.concatenate([modality[:, rows] for modality, rows in zip(embedded, chosen, strict=False)], axis=1)
    centre = anchors.mean(axis=1, keepdims=True)
    combined = [np.zeros_like(modality[0]) for modality in embedded]
    outside = fit.embedded_by < 0
    for part in range(parts):
        rotation, _ = orthogonal_procrustes(anchors[part] - centre[part], anchors[0] - centre[0])
        own = fit.embedded_by == part
        for modality, target in zip(embedded, combined, strict=True):
            mapped = (modality[part] - centre[part]) @ rotation + centre[0]
            target[own] = mapped[own]
            target[outside] += mapped[outside] / parts
    if fit.has_text is not None and len(combined) > 1:
        combined[1][~fit.has_text] = 0.0
    return combined
