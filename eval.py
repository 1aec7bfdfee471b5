"""Evaluates a run folder: python eval.py score, quality or report RUN; predict RUN RECORDING…; generate RUN --out FOLDER"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from infoser import run_folder
from infoser.commandline import refuse_repeated_flags, run_command
from infoser.errors import InfoserError

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class Score:
    """Restore every run from its checkpoint, predict its test part anew, and print the scores."""

    run_dir: RunFolder
    """The run folder."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""
    details: Switch = False
    """Also print every fold and the confusion matrices."""
    corpus: Path | None = None
    """Score the heads on another prepared corpus instead, a folder DATA_DIR/NAME or DATA_DIR/NAME/CONFIG; the results go to
    RUN/cross."""
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS=CODE,...", help_behavior_hint="")] = ()
    """With --corpus: classes of the run and those of the other corpus that count as each, such as: ang=anger hap=joy,amusement.
    Classes that are not named are not scored. Default: classes of one name."""
    normalise: Literal["auto", "training", "corpus", "speaker"] = "auto"
    """With --corpus: what standardises its features. training: the training part of each model; corpus: its own utterances
    together, speaker: each of its speakers (both transductive: they look at all that is scored, but at no label); auto:
    training, or what the run was trained with (--data.normalise)."""
    among: Literal["shared", "all"] = "shared"
    """With --corpus: which classes heads choose from. shared: those that both corpora have, posteriors renormalised; all: all
    of the run's, one that the other corpus lacks being an error."""
    fold: Annotated[str, tyro.conf.arg(metavar="FOLD", help_behavior_hint="")] = ""
    """With --corpus: the models that were tested on this fold, or final for the final model. Default: every fold's, and the
    final one beside them where there is one."""
    no_text: Switch = False
    """With --corpus: score heads on audio alone, whatever text there is."""

    def __call__(self) -> None:
        if self.corpus is not None:
            self._score_other(self.corpus)
            return
        given = {"--classes": self.classes, "--fold": self.fold, "--no-text": self.no_text}
        given |= {"--normalise": self.normalise != "auto", "--among": self.among != "shared"}
        if any(given.values()):
            flag = next(flag for flag, value in given.items() if value)
            raise InfoserError(f"{flag} is about another corpus; name it with --corpus DATA_DIR/NAME")
        from infoser import demo, experiment
        from infoser.report import tables

        results = experiment.score(self.run_dir, self.data_dir)
        out = tables.console()
        tables.print_results(results, out, details=self.details)
        if results["provenance"]["corpus"]["name"] == "demo":
            tables.print_demo_truth(results, demo.truth(), out)
        print(run_folder.compare(self.run_dir, results))

    def _score_other(self, target: Path) -> None:
        from infoser import cross_scoring
        from infoser.report import cross_tables, tables

        request = cross_scoring.Request(
            folder=self.run_dir,
            target=target,
            classes=self.classes,
            normalise=self.normalise,
            among=self.among,
            fold=self.fold,
            text=not self.no_text,
            data_dir=self.data_dir,
        )
        results = cross_scoring.score_corpus(request)
        cross_tables.print_cross(results, tables.console(), details=self.details)
        path = cross_scoring.write(request, results)
        print(f"written to {path}.json and .csv")


@dataclass(frozen=True)
class Predict:
    """Encode recordings as the corpus of a run folder was, and predict their emotions."""

    run_dir: RunFolder
    """The run folder."""
    recordings: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECORDING...")]
    """Sound files (wav, flac, …)."""
    text: tuple[str, ...] = ()
    """What is said in each, in their order; without it, audio alone is read."""
    fold: str = ""
    """Predict by the model that was tested on this fold (default: the final model, see --final of train.py)."""
    variant: str = ""
    """Which variant's model (default: the final model's, or the first variant of the run)."""
    json: Switch = False
    """Print JSON lines, with every seed's probabilities."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""
    audio_encoder: str = ""
    """Where the audio encoder is, if it was moved since the corpus was prepared."""
    text_encoder: str = ""
    """Where the text encoder is, if it was moved since the corpus was prepared."""
    device: str = "auto"
    """Device of Hugging Face encoders: auto, cpu, cuda, cuda:1 …"""

    def __call__(self) -> None:
        if not self.recordings:
            raise InfoserError("give at least one recording after the run folder")
        from infoser import prediction
        from infoser.report import tables

        answer = prediction.predict(
            prediction.Request(
                folder=self.run_dir,
                files=self.recordings,
                texts=self.text,
                fold=self.fold,
                variant=self.variant,
                data_dir=self.data_dir,
                audio_encoder=self.audio_encoder,
                text_encoder=self.text_encoder,
                device=self.device,
            )
        )
        if self.json:
            for line in prediction.as_json(answer):
                print(json.dumps(line, ensure_ascii=False))
        else:
            tables.print_predictions(answer, tables.console())
        failed = [each.error for each in answer.predictions if each.error]
        if failed:
            raise InfoserError("; ".join(failed))


@dataclass(frozen=True)
class Quality:
    """Measure how like real rows the added rows of a run folder are, and what they hold; writes panel.json and panel.csv."""

    run_dir: RunFolder
    """The run folder."""
    variants: tuple[str, ...] = ()
    """Whose rows (default: of all variants that add rows)."""
    folds: tuple[str, ...] = ()
    """Which folds (default: all)."""
    seeds: tuple[int, ...] = ()
    """Which seeds (default: all)."""
    repeats: int = 5
    """How often the rows of a panel are drawn; 2 or more."""
    most_rows: int = 2000
    """Most rows of a sample."""
    no_information: Switch = False
    """Leave out the estimates of mutual information, which take the most time."""
    details: Switch = False
    """Also print every class."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""

    def __call__(self) -> None:
        from infoser import inspection
        from infoser.metrics.panel import PanelOptions
        from infoser.report import panels, tables

        request = inspection.Request(
            folder=self.run_dir,
            data_dir=self.data_dir,
            variants=self.variants,
            folds=self.folds,
            seeds=self.seeds,
            options=PanelOptions(repeats=self.repeats, most_rows=self.most_rows),
            information=not self.no_information,
        )
        found = inspection.inspect(request)
        run_folder.write_panel(self.run_dir, found)
        panels.print_panel(found, tables.console(), details=self.details)
        print(f"written to {self.run_dir}: {run_folder.PANEL}, panel.csv")


@dataclass(frozen=True)
class Report:
    """Make a page of a run folder, with every table as CSV and every figure as PNG and PDF."""

    run_dir: RunFolder
    """The run folder."""
    out: Path | None = None
    """Where the report goes (default: report, in the run folder)."""
    no_embeddings: Switch = False
    """Leave out the pictures of real and generated features, for which generators are restored."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""

    def __call__(self) -> None:
        from infoser.report import build

        print(f"written: {build.write(build.Request(self.run_dir, self.out, not self.no_embeddings, self.data_dir))}")


@dataclass(frozen=True)
class Generate:
    """Write generated features of a run folder for other tools, marked as synthetic, with a data card."""

    run_dir: RunFolder
    """The run folder."""
    out: Path
    """The folder to write; a new one, or an empty one."""
    variant: str = ""
    """Whose rows: a generator of the run, or a control (noise, mixup, smote, class-gaussian). Default: the final model's, or
    the first that the run has."""
    format: tuple[Literal["npz", "parquet", "tfds", "nkululeko", "emotion2vec"], ...] = ("npz",)
    """npz (for prepare.py arrays, NumPy, scikit-learn), parquet, tfds, nkululeko, emotion2vec; several, if need be."""
    per_class: int = 0
    """How many rows of each class; either this or --count."""
    count: int = 0
    """How many rows in all, classes as frequent as in the training part."""
    fold: str = ""
    """The model that was tested on this fold (default: the final model, see --final of train.py)."""
    cell: str = ""
    """The part of the run, as the column cell of its scores names it (default: the base configuration)."""
    seed: int | None = None
    """Which of the run's seeds (default: the first)."""
    draw_seed: int = 0
    """Another number draws other rows of the same model."""
    lend_text: Switch = False
    """Also write the text features of the real utterances whose text goes with generated audio."""
    no_text: Switch = False
    """Leave out text features, also generated ones."""
    with_real: Switch = False
    """Also write the real rows that the model was trained on, marked as not synthetic; never a row of its test part."""
    overwrite: Switch = False
    """Replace an earlier export in the folder."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""

    def __call__(self) -> None:
        from infoser.export import folder
        from infoser.export.source import Request

        request = Request(
            folder=self.run_dir,
            variant=self.variant,
            fold=self.fold,
            cell=self.cell,
            seed=self.seed,
            per_class=self.per_class or None,
            count=self.count or None,
            draw_seed=self.draw_seed,
            lend_text=self.lend_text,
            with_text=not self.no_text,
            with_real=self.with_real,
            data_dir=self.data_dir,
        )
        written = folder.generate(request, self.format, self.out, overwrite=self.overwrite)
        for line in folder.summary(written):
            print(line)


COMMANDS = {"score": Score, "predict": Predict, "quality": Quality, "report": Report, "generate": Generate}


def main(argv: Sequence[str]) -> None:
    """Runs the command line `argv` (without the program's name)."""
    refuse_repeated_flags(argv)
    # What needs JAX is imported when the command runs: help and mistakes in flags need none.
    tyro.extras.subcommand_cli_from_dict(COMMANDS, args=argv, prog="eval.py", description=__doc__)()


if __name__ == "__main__":
    sys.exit(run_command(main))
