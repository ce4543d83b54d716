"""The allocator's question: options prepared once, a plan scored by one forward pass."""

from ravn.scoring.judge import Judge
from ravn.scoring.workbench import Workbench, prepare

__all__ = ["Judge", "Workbench", "prepare"]
