"""3 FINE-TUNE: the network trained back under its plan."""

from ravn.training.loop import Recipe, Trained, mixed, train

__all__ = ["Recipe", "Trained", "mixed", "train"]
