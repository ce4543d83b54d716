"""Figures of a training as a TensorBoard log: losses, bits per weight, learning rate, validation accuracy."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ravn.errors import MissingPackageError
from ravn.progress import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")


@contextmanager
def tensorboard_log(progress: Progress, folder: Path) -> Iterator[Progress]:
    """Let a training's figures go into a folder that TensorBoard reads.

    A training that goes on from a checkpoint tells some steps a second time; what the folder had of them is hidden.

    Args:
        progress: who listens besides.
        folder: of the log; it is made with the first figure.

    Yields:
        What to give to the training.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 - takes a second, and only a log needs it
    except ImportError as error:
        raise MissingPackageError("tensorboard", "tensorboard") from error
    log = _Log(progress, folder)
    try:
        yield log
    finally:
        log.close()


class _Log:
    """Hands everything on, and writes down what has a number."""

    def __init__(self, progress: Progress, folder: Path) -> None:
        self._progress, self._folder = progress, folder
        self._writer: SummaryWriter | None = None

    def stage(self, title: str) -> None:
        """Hand it on."""
        self._progress.stage(title)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand it on."""
        return self._progress.track(items, title, total)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Write them down; the first step that is told hides itself and all later ones of an earlier run."""
        self._progress.figures(step, values)
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if any(name.startswith("validation/") for name in values):
            # The checkpoint that is written next goes on behind these.
            self._writer.flush()

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            self._writer.close()
