"""What a prepared corpus holds, in lines for the user."""

from collections.abc import Iterable, Mapping
from typing import Any

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.encoders.identity import describe


def summary(corpus: Corpus) -> str:
    """Its counts, what was left out and why, and how it was encoded."""

    def number(values: Any) -> int:
        return len(set(values.tolist()) - {"", "Unknown"})

    labelled = int(corpus.labelled.sum())
    classes = ", ".join(f"{name} {int((corpus.label == index).sum()):,}" for index, name in enumerate(corpus.classes))
    outside = ", ".join(f"{code or '(none)'} {count:,}" for code, count in corpus.provenance["unlabelled"].items())
    lines = [
        f"{corpus.name}: {len(corpus):,} utterances, {labelled:,} labelled",
        f"  classes     {classes}",
        f"  unlabelled  {outside or 'none'}",
        f"  audio       {corpus.audio.shape[1]} features",
        f"  text        {'none' if corpus.text is None else f'{corpus.text.shape[1]} features'}",
        f"  speakers    {number(corpus.speaker)}",
    ]
    for title, values in (("sessions", corpus.session), ("dialogues", corpus.dialogue)):
        lines.append(f"  {title:<11} {'none' if values is None else number(values)}")
    made = synthetic.mask(corpus)
    if made is not None:
        sets = len(corpus.provenance.get(synthetic.MADE_FROM, {}))
        origin = f"made from {sets} known set{'' if sets == 1 else 's'} of utterances"
        lines.append(f"  synthetic   {int(made.sum()):,} utterances, for training only ({origin})")
    if corpus.split is not None:
        lines.append(f"  splits      {', '.join(sorted(set(corpus.split.tolist())))}")
    kept = [name + (f" {array.shape[1:]}" if array.ndim > 1 else "") for name, array in corpus.columns.items()]
    lines.append(f"  columns     {', '.join(kept) or 'none'}")
    lines += [f"  skipped     {key} {why}" for key, why in corpus.provenance["skipped"].items()]
    lines += [f"  filled      {key} {what}" for key, what in corpus.provenance.get("filled", {}).items()]
    return "\n".join(lines + _summary_of_recordings(corpus.provenance))


def _summary_of_recordings(provenance: Mapping[str, Any]) -> list[str]:
    """How recordings were encoded, and what is missing or was left out; nothing for features made elsewhere."""
    settings = provenance["settings"]
    if settings["kind"] != "recordings":
        return []
    encoders = [f"{modality} by {describe(settings[modality])}" for modality in ("audio", "text") if settings[modality]]
    lines = [f"  encoded     {each}" for each in encoders]
    lines.append(f"  padding     {100 * provenance['padding_share']:.1f} % of what the audio encoder read")
    lines += [f"  differs     {difference}" for difference in provenance.get("differences", [])]
    if provenance.get("without_transcript"):
        lines.append(f"  no text     {provenance['without_transcript']:,} utterances have no transcript")
    clipped = provenance["clipped"]
    if clipped:
        lines.append(
            f"  clipped     {len(clipped):,} kept, the worst {max(clipped, key=clipped.__getitem__)}: {_listed(clipped)}"
        )
    lines += [f"  left out    {message}" for message in provenance["bad_files"].values()]
    return lines


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
