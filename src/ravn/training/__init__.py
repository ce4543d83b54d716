"""3 FINE-TUNE: the network trained back under its plan."""

from ravn.training.loop import Trained, train
from ravn.training.objective import mixed
from ravn.training.recipe import Recipe

__all__ = ["Recipe", "Trained", "mixed", "train"]
