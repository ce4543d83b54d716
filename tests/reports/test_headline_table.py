import io
import re
from dataclasses import replace

from rich.console import Console

from ravn.reports import headline_table
from samples import made_result, measured

METHODS = ("float32", "uniform 4-bit", "uniform, our bytes", "k-means, our bytes", "knapsack", "RAVN + fine-tuning")


def printed(result, width=100):
    file = io.StringIO()
    Console(file=file, width=width).print(headline_table(result))
    return file.getvalue().rstrip().split("\n")


def demo():
    rows = tuple(
        measured(m, 100.0 / (n + 1), 1_078_888 // (3 * n + 1), 269_722, 200, 9000.0) for n, m in enumerate(METHODS)
    )
    return made_result(rows=rows)


def test_a_hundred_columns_hold_every_row_in_one_line():
    lines = printed(demo())
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if any(method in line for method in METHODS)]
    assert len(rows) == len(METHODS)
    assert all(f"{row.file_bytes:,}" in line for row, line in zip(demo().rows, rows, strict=True))
    assert "…" not in "".join(lines)


def test_numbers_are_aligned_to_the_right():
    lines = [line for line in printed(demo()) if any(method in line for method in METHODS)]
    ends = [[match.end() for match in re.finditer(r"\S(?=  |$)", line.rstrip())] for line in lines]
    assert len({tuple(end[-6:]) for end in ends}) == 1


def test_the_last_row_alone_is_bold():
    table = headline_table(demo())
    console = Console(width=100)
    bold = "".join(s.text for s in console.render(table) if s.style and s.style.bold and not s.style.italic)
    assert METHODS[-1] in bold
    assert not any(method in bold for method in METHODS[:-1])


def test_brackets_in_names_are_text_not_markup():
    result = made_result(model="python:net[0]", data="[bold]x[/]")
    result = replace(result, rows=(replace(result.rows[0], method="k-means [red]"), *result.rows[1:]))
    text = "\n".join(printed(result))
    assert "python:net[0] on [bold]x[/]" in text
    assert "k-means [red]" in text


def test_a_long_method_folds_and_loses_nothing():
    name = "a method of a very long name that nobody can put into one column of a table"
    result = made_result(rows=(measured(name, 90.0, 10**9, 10**9, 10**6, 10**6),))
    lines = printed(result)
    assert max(map(len, lines)) <= 100
    assert set(name.split()) <= set(" ".join(lines).split())


def test_a_plain_terminal_can_print_it():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=100).print(headline_table(demo()))
