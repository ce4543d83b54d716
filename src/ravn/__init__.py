"""`ravn` compresses a trained network into one small file, to the byte.

    task = ravn.Task(model, train, validation)                  the question
    budget = ravn.Budget(bits_per_weight=2.0)                   the limit
    compressed = ravn.compress(task, budget, PPOAllocator())    cluster, decide, fine-tune, pack, measure
    ravn.save(compressed, "model.ravn")                         the file
    model = ravn.load("model.ravn", model)                      the network again

Method: RAVN, vector quantization (Eq. 1 and 2) with bit-widths decided by reinforcement learning (Eq. 3 and 4) under
the fidelity loss (Eq. 5 to 7) and a hard budget of bytes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ravn.errors import ArtifactError, BudgetError, InputError, MissingPackageError, RavnError
from ravn.version import __version__

if TYPE_CHECKING:
    from ravn.artifact import Artifact, read
    from ravn.loading import load
    from ravn.pipeline import Compressed, compress, save
    from ravn.plan import Budget, Plan
    from ravn.result import Result
    from ravn.settings import Settings
    from ravn.task import Task

__all__ = [
    "Artifact",
    "ArtifactError",
    "Budget",
    "BudgetError",
    "Compressed",
    "InputError",
    "MissingPackageError",
    "Plan",
    "RavnError",
    "Result",
    "Settings",
    "Task",
    "__version__",
    "compress",
    "load",
    "read",
    "save",
]

_HOMES = {
    "Artifact": "artifact",
    "Budget": "plan",
    "Compressed": "pipeline",
    "Plan": "plan",
    "Result": "result",
    "Settings": "settings",
    "Task": "task",
    "compress": "pipeline",
    "load": "loading",
    "read": "artifact",
    "save": "pipeline",
}

if not TYPE_CHECKING:  # else any name would do

    def __getattr__(name: str) -> object:
        """Import what needs torch when it is first asked for: that takes seconds, which Ctrl-C must be able to end."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
