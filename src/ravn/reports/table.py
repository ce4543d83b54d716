"""The headline table for the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from ravn.reports.formats import HEADINGS, headline_cells
from ravn.result import Result


def headline_table(result: Result) -> Table:
    """The headline table: one row per way to store the network, ours last and bold.

    Args:
        result: what was measured.
    """
    # As Text, because rich would read a name with brackets as markup.
    table = Table(title=Text(f"{result.model} on {result.data}"), box=box.SIMPLE_HEAD)
    table.add_column(HEADINGS[0], overflow="fold")
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for number, row in enumerate(result.rows, start=1):
        cells = [Text(cell) for cell in headline_cells(row)]
        table.add_row(*cells, style="bold" if number == len(result.rows) else "")
    return table
