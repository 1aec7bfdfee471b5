"""Writes a corpus as TFDS shards that training reads; says at the end what it holds and how to go on."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from arrays.npz_source import ROLES, read_arrays

from infoser import demo
from infoser.commandline import refuse_repeated_flags, run_command
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.shard_writer import already_prepared, write_corpus
from infoser.shards import check_corpus_name, find_corpus

Key = Annotated[str | None, tyro.conf.arg(metavar="KEY", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Prepare a corpus from an .npz of utterance-level features and annotations (one row per utterance).

    Every array that plays no role below and has one row per utterance is kept as a column.
    """

    source: Path
    """The .npz; read without pickle."""
    name: str
    """Name of the corpus: letters, digits, '_' and '-'."""
    data_dir: Path = Path("data")
    """Where prepared corpora lie."""
    classes: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="CLASS=EMOTION,...", help_behavior_hint="")] = None
    """Classes and the emotions they take in, such as: ang=ang hap=hap,exc. Other emotions stay, unlabelled. Default:
    every emotion is a class; for the name iemocap: ang=ang hap+exc=hap,exc neu=neu sad=sad."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a corpus of this name that was prepared otherwise."""
    utterance_id_key: Key = None
    """Array of unique utterance ids (default: utterance_id)."""
    audio_key: Key = None
    """Array of audio features, (utterances, features) (default: audio)."""
    text_key: Key = None
    """Array of text features, (utterances, features) (default: text, where there is one)."""
    label_key: Key = None
    """Array of class indices, -1 for unlabelled (default: label); named here it wins over an 'emotion' array."""
    label_names_key: Key = None
    """Array of class names, in the order of the indices (default: label_names)."""
    emotion_key: Key = None
    """Array of emotion codes, '' for unlabelled; wins over labels (default: emotion, where there is one)."""
    speaker_key: Key = None
    """Array of speakers (default: speaker)."""
    session_key: Key = None
    """Array of sessions (default: session, where there is one)."""
    dialogue_key: Key = None
    """Array of dialogues (default: dialogue, where there is one)."""
    split_key: Key = None
    """Array of official splits (default: split, where there is one)."""

    def corpus(self) -> Corpus:
        if self.classes == ():
            raise InfoserError("--classes needs at least one CLASS=EMOTION,…, such as: ang=ang hap=hap,exc")
        keys = {role: getattr(self, f"{role}_key") for role in ROLES}
        return read_arrays(self.source, name=self.name, keys=keys, classes=self.classes or ())

    def builder(self) -> Callable[..., Any]:
        from arrays.arrays_dataset_builder import Builder

        return Builder


@dataclasses.dataclass(frozen=True)
class Demo:
    """Prepare the demo corpus: synthetic features whose information and best accuracies are known."""

    data_dir: Path = Path("data")
    """Where prepared corpora lie."""
    seed: int = 0
    """Seed of the sample."""
    size: int = demo.SIZE
    """Number of utterances."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a demo corpus that was prepared otherwise."""

    name = "demo"

    def corpus(self) -> Corpus:
        return demo.sample(seed=self.seed, size=self.size)

    def builder(self) -> Callable[..., Any]:
        from demo.demo_dataset_builder import Builder

        return Builder


Command = (
    Annotated[Arrays, tyro.conf.subcommand("arrays", prefix_name=False)]
    | Annotated[Demo, tyro.conf.subcommand("demo", prefix_name=False)]
)


def prepare(argv: Sequence[str]) -> None:
    """Runs one subcommand; raises InfoserError for what the user can mend."""
    refuse_repeated_flags(argv)
    command = tyro.cli(Command, args=argv, prog="prepare.py", description=__doc__)
    check_corpus_name(command.name)
    if isinstance(command, Arrays) and command.name == "demo":
        raise InfoserError("--name demo is the demo corpus' own, beside whose truth it is printed; choose another")
    started = time.monotonic()
    corpus = command.corpus()
    if not command.overwrite and already_prepared(command.data_dir, corpus.name, corpus.provenance["settings"]):
        folder = find_corpus(command.data_dir, corpus.name)
        print(f"already prepared: {corpus.name} in {folder}, from the same source with the same settings")
    else:
        folder = write_corpus(command.builder(), corpus, command.data_dir)
        print(_summary(corpus))
        print(f"  written     {folder} ({_megabytes(folder):.1f} MB, {time.monotonic() - started:.1f} s)")
    data_dir = shlex.quote(str(command.data_dir))
    print(f"next: python train.py corpus --data.name {corpus.name} --data-dir {data_dir}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    return run_command(prepare, argv)


def _summary(corpus: Corpus) -> str:
    def number(values: Any) -> int:
        return len(set(values.tolist()))

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
    if corpus.split is not None:
        lines.append(f"  splits      {', '.join(sorted(set(corpus.split.tolist())))}")
    kept = [name + (f" {array.shape[1:]}" if array.ndim > 1 else "") for name, array in corpus.columns.items()]
    lines.append(f"  columns     {', '.join(kept) or 'none'}")
    skipped = corpus.provenance["skipped"]
    lines += [f"  skipped     {key} {why}" for key, why in skipped.items()]
    return "\n".join(lines)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
