"""Passes that begin where a plan differs from the one before: what runs earlier has the outputs that it had."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

import torch
from torch import Tensor, nn

Plan = Mapping[str, Hashable]

WORTH_KEEPING = 4
"""Outputs of a plan are kept where more than one weight in so many would have been spared by those of the last one."""

MOST_BYTES = 1 << 30
"""Memory for outputs; batches beyond it are passed through the whole network."""


@dataclass(frozen=True)
class _Call:
    """A call of a module: what it gave, and how often that had been changed in place; None can't be given again."""

    module: nn.Module
    output: Tensor | None
    version: int = 0

    @property
    def kept(self) -> Tensor | None:
        """The output, unless somebody has changed it since."""
        return self.output if self.output is not None and self.output._version == self.version else None


@dataclass
class _Pass:
    """One pass of a batch, beside a former one.

    Args:
        former: calls of the former pass, in their order.
        changed: identities of the parameters that differ from then.
        keeps: hold on to the outputs of this pass; they take memory that is slow to come by.
        calls: of this pass, so far.
    """

    former: Sequence[_Call]
    changed: Collection[int]
    keeps: bool
    calls: list[_Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        called = {id(p) for call in self.former for p in call.module.parameters(recurse=False)}
        # What no module's call would tell of, such as a weight that its owner's parent multiplies with, changes it all.
        self._same = called.issuperset(self.changed)

    def call(self, module: nn.Module, forward: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        """The output of a module: the former one as long as nothing before it, nor itself, has changed."""
        number = len(self.calls)
        self._same = self._same and number < len(self.former) and self.former[number].module is module
        self._same = self._same and not any(id(p) in self.changed for p in module.parameters(recurse=False))
        kept = self.former[number].kept if self._same else None
        if kept is not None:
            self.calls.append(self.former[number])
            return kept
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        before = [value._version for value in inputs]
        output = forward(*args, **kwargs)
        # Whoever works in place has to be called again, since others may hold what it changes.
        if self.keeps and isinstance(output, Tensor) and before == [value._version for value in inputs]:
            self.calls.append(_Call(module, output, output._version))
        else:
            self.calls.append(_Call(module, None))
        return output


@dataclass
class _Batch:
    """What is known of a batch: the plan whose outputs are kept, if any, and the last plan.

    Args:
        last: the plan of the last pass.
        anchor: the plan of the calls.
        calls: with their outputs.
        refused: there is no memory for them.
    """

    last: Plan
    anchor: Plan
    calls: Sequence[_Call] = ()
    refused: bool = False


class Replay:
    """Passes batches through a network whose weights are exchanged, layer by layer, between passes.

    Outputs are those of plain passes, bit for bit. Only modules without children are looked at, in the order in which
    they are called; what happens between them is done anew. To keep outputs costs time as well, so that those of one
    plan stay for all that differ from it late, until plans come that resemble one another more.

    Args:
        network: in evaluation mode; nothing but the weights that plans tell of may change.
        most_bytes: memory for outputs.
    """

    def __init__(self, network: nn.Module, most_bytes: int = MOST_BYTES) -> None:
        self._network, self._left = network, most_bytes
        self._leaves = [module for module in network.modules() if not any(module.children())]
        self._batches: dict[int, _Batch] = {}

    def outputs(self, number: int, batch: Tensor, plan: Plan) -> Tensor:
        """What the network makes of a batch, without gradients.

        Args:
            number: of the batch; the same batch has the same number.
            batch: network inputs.
            plan: of every weight that is exchanged, by its name, in the order of the network, something that is equal
                where the weight is.
        """
        known = self._batches.setdefault(number, _Batch({}, {}))
        alike = _shared(plan, known.anchor)
        gained = _shared(plan, known.last) - alike
        renew = not known.refused and (not known.calls or gained * WORTH_KEEPING > len(plan))
        known.last = dict(plan)
        with torch.no_grad():
            if not renew and not alike:
                outputs: Tensor = self._network(batch)
                return outputs
            changed = {id(self._network.get_parameter(n)) for n in plan if plan[n] != known.anchor.get(n)}
            watched = _Pass(known.calls, changed, renew)
            with _watching(self._leaves, watched):
                outputs = self._network(batch)
        if renew:
            self._keep(known, watched.calls)
        return outputs

    def _keep(self, known: _Batch, calls: Sequence[_Call]) -> None:
        self._left += _bytes(known.calls)
        known.refused = _bytes(calls) > self._left
        known.anchor, known.calls = ({}, ()) if known.refused else (known.last, calls)
        self._left -= _bytes(known.calls)


def _shared(plan: Plan, other: Plan) -> int:
    """How many weights two plans have in common before the first that differs."""
    pairs = zip(plan.items(), other.items(), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _bytes(calls: Sequence[_Call]) -> int:
    return sum(call.output.nbytes for call in calls if call.output is not None)


@contextmanager
def _watching(modules: Collection[nn.Module], watched: _Pass) -> Iterator[None]:
    """Let a pass answer for modules."""
    with ExitStack() as restored:
        for module in modules:
            own = module.__dict__.get("forward")
            restored.callback(_restore, module, own)
            module.forward = partial(watched.call, module, module.forward)
        yield


def _restore(module: nn.Module, own: Callable[..., object] | None) -> None:
    if own is None:
        del module.forward
    else:
        module.forward = own
