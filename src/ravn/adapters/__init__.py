"""Sources: a name becomes a task. timm, Hugging Face, folders of images, built-in digits."""

from ravn.adapters.data import ImageData, load_data
from ravn.adapters.networks import build_model, rebuild_model
from ravn.adapters.tasks import make_task

__all__ = ["ImageData", "build_model", "load_data", "make_task", "rebuild_model"]
