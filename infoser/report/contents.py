"""What a report says, section by section."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infoser import demo
from infoser.encoders.identity import describe
from infoser.errors import InfoserError
from infoser.metrics.calibration import reliability
from infoser.progress import Progress
from infoser.report import curves, embeddings, page, quality_tables, score_figures, score_tables, sources, style
from infoser.report.labels import MOST, shortened
from infoser.report.page import Section
from infoser.report.sources import Sources
from infoser.report.style import Picture
from infoser.report.table import SETTINGS, Table, text
from infoser.saved_config import to_json

#: Rows above which a table is folded away until it is asked for.
_MANY = 30
#: Most curves by a setting that are drawn.
_MOST_RESPONSES = 24


@dataclass
class Report:
    """What has been put on the page so far, and the files beside it."""

    sources: Sources
    folder: Path
    sections: list[Section] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def section(self, anchor: str, title: str) -> Section:
        """Begins a section, at the page's end so far."""
        self.sections.append(Section(anchor, title))
        return self.sections[-1]

    def table(self, section: Section, table: Table, summary: str = "", most: int = _MANY) -> None:
        """Puts a table into a section and its CSV beside the page; long ones with a summary are folded away."""
        self.tables.append(table)
        (self.folder / "tables" / f"{table.name}.csv").write_text(table.as_csv(), "utf-8", newline="")
        if summary and len(table.rows) > most:
            section.hidden(f"{summary} ({len(table.rows):,} rows)", table.as_html())
        else:
            section.parts.append(table.as_html())

    def picture(self, section: Section, picture: Picture) -> None:
        """Puts a figure into a section and its files beside the page."""
        style.save(picture, self.folder / "figures")
        section.parts.append(page.image(style.svg(picture), picture.name, picture.alt, picture.caption))
        self.pictures.append(picture.name)


def variants(found: Sources) -> list[str]:
    """All variants of the results, in their order."""
    return list(dict.fromkeys(row["variant"] for row in found.rows))


def subtitle(found: Sources) -> list[str]:
    """What stands under the page's title: the corpus, folds and seeds, and the run folder."""
    provenance, corpus = found.results["provenance"], found.corpus
    return [
        f"{corpus['labelled']:,} labelled of {corpus['utterances']:,} utterances, {len(corpus['classes'])} classes, "
        f"{corpus['speakers']} speakers; protocol {provenance['protocol']}, {_count(len(provenance['folds']), 'fold')}, "
        f"{_count(len(found.seeds), 'seed')}",
        f"run folder {found.folder}",
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def summary(report: Report) -> None:
    """What was run, on what, and what came of it."""
    found, section = report.sources, report.section("run", "What was run")
    provenance, corpus = found.results["provenance"], found.corpus
    text_dim = "none" if corpus["text_dim"] is None else f"{corpus['text_dim']} features ({corpus['with_text']:,} utterances)"
    cells = list(dict.fromkeys(row["cell"] for row in found.rows))
    sizes = (
        f"{shortened(name, MOST)} ({part['train']:,} train, {part['test']:,} test)"
        for name, part in provenance["folds"].items()
    )
    section.facts(
        [
            ("corpus", corpus["name"]),
            ("classes", ", ".join(shortened(one, MOST) for one in corpus["classes"])),
            ("audio", f"{corpus['audio_dim']} features"),
            ("text", text_dim),
            *_made_by(corpus),
            ("protocol", provenance["protocol"]),
            ("folds", ", ".join(sizes)),
            ("seeds", " ".join(str(seed) for seed in found.seeds)),
            ("variants", " ".join(variants(found))),
            ("cells", f"{len(cells)}: " + ("; ".join(one or "the run's own settings" for one in cells))),
        ]
    )
    settings = sources.differing_settings(found.config)
    report.table(
        section,
        Table(
            "settings",
            "Settings that differ from their defaults",
            (text("setting", "setting"), text("value", "value", most=SETTINGS), text("default", "default")),
            settings,
        ),
    )
    section.hidden("Every setting", f"<pre>{html.escape(json.dumps(to_json(found.config), indent=1))}</pre>")


def _made_by(corpus: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the features were made, where the results say it."""
    made = corpus.get("settings") or {}
    if made.get("kind") == "recordings":
        return [(f"{which} encoder", describe(made[which])) for which in ("audio", "text") if made.get(which)]
    return [(f"features, {key}", str(value)) for key, value in made.items() if isinstance(value, str | int | float)]


def scores(report: Report) -> None:
    """What the differences say, their figure, and the scores: headline tables, subsets of utterances, every fold."""
    found, section = report.sources, report.section("scores", "Scores")
    section.paragraph(_verdict(found))
    markdown = []
    report.picture(section, score_figures.intervals(found))
    for modality in dict.fromkeys(row["modality"] for row in found.rows):
        table = score_tables.headline(found, modality)
        markdown.append(table.as_markdown())
        report.table(section, table)
    (report.folder / "tables" / "headline.md").write_text("\n".join(markdown), "utf-8")
    for subset in dict.fromkeys(row["subset"] for row in found.rows if row["subset"] != "all"):
        section.heading(f"{subset.replace('_', '-')} utterances")
        for modality in dict.fromkeys(row["modality"] for row in found.pick(subset=subset)):
            report.table(section, score_tables.headline(found, modality, subset), f"{modality}: scores")
    section.heading("Each fold")
    for modality in dict.fromkeys(row["modality"] for row in found.rows):
        report.table(section, score_tables.folds(found, modality), f"{modality}: scores of each fold")


def _verdict(found: Sources) -> str:
    """How many differences to `none` are told from zero."""
    rows = [row for row in found.pick(subset="all", aggregate="pooled") if row["ua_minus_none"] is not None]
    told = [row for row in rows if row["ua_minus_none_low"] is not None]
    if not rows:
        return "Nothing here can be compared with the variant none."
    if not told:
        return f"{_count(len(rows), 'difference')} to none, without intervals: there are too few speakers for any."
    above, below = sum(row["ua_minus_none_low"] > 0 for row in told), sum(row["ua_minus_none_high"] < 0 for row in told)
    family = [one for one in found.significance.values() if "ua_minus_none_p_holm" in one]
    corrected = "Nothing is corrected for their number: one in twenty excludes zero by chance."
    if family:
        kept = sum(one["ua_minus_none_p_holm"] < 0.05 for one in family)
        corrected = (
            "One in twenty excludes zero by chance; after Holm's method over the primary family of "
            f"{_count(int(family[0]['family_size']), 'difference')}, {kept} {'has' if kept == 1 else 'have'} p < 0.05."
        )
    return (
        f"Of {_count(len(told), 'interval')} of UA − none (pooled, 95 %, over speakers), {above} lie above zero and "
        f"{below} below. {corrected}"
    )


def selection(report: Report) -> None:
    """What was chosen among candidates, and by what; nothing where nothing was."""
    found = report.sources
    if not found.results.get("selection"):
        return
    section = report.section("selection", "Selection")
    section.paragraph(
        "Rows of the cell select=dev are made up of a candidate chosen for every fold and modality on inner folds, parts of "
        "the fold's own training part that share no speaker. No test utterance of a fold took part in its choice. The variant "
        "selected was chosen among augmentations (and none), none among heads of its own, both among equally many."
    )
    taken, every = score_tables.chosen(found)
    report.table(section, taken, "what was chosen")
    report.table(section, every, "what every candidate came to", most=0)


def classes(report: Report) -> None:
    """Recall of each class and confusions, as counts and rates."""
    found, section = report.sources, report.section("classes", "Classes and confusions")
    modalities = list(dict.fromkeys(row["modality"] for row in found.rows))
    for modality in modalities:
        report.table(section, score_tables.recalls(found, modality), f"{modality}: recall of each class")
    for modality in modalities:
        if found.pick(modality=modality, subset="all", aggregate="pooled", cell=found.base):
            report.picture(section, score_figures.confusions(found, modality))
        report.table(section, score_tables.confusions(found, modality), f"{modality}: confusion counts and rates", most=0)


def studies(report: Report) -> None:
    """Scores by every numeric setting that cells differ in."""
    found = report.sources
    all_of = [(key, rest, cells) for key, by_rest in curves.studied(found).items() for rest, cells in by_rest.items()]
    if not all_of:
        left_out(
            report,
            "curves",
            "Scores by setting",
            "all cells share their numeric settings; dose–response and label-fraction curves need cells that differ in "
            "generate.ratio or label-fraction",
        )
        return
    section = report.section("curves", "Scores by setting")
    for key, rest, cells in all_of[:_MOST_RESPONSES]:
        picture, table = curves.response(found, key, rest, cells)
        report.picture(section, picture)
        report.table(section, table, f"{key}: scores")
    if len(all_of) > _MOST_RESPONSES:
        section.note(
            f"{len(all_of) - _MOST_RESPONSES} further curves are left out; the scores of their cells are in the tables."
        )


def information(report: Report) -> None:
    """Mutual information of features with class and text, with its ceiling and null; the demo's with the truth beside it."""
    found = report.sources
    if not found.results["quality"]:
        left_out(
            report, "information", "Information in features", "there are no heads of none and no added rows to measure it by"
        )
        return
    section = report.section("information", "Information in features")
    picture = score_figures.information(found)
    if picture is not None:
        report.picture(section, picture)
    report.table(section, quality_tables.information(found))
    if (found.corpus.get("settings") or {}).get("kind") == "demo":
        report.table(section, quality_tables.truth(found, demo.truth()))


def quality(report: Report) -> None:
    """The panel of added rows beside real ones, where `eval.py quality` measured it."""
    found = report.sources
    if found.panel is None:
        missing = [one for one in found.missing if "quality panel" in one]
        left_out(report, "quality", "Quality of added rows", *missing)
        return
    section, rows = report.section("quality", "Quality of added rows"), found.panel["rows"]
    report.table(section, quality_tables.panel(found, rows), "Panel over all classes", most=4 * _MANY)
    report.table(section, quality_tables.panel_by_class(found, rows), "Panel of every class", most=0)
    if any(not row["reference"] for row in rows):
        report.table(section, quality_tables.panel_information(found, rows))
    for name, why in found.panel["left_out"].items():
        section.note(f"no panel of {name}: {why}")


def features(report: Report, data_dir: Path | None) -> None:
    """Real and added rows in two dimensions; without a table: what they show is in the quality panel's numbers."""
    title = "Real and generated features"
    try:
        found, classes = embeddings.embed(report.sources.folder, data_dir, report.sources.base)
    except InfoserError as error:
        left_out(report, "embeddings", title, f"the added rows can't be had: {error}")
        return
    if not found:
        left_out(report, "embeddings", title, "no variant of this run adds rows")
        return
    section = report.section("embeddings", title)
    section.paragraph(
        "Rows of one fold and seed, at most as many of each kind as shown, standardised as heads read them. What lies "
        "apart here "
        "is apart; what lies together here may still be told apart in the other dimensions."
    )
    for each in found:
        report.picture(section, embeddings.scatter(each, classes))


def predictions(report: Report) -> None:
    """Reliability diagrams, calibration, and the utterances that heads were most wrong about."""
    found = report.sources
    if not found.said:
        why = [one for one in found.missing if "predictions" in one]
        left_out(report, "reliability", "Reliability and worst utterances", *why)
        return
    section = report.section("reliability", "Reliability")
    measured = {key: reliability(own.probability, own.label) for key, own in found.said.items()}
    for modality in dict.fromkeys(modality for _, modality in measured):
        report.picture(section, score_figures.reliabilities(measured, found, modality))
    report.table(section, score_tables.calibration(measured, found))
    section = report.section("worst", "Worst utterances")
    first = next(variant for variant, _ in found.said)
    own = {key: said for key, said in found.said.items() if key[0] == first}
    report.table(section, score_tables.worst(own, found, f"worst-{first}"))
    if len(own) < len(found.said):
        report.table(section, score_tables.worst(found.said, found), "The same of every variant", most=0)


def training(report: Report) -> None:
    """Loss terms over steps, a figure for every group of runs."""
    found = report.sources
    section = report.section("training", "Training curves")
    drawn = 0
    with Progress("drawing training curves", len(found.curves), unit="groups") as progress:
        for number, curve in enumerate(found.curves):
            picture = curves.training(curve, number)
            if picture is not None:
                section.heading(curve.group)
                report.picture(section, picture)
                drawn += 1
            progress.update(number + 1)
    if not drawn:
        section.paragraph("This run folder has no loss terms (metrics.jsonl).")


def warnings(report: Report) -> None:
    """What the run noted, and what the report could not show."""
    found = report.sources
    section = report.section("warnings", "Warnings")
    notes: Sequence[str] = [*found.results["notes"], *found.missing]
    if notes:
        section.items(notes)
    else:
        section.paragraph("None.")


def environment(report: Report) -> None:
    """Versions, devices and hashes by which the run can be made again."""
    found = report.sources
    provenance: dict[str, Any] = dict(found.results["provenance"])
    section = report.section("environment", "Environment")
    versions = provenance["versions"]
    section.facts(
        [
            ("infoser", provenance["infoser"]),
            ("devices", str(provenance["devices"])),
            *((name, str(version)) for name, version in (versions.items() if isinstance(versions, dict) else ())),
            ("settings' fingerprint", provenance["config_fingerprint"]),
            ("shards' hash", str(found.corpus["shards_hash"] or "made in memory")),
        ]
    )


def left_out(report: Report, anchor: str, title: str, *why: str) -> None:
    """A section that says why there is nothing in it."""
    section = report.section(anchor, title)
    for one in why:
        section.note(one)
