"""Sources: a name becomes a task. timm, Hugging Face, folders of images, built-in digits."""

from ravn.adapters.data import ImageData, load_data
from ravn.adapters.networks import build_model, rebuild_model
from ravn.adapters.tasks import Teachers, check_fit, make_task, named_teachers

__all__ = [
    "ImageData",
    "Teachers",
    "build_model",
    "check_fit",
    "load_data",
    "make_task",
    "named_teachers",
    "rebuild_model",
]
