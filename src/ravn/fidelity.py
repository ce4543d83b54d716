"""The losses of the paper: fidelity of the features (Eq. 5, 6), performance gap, and L_RAVN (Eq. 7)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ravn.distances import Distance, l2
from ravn.errors import InputError
from ravn.layers import owner


def fidelity_loss(reference: Mapping[str, Tensor], other: Mapping[str, Tensor], distance: Distance = l2) -> Tensor:
    """`L_fidelity = sum_i d(F_i, F_i^q) / N` (Eq. 5 and 6).

    Args:
        reference: features F_i of the float network, by layer.
        other: features F_i^q of the quantized network, same keys.
        distance: d.
    """
    terms = [distance(reference[name].float(), other[name].float()) for name in reference]
    return torch.stack(terms).mean() if terms else torch.zeros(())


def performance_gap(reference: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """`m(g, g_f)` without labels: KL divergence of the outputs from the float network's, mean over images, in nats.

    At temperature 1 a few images on which the network is in doubt make up most of the mean; the warmer, the more alike
    all images count (arXiv 1503.02531).

    Args:
        reference: logits of the float network, shape (images, classes).
        logits: logits of the quantized network, same shape.
        temperature: T, which divides the logits, and whose square multiplies the divergence; infinite, it leaves half
            the mean square of the centred difference of the logits.
    """
    if math.isinf(temperature):
        apart = logits - reference
        return (apart - apart.mean(1, keepdim=True)).square().mean() / 2
    ours, theirs = ((scores / temperature).log_softmax(1) for scores in (logits, reference))
    return temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def ravn_loss(fidelity: Tensor, gap: Tensor, trade_off: float = 1.0) -> Tensor:
    """`L_RAVN = L_fidelity + lambda * m(g, g_f)` (Eq. 7); the byte budget is kept outside, as a hard limit.

    Args:
        fidelity: L_fidelity.
        gap: m(g, g_f).
        trade_off: lambda, 1 in Sec. 4.2.
    """
    return fidelity + trade_off * gap


def feature_points(model: nn.Module, weight_names: Sequence[str], batch: Tensor) -> tuple[str, ...]:
    """Where the features of each layer are read: after its batch norm if one takes the layer's output, else after it.

    Args:
        model: a network.
        weight_names: names of the weights.
        batch: one batch of network inputs; the network is run on it once.

    Returns:
        Names of modules that ran, without repetition.
    """
    names = {module: name for name, module in model.named_modules()}
    made: dict[int, nn.Module] = {}
    follower: dict[nn.Module, nn.Module] = {}
    kept: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        """Note which batch norm follows which layer."""
        if isinstance(module, _BatchNorm) and inputs and id(inputs[0]) in made:
            follower[made[id(inputs[0])]] = module
        if isinstance(output, Tensor):
            kept.append(output)  # keeps the id from being given away again
            made[id(output)] = module
            follower.setdefault(module, module)

    wanted = {owner(model, name) for name in weight_names}
    handles = [m.register_forward_hook(hook) for m in names if m in wanted or isinstance(m, _BatchNorm)]
    try:
        with torch.no_grad():
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    points = [names[follower[m]] for m in names if m in wanted and m in follower]
    return tuple(dict.fromkeys(points))


@contextmanager
def features(model: nn.Module, points: Sequence[str], images: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of modules while the model runs.

    Args:
        model: a network.
        points: names of modules.
        images: keep only the first so many images of a batch.

    Yields:
        A dictionary that every forward pass fills anew.
    """
    # Cloned, because an activation in place must not reach it.
    with observed(model, points, lambda _, output: output[:images].clone()) as seen:
        yield seen


@contextmanager
def observed(
    model: nn.Module, points: Sequence[str], observe: Callable[[str, Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Note something about the outputs of modules while the model runs, as soon as each is there.

    Args:
        model: a network.
        points: names of modules.
        observe: from the name of a module and its output to what is noted.

    Yields:
        What was noted, by name, in a dictionary that every forward pass fills anew.
    """
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        """A hook that notes what is seen under a name."""

        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            """Note it."""
            seen[name] = observe(name, output)

        return hook

    modules = [model.get_submodule(name) for name in points]
    handles = [m.register_forward_hook(note(name)) for name, m in zip(points, modules, strict=True)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def first_not_finite(model: nn.Module, batch: Tensor) -> str | None:
    """Name of the first innermost module whose output for a batch holds NaN or infinity; None where there is none."""
    leaves = [name for name, module in model.named_modules() if name and not any(module.children())]
    with torch.no_grad(), observed(model, leaves, _is_broken) as broken:
        model(batch)
    return next((name for name, found in broken.items() if found), None)


def _is_broken(_: str, output: object) -> Tensor:
    return torch.tensor(isinstance(output, Tensor) and not bool(torch.isfinite(output).all()))


def finite_outputs(model: nn.Module, batch: Tensor) -> Tensor:
    """Logits of the float network in float32: what a compressed one is measured against.

    Raises:
        InputError: they hold NaN or infinity, or the batch does.
    """
    with torch.no_grad():
        logits: Tensor = model(batch).float()
    if torch.isfinite(logits).all():
        return logits
    if batch.is_floating_point() and not torch.isfinite(batch).all():
        raise InputError("the network's inputs hold NaN or infinity; give finite images, and a finite normalization")
    name = first_not_finite(model, batch)
    where = f", first in layer {name!r}" if name else ""
    raise InputError(
        f"the network's outputs hold NaN or infinity{where}; only a network of finite outputs is compressed"
    )
