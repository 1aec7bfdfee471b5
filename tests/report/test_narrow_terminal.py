"""Tables of scores on a terminal."""

import io

from rich.console import Console
from rich.table import Table

from infoser.report import cells, panels


def _printed(table: Table) -> str:
    """The first column of a table on a terminal of 80 columns, without its breaks."""
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    lines = [line for line in out.getvalue().splitlines() if line.startswith("│")]
    return "".join(line.split("│")[1] for line in lines).replace(" ", "")


def test_a_narrow_table_shows_names_of_cells_whole() -> None:
    names = [{"variant": "infogan", "cell": f"generate.class-mi-weight={weight}"} for weight in ("0.05", "0.1")]
    table = cells.table("Quality", ["variant", *[f"measure {i}" for i in range(6)]])
    for row in names:
        table.add_row(cells.name(row), *["+0.123 ± 0.456"] * 6)
    for row in names:
        assert cells.name(row).plain.replace(" ", "") in _printed(table)


def test_a_narrow_panel_shows_names_of_cells_whole() -> None:
    measured = [
        {"variant": "infogan", "cell": f"generate.class-mi-weight={weight}", "modality": "audio", "class": "all"}
        | {"reference": "test", "measure": measure, "value": 0.1, "real": 0.2, "train": 0.3, "rows": 60}
        for weight in ("0.05", "0.1")
        for measure in panels.MEASURES
    ]
    information = [
        {"variant": "infogan", "cell": "generate.class-mi-weight=0.05", "modality": "audio", "class": "all", "reference": ""}
        | {"measure": "class_information_nats", "value": 0.5, "real": 0.6, "null": None, "ceiling": 1.386, "rows": 60}
        | {"standard_error": 0.1, "real_standard_error": 0.1}
    ]
    out = io.StringIO()
    panels.print_panel({"rows": measured + information, "left_out": {}}, Console(file=out, width=80))
    columns = [line.split("│")[1] for line in out.getvalue().splitlines() if line.startswith("│")]
    shown = "".join(columns).replace(" ", "")
    for weight, times in (("0.05", 4), ("0.1", 3)):  # with its real and training rows, and its information
        assert shown.count(f"(generate.class-mi-weight={weight})") == times
