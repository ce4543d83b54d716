"""Finds the records that stand in one row of a table."""

from collections.abc import Iterable

from ravn.reproduce.catalogue import DATASETS, NETWORKS
from ravn.reproduce.cells import FLOAT, FOUR_BIT, PROPOSED, SAME_BYTES, Cell, Record


class Archive:
    """Finds records by what they are for.

    Args:
        records: all there are.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)

    def of(self, network: str, dataset: str, method: str) -> list[Record]:
        """All records of a method, the largest files first."""
        key = (network, dataset, method)
        found = [r for r in self._records if (r.cell.network, r.cell.dataset, r.cell.method) == key]
        return sorted(found, key=lambda r: (-r.cell.bits, r.cell.epochs, r.cell.seed))

    def pairs(self) -> list[tuple[str, str]]:
        """Data sets and networks that have records, in the order of the tables."""
        found = {(r.cell.dataset, r.cell.network) for r in self._records}
        return [(d, n) for d in DATASETS for n in NETWORKS if (d, n) in found]

    def rivals(self, proposed: Record) -> dict[str, Record]:
        """The records that stand in one row with a proposed one, by their method."""
        cell = proposed.cell
        found = {PROPOSED: proposed}
        for method in (FLOAT, FOUR_BIT, SAME_BYTES):
            for record in self.of(cell.network, cell.dataset, method):
                if _beside(record.cell, cell):
                    found[method] = record
        return found


def _beside(cell: Cell, proposed: Cell) -> bool:
    if cell.method == FLOAT:
        return True
    if cell.method == FOUR_BIT:
        return (cell.epochs, cell.seed, cell.preset) == (proposed.epochs, proposed.seed, proposed.preset)
    return cell.seed == proposed.seed and setting_of(cell) == setting_of(proposed)


def setting_of(cell: Cell) -> tuple[float, int, int, str]:
    """What the cells of one row have in common, but for their seeds: bits, epochs, evaluations and preset."""
    return cell.bits, cell.epochs, cell.evaluations, cell.preset
