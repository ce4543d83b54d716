"""Training that goes wrong stops at once, with one sentence that names the layer; the last good checkpoint stays."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ravn.errors import RavnError


@dataclass(frozen=True)
class Place:
    """Where training is, for the sentence that it stops with.

    Args:
        epoch: number of the epoch, from 0.
        step: number of the step in it, from 0.
        learning_rate: peak rate of the run.
    """

    epoch: int
    step: int
    learning_rate: float

    def diverged(self, what: str) -> RavnError:
        """The error that says what happened here."""
        where = f"in epoch {self.epoch + 1}, step {self.step + 1}"
        return RavnError(f"{what} {where}; give a learning rate below {self.learning_rate}")


def check_gradients(parameters: Mapping[str, nn.Parameter], place: Place) -> None:
    """Refuse gradients that would spoil weights, norms or biases.

    Args:
        parameters: all that is trained, by name.
        place: where training is.

    Raises:
        RavnError: a gradient is infinite or NaN; its layer is named.
    """
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    broken = _broken(gradients.items())
    if broken is not None:
        raise place.diverged(f"the gradient of {broken!r} became infinite or NaN")


def check_state(model: nn.Module, place: Place) -> None:
    """Refuse to keep a network that holds what is not a number: the checkpoint before it is the last good one.

    Raises:
        RavnError: a parameter or a buffer is infinite or NaN; it is named.
    """
    broken = _broken(model.state_dict().items())
    if broken is not None:
        raise place.diverged(f"{broken!r} became infinite or NaN")


def check_loss(loss: float, broken: str | None, place: Place) -> None:
    """Refuse to go on from a loss that is not finite.

    Args:
        loss: of a batch.
        broken: name of the first layer whose output was not finite, if one is known.
        place: where training is.

    Raises:
        RavnError: the loss is infinite or NaN.
    """
    if not abs(loss) < float("inf"):
        where = f" (the first output that is not finite: layer {broken!r})" if broken else ""
        raise place.diverged(f"the training loss became {loss}{where}")


def _broken(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    named = list(tensors)
    # One answer for all at first: on an accelerator every answer waits for everything before it.
    verdicts = [torch.isfinite(tensor).all() for _, tensor in named]
    if not verdicts or bool(torch.stack(verdicts).all()):
        return None
    return next(name for (name, _), fine in zip(named, verdicts, strict=True) if not fine)
