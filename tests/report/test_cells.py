"""Tables of scores on a terminal."""

import io

from rich.console import Console

from infoser.report import cells


def test_a_narrow_table_shows_names_of_cells_whole() -> None:
    names = [{"variant": "infogan", "cell": f"generate.class-mi-weight={weight}"} for weight in ("0.05", "0.1")]
    table = cells.table("Quality", ["variant", *[f"measure {i}" for i in range(6)]])
    for row in names:
        table.add_row(cells.name(row), *["+0.123 ± 0.456"] * 6)
    out = Console(file=io.StringIO(), width=80)
    out.print(table)
    assert isinstance(out.file, io.StringIO)
    lines = [line for line in out.file.getvalue().splitlines() if line.startswith("│")]
    first = "".join(line.split("│")[1].strip() for line in lines)
    for row in names:
        assert cells.name(row).plain.replace(" ", "") in first.replace(" ", "")
