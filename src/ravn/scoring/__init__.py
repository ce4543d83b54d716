"""The allocator's question: options prepared once, a plan scored by one forward pass, here or on a Ray cluster."""

from ravn.scoring.cluster import connected, hired
from ravn.scoring.judge import Judge
from ravn.scoring.workbench import Workbench, prepare

__all__ = ["Judge", "Workbench", "connected", "hired", "prepare"]
