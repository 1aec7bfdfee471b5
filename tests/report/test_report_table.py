"""Tables as HTML, CSV and Markdown, and names that come from data."""

import csv
import io

import pytest

from infoser.report import labels
from infoser.report.table import SETTINGS, Table, count, number, percent, text

TABLE = Table(
    "t",
    "a <caption>",
    (text("name", "name"), percent("UA [95 %]", "ua", "low", "high", rest=" [{}, {}]", signed=True), count("N", "n")),
    [
        {"name": "a|b`$", "ua": 0.123456789, "low": -0.5, "high": 0.5, "n": 12345, "more": {"x": 1}},
        {"name": "<i>", "ua": 0.1, "low": None, "high": None, "n": None, "more": None},
        {"name": "", "ua": None, "low": None, "high": None, "n": 0, "more": None},
    ],
)


def test_html_shows_rounded_numbers_and_holds_every_digit():
    page = TABLE.as_html()
    assert '<data value="0.123456789">+12.3</data>' in page
    assert '[<data value="-0.5">−50.0</data>, <data value="0.5">+50.0</data>]' in page
    assert 'data-sort="0.123456789"' in page and "12,345" in page
    assert "<i>" not in page and "&lt;i&gt;" in page and "a &lt;caption&gt;" in page
    assert page.count("–") == 2  # what is not there is no number, and sorts last


def test_csv_has_every_field_and_digit():
    rows = list(csv.DictReader(io.StringIO(TABLE.as_csv())))
    assert rows[0] == {"name": "a|b`$", "ua": "0.123456789", "low": "-0.5", "high": "0.5", "n": "12345", "more": '{"x": 1}'}
    assert rows[1]["low"] == ""


def test_markdown_has_no_markup_of_the_data():
    lines = TABLE.as_markdown().splitlines()
    assert lines[2] == "| name | UA \\[95 %\\] | N |" and lines[3] == "|---|---:|---:|"
    assert lines[4] == "| a\\|b\\`\\$ | +12.3 [−50.0, +50.0] | 12,345 |"
    assert lines[5] == "| &lt;i&gt; | +10.0 | – |"


def test_text_is_cut_where_its_column_says():
    name = "none " + "classify.ema-decay=0.998 " * 4 + "space=joined"
    for column, whole in ((text("a", "a"), False), (text("a", "a", most=SETTINGS), True)):
        table = Table("e", "names", (column,), [{"a": name}])
        assert (f">{name}<" in table.as_html()) == whole == (name in table.as_markdown())


def test_a_table_without_rows_keeps_its_columns():
    empty = Table("e", "nothing", (text("a", "a"), number("b", "b", "c", rest=" ± {}")), [])
    assert empty.as_csv().strip() == "a,b,c"


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\x00", "\x1b", "\ud800", "\u2028", "\ufeff"])
def test_what_acts_unseen_is_shown_as_replaced(hidden):
    assert labels.visible(f"a{hidden}b") == "a\ufffdb"


def test_scripts_and_joined_emoji_stay_as_they_are():
    for name in ("غاضب", "怒り", "👩‍🚀", "fröhlich", "शांत"):
        assert labels.visible(name) == name
        assert labels.as_html(name) == f"<bdi class=short>{name}</bdi>"


def test_long_names_are_cut_visibly_with_the_whole_as_tooltip():
    shown = labels.as_html('"' + "x" * 100)
    assert shown.startswith(f'<bdi title="&quot;{"x" * 100}">&quot;{"x" * 46}…')
    assert len(labels.in_figure("x" * 100)) == labels.MOST_IN_FIGURE


def test_names_of_rows_take_two_lines_of_a_figure_and_are_cut_in_their_middle_beyond():
    name = "infogan (generate.class-mi-weight=0.05 generate.row-weight=0.1 generate.text-mi-weight=0.3)"
    shown = labels.row_in_figure(name)
    assert shown.replace("\n", " ") == name and max(map(len, shown.split("\n"))) <= 60 and shown.count("\n") == 1
    # Rows of a sweep differ at the end of their names.
    longer = name[:-1] + " classify.learning-rate=0.0001 classify.width="
    rows = [labels.row_in_figure(f"{longer}{width})") for width in (64, 2048)]
    assert rows[0] != rows[1] and all(row.startswith("infogan") and len(row) == 60 for row in rows)
    assert rows[1].endswith("width=2048)") and labels.row_in_figure("none") == "none"
    assert len(labels.row_in_figure("x" * 10_000)) == 60


def test_file_names_of_long_names_differ_where_the_names_do():
    names = [f"{'generate.text-mi-weight=0.1 ' * 5}width={width}" for width in (64, 128)]
    found = [labels.file_name(name) for name in names]
    assert found[0] != found[1] and all(len(one) == 80 for one in found)
    assert labels.file_name("generate.ratio é") == "generate-ratio--" and labels.file_name("x" * 80) == "x" * 80
