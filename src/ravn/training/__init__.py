"""3 FINE-TUNE: the network trained back under its plan."""

from ravn.training.loop import Trained, train
from ravn.training.recipe import Recipe
from ravn.training.variety import mixed, varied

__all__ = ["Recipe", "Trained", "mixed", "train", "varied"]
