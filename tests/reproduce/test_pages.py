"""The pages of the tables: what is kept in docs is what the results say, and nothing breaks a table."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.reproduce.archive import Archive
from ravn.reproduce.cells import Results
from ravn.reproduce.figures import FIGURES
from ravn.reproduce.rendering import html, markdown
from ravn.reproduce.tables import MAKERS, Row, Table

ROOT = Path(__file__).parents[2]
quick = settings(deadline=None, derandomize=True)
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=20)


class Counted(HTMLParser):
    """Cells of every row of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("name", ["results.md", "results.html"])
def test_the_page_that_is_kept_is_what_the_results_say(name: str, tmp_path: Path, ravn) -> None:
    for figure in FIGURES:
        shutil.copy(ROOT / "docs" / figure, tmp_path)
    code, out, _ = ravn("reproduce", "render", "--results", ROOT / "results", "--into", tmp_path / "results.md")
    assert code == 0
    assert "results" in out
    assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("name", MAKERS)
def test_every_row_has_a_cell_for_every_column(name: str) -> None:
    table = MAKERS[name](Archive(Results(ROOT / "results")))
    assert table.rows
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}
    assert any(row.ours for row in table.rows)
    assert not any("nan" in cell.lower() for row in table.rows for cell in row.cells)


@pytest.mark.parametrize("name", MAKERS)
def test_without_results_a_table_says_what_was_not_run(name: str) -> None:
    table = MAKERS[name](Archive([]))
    assert not any(row.ours for row in table.rows)
    assert table.not_run
    assert f"Not run: {', '.join(table.not_run)}." in markdown([table])


def made(columns: list[str], rows: list[list[str]], sentence: str) -> Table:
    lines = tuple(Row(tuple(row), ours=bool(i % 2)) for i, row in enumerate(rows))
    return Table(1, sentence, tuple(columns), lines, (sentence,), (), ())


tables = st.integers(3, 5).flatmap(
    lambda width: st.builds(
        made,
        st.lists(words, min_size=width, max_size=width),
        st.lists(st.lists(words, min_size=width, max_size=width), max_size=4),
        words,
    )
)


@given(tables)
@quick
def test_whatever_stands_in_a_table_it_stays_a_table(table: Table) -> None:
    text = markdown([table]).split("## What the paper's text says")[0]
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    assert len(lines) == 2 + len(table.rows)
    assert {line.count("|") for line in lines} == {len(table.columns) + 1}


@given(tables)
@quick
def test_a_page_shows_every_cell_as_it_is(table: Table) -> None:
    rows = Counted(html([table])).rows[: 1 + len(table.rows)]
    assert rows == [list(table.columns), *(list(row.cells) for row in table.rows)]
