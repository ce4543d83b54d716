"""3 FINE-TUNE: the network trained back under its plan."""

from ravn.training.loop import Recipe, Trained, train

__all__ = ["Recipe", "Trained", "train"]
