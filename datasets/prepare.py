"""Writes a corpus as TFDS shards that training reads; says at the end what it holds and how to go on."""

import abc
import dataclasses
import importlib
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from arrays.npz_source import ROLES, read_arrays
from arrays.with_synthetic import with_synthetic
from corpus_summary import summary

from infoser import demo
from infoser.class_map import parse_class_map
from infoser.commandline import refuse_repeated_flags, run_command
from infoser.corpus import Corpus
from infoser.encoders.encoded_corpus import Encoding, encode_corpus, make_plan
from infoser.errors import InfoserError, can_be_written
from infoser.locks import held
from infoser.recordings import Recordings
from infoser.shard_writer import already_prepared, write_corpus
from infoser.shards import PLAIN, check_config_name, check_corpus_name, find_corpus, list_configs, read_corpus

Key = Annotated[str | None, tyro.conf.arg(metavar="KEY", help_behavior_hint="")]
Classes = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="CLASS=EMOTION,...", help_behavior_hint="")]


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
    synthetic: tuple[Path, ...] = ()
    """Exports of eval.py generate (their .npz) whose synthetic rows are added; they are trained on only."""
    classes: Classes = None
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
        corpus = read_arrays(self.source, name=self.name, keys=keys, classes=self.classes or ())
        return with_synthetic(corpus, self.synthetic)

    def builder(self) -> Callable[..., Any]:
        from arrays.arrays_dataset_builder import Builder

        return Builder


@dataclasses.dataclass(frozen=True)
class Join:
    """Add synthetic rows to a corpus that is prepared already, however it was; the two make a corpus of another name."""

    of: str
    """The prepared corpus."""
    synthetic: tuple[Path, ...]
    """Exports of eval.py generate (their .npz) whose synthetic rows are added; they are trained on only."""
    name: str
    """Name of the corpus that they make together."""
    config: str = ""
    """By which encoders the corpus was prepared, if in several ways."""
    data_dir: Path = Path("data")
    """Where prepared corpora lie."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a corpus of this name that was prepared otherwise."""

    def corpus(self) -> Corpus:
        if not self.synthetic:
            raise InfoserError("--synthetic needs at least one .npz that eval.py generate wrote")
        if self.name == self.of:
            raise InfoserError(f"--name {self.name} is the prepared corpus' own; give another: that one stays as it is")
        return with_synthetic(
            dataclasses.replace(read_corpus(self.data_dir, self.of, self.config), name=self.name), self.synthetic
        )

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


@dataclasses.dataclass(frozen=True)
class FromRecordings(abc.ABC):
    """What all corpora of recordings have in common."""

    encoding: Encoding = dataclasses.field(default_factory=Encoding)
    data_dir: Path = Path("data")
    """Where prepared corpora lie."""
    classes: Classes = None
    """Classes: the number of a customary task (see the corpus' README), or each class and the emotions it takes in, such
    as: ang=ang hap=hap,exc. Other emotions stay, unlabelled."""
    config: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Names this way of encoding among others of the corpus (default: after its encoders)."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace what was prepared otherwise under this name."""

    def class_map(self, recordings: Recordings) -> dict[str, tuple[str, ...]]:
        """The classes that are asked for, or customary."""
        source = self.source()
        customary: Mapping[str, tuple[str, ...]] = getattr(source, "CLASS_MAPS", {})
        if self.classes == ():
            raise InfoserError("--classes needs a number, or at least one CLASS=EMOTION,…")
        asked = self.classes or ((source.DEFAULT_CLASSES,) if customary else ())
        if len(asked) == 1 and asked[0] in customary:
            return parse_class_map(customary[asked[0]])
        if customary and asked and all("=" not in each for each in asked):
            raise InfoserError(f"--classes {' '.join(asked)}: choose {', '.join(customary)}, or give CLASS=EMOTION,…")
        return parse_class_map(asked) if asked else {code: (code,) for code in np.unique(recordings.emotion).tolist() if code}

    def source(self) -> Any:
        """The module that reads the corpus."""
        return importlib.import_module(f"{self.folder()}.{self.folder()}_source")

    def builder(self) -> Callable[..., Any]:
        """The TFDS builder of the corpus."""
        return importlib.import_module(f"{self.folder()}.{self.folder()}_dataset_builder").Builder

    @abc.abstractmethod
    def folder(self) -> str:
        """The corpus' folder among the datasets."""

    @abc.abstractmethod
    def recordings(self) -> Recordings:
        """What the corpus holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licensed(FromRecordings):
    """A corpus in the folder that its owners ship."""

    corpus_dir: Path
    """The corpus' folder, as it was shipped."""
    allow_incomplete: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on where the corpus differs from its published counts, and record the difference."""

    def recordings(self) -> Recordings:
        return getattr(self.source(), f"read_{self.folder()}")(self.corpus_dir, allow_incomplete=self.allow_incomplete)


class Iemocap(Licensed):
    """Prepare IEMOCAP from IEMOCAP_full_release."""

    def folder(self) -> str:
        return "iemocap"


class MspImprov(Licensed):
    """Prepare MSP-IMPROV."""

    def folder(self) -> str:
        return "msp_improv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MspPodcast(Licensed):
    """Prepare MSP-Podcast."""

    release: str
    """Its release, such as 1.11: it decides the published counts."""

    def folder(self) -> str:
        return "msp_podcast"

    def recordings(self) -> Recordings:
        return self.source().read_msp_podcast(self.corpus_dir, release=self.release, allow_incomplete=self.allow_incomplete)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest(FromRecordings):
    """Prepare any recordings that a CSV, TSV, JSONL or Parquet file lists.

    Columns: utterance_id, audio (paths relative to the manifest), emotion, speaker; and, where there are any, transcript,
    session, dialogue, split, start_s, end_s. All others are kept.
    """

    manifest: Path
    """The list."""
    name: str
    """Name of the corpus: letters, digits, '_' and '-'."""

    def folder(self) -> str:
        return "manifest"

    def recordings(self) -> Recordings:
        check_corpus_name(self.name)
        return self.source().read_manifest(self.manifest, name=self.name)


COMMANDS = {
    "arrays": Arrays,
    "join": Join,
    "demo": Demo,
    "iemocap": Iemocap,
    "msp_improv": MspImprov,
    "msp_podcast": MspPodcast,
    "manifest": Manifest,
}


def prepare(argv: Sequence[str]) -> None:
    """Runs one subcommand; raises InfoserError for what the user can mend."""
    refuse_repeated_flags(argv)
    command: Any = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, args=argv, prog="prepare.py", description=__doc__, config=(tyro.conf.OmitArgPrefixes,)
    )
    if isinstance(command, FromRecordings):
        name, config = _prepare_recordings(command)
    else:
        name, config = _prepare_features(command)
    data_dir = shlex.quote(str(command.data_dir))
    chosen = f" --data.config {config}" if len(list_configs(command.data_dir, name)) > 1 else ""
    print(f"next: python train.py corpus --data.name {name}{chosen} --data-dir {data_dir}")


def _prepare_features(command: Arrays | Join | Demo) -> tuple[str, str]:
    """Prepares features that were made elsewhere; returns the names of corpus and config."""
    check_corpus_name(command.name)
    if not isinstance(command, Demo) and command.name == "demo":
        raise InfoserError("--name demo is the demo corpus' own, beside whose truth it is printed; choose another")
    started = time.monotonic()
    corpus = command.corpus()
    if not command.overwrite and already_prepared(command.data_dir, corpus.name, corpus.provenance["settings"]):
        _say_prepared(command.data_dir, corpus.name, PLAIN)
    else:
        folder = write_corpus(command.builder(), corpus, command.data_dir)
        _say_written(corpus, folder, started)
    return corpus.name, PLAIN


def _prepare_recordings(command: FromRecordings) -> tuple[str, str]:
    """Encodes recordings and writes them; returns the names of corpus and config."""
    started = time.monotonic()
    if command.config is not None:
        check_config_name(command.config)
    recordings = command.recordings()
    plan = make_plan(recordings, command.class_map(recordings), command.encoding, command.config)
    data_dir, name = command.data_dir, recordings.name
    if not command.overwrite and already_prepared(data_dir, name, plan.settings, plan.config):
        _say_prepared(data_dir, name, plan.config)
        return name, plan.config
    work = data_dir / f".{name}-{plan.config}.encoding"
    with can_be_written(work):
        work.mkdir(parents=True, exist_ok=True)
        with held(work / ".lock", f"another process is encoding into {work}; wait for it"):
            corpus = encode_corpus(plan, work)
            folder = write_corpus(command.builder(), corpus, data_dir, plan.config)
            _say_written(corpus, folder, started)
            shutil.rmtree(work)
    return name, plan.config


def _say_prepared(data_dir: Path, name: str, config: str) -> None:
    folder = find_corpus(data_dir, name, config)
    print(f"already prepared: {name} in {folder}, from the same source with the same settings")


def _say_written(corpus: Corpus, folder: Path, started: float) -> None:
    print(summary(corpus))
    print(f"  written     {folder} ({_megabytes(folder):.1f} MB, {time.monotonic() - started:.1f} s)")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    return run_command(prepare, argv)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
