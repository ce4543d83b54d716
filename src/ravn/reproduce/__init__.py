"""The paper's experiments: each cell of its tables run once, kept as JSON, and set beside the paper's figure."""

from ravn.reproduce.cells import Cell, Record
from ravn.reproduce.paper import PAPER
from ravn.reproduce.running import Study, run_cell

__all__ = ["PAPER", "Cell", "Record", "Study", "run_cell"]
