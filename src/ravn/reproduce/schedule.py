"""Which cells a table needs, in which order, and which of them fit into the time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ravn.arms import ARMS
from ravn.errors import InputError, RavnError
from ravn.reproduce.cells import FLOAT, FOUR_BIT, PROPOSED, SAME_BYTES, Cell, Record, Results

TABLES = {
    "table1": (PROPOSED, FLOAT, FOUR_BIT, SAME_BYTES),
    "table2": (PROPOSED, FLOAT, FOUR_BIT, SAME_BYTES),
    "table3": (PROPOSED,),
    "table4": (PROPOSED, FOUR_BIT),
    "table5": (PROPOSED, FOUR_BIT),
    "table6": tuple(ARMS),
}
"""Methods whose cells a table is drawn from, most telling first."""
ABLATION = "table6"


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Args:
        networks: short names, most telling first.
        datasets: short names, most telling first.
        bits: bits per weight of the proposed files, as in the paper's Table 3.
        epochs: epochs of training of all files.
        ablation_bits: bits per weight that the ablation's first arm may take; it decides the bytes of the others.
        seeds: how many seeds the ablation has; the other tables have the first.
        evaluations: plans that a search may score.
        preset: name of the settings' preset.
    """

    networks: tuple[str, ...]
    datasets: tuple[str, ...]
    bits: float = 4.4
    epochs: int = 0
    ablation_bits: float = 2.25
    seeds: int = 3
    evaluations: int = 120
    preset: str = "default"


def cells_of(table: str, options: Options) -> list[Cell]:
    """The cells of one table, or of all of them: first what one seed tells of the first network and data set.

    Args:
        table: "table1" to "table6", or "all".
        options: what is asked for.

    Raises:
        InputError: there is no such table.
    """
    if table != "all" and table not in TABLES:
        raise InputError(f"there is no {table!r} to reproduce; there are {', '.join(TABLES)}, figures and all")
    pairs = [(dataset, network) for dataset in options.datasets for network in options.networks]
    wanted = list(TABLES) if table == "all" else [table]
    found: list[Cell] = []
    for pair in pairs:
        for name in wanted:
            seeds = range(options.seeds if name == ABLATION else 1)
            found += [_cell(pair, method, options, seed) for seed in seeds for method in TABLES[name]]
    return list(dict.fromkeys(found))


def _cell(pair: tuple[str, str], method: str, options: Options, seed: int) -> Cell:
    dataset, network = pair
    if method == FLOAT:
        return Cell(dataset, network, method, 32.0, 0, 0, 0)
    if method == FOUR_BIT:
        return Cell(dataset, network, method, 4.0, options.epochs, seed, 0, options.preset)
    bits = options.ablation_bits if method in ARMS else options.bits
    return Cell(dataset, network, method, bits, options.epochs, seed, options.evaluations, options.preset)


@dataclass(frozen=True)
class NotRun:
    """A cell that was not run.

    Args:
        cell: which.
        reason: why, in a sentence.
    """

    cell: Cell
    reason: str


def run_all(
    cells: Sequence[Cell],
    run: Callable[[Cell], Record],
    results: Results,
    *,
    minutes: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Record | NotRun]:
    """Run cells in their order, as long as there is time; what has been run costs none.

    A cell is begun when the longest of the same network and data so far would still fit, or none has been run yet.

    Args:
        cells: what to run.
        run: runs a cell that has no record.
        results: finds the others.
        minutes: time for all of them; None for as long as it takes.
        clock: seconds.
    """
    end = None if minutes is None else clock() + 60 * minutes
    longest: dict[tuple[str, str], float] = {}
    for cell in cells:
        pair = (cell.dataset, cell.network)
        record = results.find(cell)
        if record is None:
            start = clock()
            need, left = longest.get(pair, 0.0), float("inf") if end is None else end - start
            if need > left or left <= 0:
                yield NotRun(cell, f"about {need / 60:.0f} min needed, {max(left, 0) / 60:.0f} min left")
                continue
            try:
                record = run(cell)
            except RavnError as error:
                yield NotRun(cell, str(error))
                continue
            longest[pair] = max(longest.get(pair, 0.0), clock() - start)
        else:
            longest[pair] = max(longest.get(pair, 0.0), sum(record.seconds.values()))
        yield record
