"""A network whose weights stay packed in memory: a layer's weight is unpacked when the layer asks for it."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn

from ravn.runtime.fixed_rate import FixedRate
from ravn.runtime.kernels import kernels_on, product, weight_of
from ravn.runtime.stages import Stage

_SUFFIX = "_packed"
_UNSUITED = (nn.RNNBase, nn.ParameterList, nn.ParameterDict)
"""Modules that don't ask for a parameter by its name when they run."""


class PackedWeight(nn.Module):
    """A weight in fixed-length codes as buffers: it moves, copies and is saved like any other part of a network.

    Args:
        form: the weight.
    """

    def __init__(self, form: FixedRate) -> None:
        super().__init__()
        self.stages: list[tuple[int, list[str]]] = []
        self.shape, self.dtype, self.spectral = form.shape, form.dtype, form.spectral
        for at, stage in enumerate(form.stages):
            names = [f"plane{at}_{number}" for number in range(len(stage.planes))]
            self.stages.append((stage.width, names))
            for name, plane in zip(names, stage.planes, strict=True):
                self.register_buffer(name, plane)
        self.register_buffer("table", form.table)
        self.register_buffer("scales", form.scales)

    def form(self) -> FixedRate:
        """The weight as it is stored, where it is now."""
        held: dict[str, Any] = self._buffers  # `named_buffers` takes longer than a small layer
        stages = tuple(Stage(width, tuple(held[name] for name in names)) for width, names in self.stages)
        return FixedRate(self.shape, self.dtype, held["table"], held["scales"], stages, self.spectral)

    def forward(self) -> Tensor:
        """The unpacked weight."""
        return weight_of(self.form())


def pack_network(model: nn.Module, layers: Mapping[str, FixedRate], tied: Mapping[str, str], cache_bytes: int) -> None:
    """Replace parameters by packed weights, in place; what computes stays the same.

    Layers run in turn, so that a cache of the latest ones would always miss: the budget keeps the largest layers that
    fit into it unpacked instead.

    Args:
        model: the network, filled.
        layers: packed form of weights, by name.
        tied: name -> the name in `layers` whose weight it shares.
        cache_bytes: weights of so many bytes, unpacked, may stay so.
    """
    kept: set[str] = set()
    for name in sorted(layers, key=lambda name: -model.get_parameter(name).nbytes):
        if model.get_parameter(name).nbytes <= cache_bytes:
            cache_bytes -= model.get_parameter(name).nbytes
            kept.add(name)
    names = {name: [name, *(n for n, first in tied.items() if first == name)] for name in layers if name not in kept}
    for first, shared in names.items():
        owners = [model.get_submodule(name.rpartition(".")[0]) for name in shared]
        if any(isinstance(owner, _UNSUITED) for owner in owners):
            continue
        packed = PackedWeight(layers[first]).to(model.get_parameter(first).device)
        for name, owner in zip(shared, owners, strict=True):
            _replace(owner, name.rpartition(".")[2], packed)


def _replace(owner: nn.Module, parameter: str, packed: PackedWeight) -> None:
    delattr(owner, parameter)
    owner.add_module(parameter + _SUFFIX, packed)
    owner.__class__ = _with_property(type(owner), parameter)  # type: ignore[arg-type]  # mypy doubts that classes are hashable


@cache
def _with_property(base: type[nn.Module], parameter: str) -> type[nn.Module]:
    """The class with a parameter that is unpacked at every use."""
    held = parameter + _SUFFIX

    def weight(self: nn.Module) -> Tensor:
        """The unpacked weight."""
        return self._modules[held]()  # type: ignore[misc]

    members = {parameter: property(weight), "__module__": base.__module__}
    if parameter == "weight" and base.forward in _FORWARDS:
        members["forward"] = _FORWARDS[base.forward]
    return type(f"Packed{base.__name__}", (base,), members)


def _linear(self: nn.Linear, inputs: Tensor) -> Tensor:
    """The layer's outputs, by a kernel that reads the codes where there is one."""
    found = _product(self, inputs)
    return nn.Linear.forward(self, inputs) if found is None else found


def _pointwise(self: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The layer's outputs; a kernel of one position on a few positions is a linear layer."""
    plain = self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1
    if not plain or inputs.dim() != 4:
        return nn.Conv2d.forward(self, inputs)
    found = _product(self, inputs.movedim(1, -1))
    return nn.Conv2d.forward(self, inputs) if found is None else found.movedim(-1, 1)


def _product(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor | None:
    if kernels_on(inputs.device) is None:
        return None
    packed: PackedWeight = layer._modules["weight" + _SUFFIX]  # type: ignore[assignment]
    return product(packed.form(), inputs, layer.bias)


_FORWARDS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    nn.Linear.forward: _linear,
    nn.Conv2d.forward: _pointwise,
}
"""What takes the place of which class's `forward`; a class with one of its own keeps it."""
