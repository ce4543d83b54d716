"""From a network to the allocator's question, and from its answer back to a plan."""

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ravn.allocators.problem import FLOAT, Problem, Selection
from ravn.codecs import Codec
from ravn.plan import Layer
from ravn.scoring.judge import Judge
from ravn.scoring.options import Options


class Workbench:
    """Options of every layer, prepared once; scores a selection by pointing the network at prepared weights.

    Args:
        model: the float network; it is not changed.
        layers: layers to be decided about.
        options: prepared options, in the order of `layers`.
        judge: measures the loss on the images of the search.
        holdout: measures the loss on images that the search must not learn from.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        options: Sequence[Options],
        judge: Judge,
        holdout: Judge,
    ) -> None:
        self._network = copy.deepcopy(model).eval()
        self._floats = {layer.name: model.get_parameter(layer.name).detach() for layer in layers}
        self._options = dict(zip(self._floats, options, strict=True))
        self._judge, self.holdout = judge, holdout

    def _choices(self, selection: Selection) -> Mapping[str, Selection]:
        counts = [len(o.units) for o in self._options.values()]
        stops = torch.tensor(counts).cumsum(0).tolist()
        return {n: selection[e - c : e] for n, c, e in zip(self._options, counts, stops, strict=True)}

    def network(self, selection: Selection) -> nn.Module:
        """The network under a selection, until the next one is asked for: there is only one network."""
        for name, choices in self._choices(selection).items():
            parameter = self._network.get_parameter(name)
            parameter.data = self._weight(name, choices)
        return self._network

    def _weight(self, name: str, choices: Selection) -> Tensor:
        options, weight = self._options[name], self._floats[name]
        if min(choices) >= 0:
            return options.weight(choices).to(weight)
        if len(choices) == 1:
            return options.wanted[FLOAT - choices[0]].to(weight)
        settled = options.weight(tuple(max(c, 0) for c in choices)).to(weight)
        kept = torch.tensor([c < 0 for c in choices], device=weight.device)[options.owner]
        return torch.where(kept, weight, settled)

    def loss(self, selection: Selection) -> float:
        """L_RAVN of a selection on the images of the search; one forward pass."""
        return self._judge.loss(self.network(selection))

    def holdout_loss(self, selection: Selection) -> float:
        """L_RAVN of a selection on images that the search does not learn from."""
        return self.holdout.loss(self.network(selection))

    def codecs(self, selection: Selection) -> dict[str, Codec]:
        """The codec of every layer under a selection."""
        return {n: self._options[n].codec(c) for n, c in self._choices(selection).items()}

    def problem(self, capacity_bytes: int, evaluations: int) -> Problem:
        """The allocator's question for a capacity of payload bytes."""
        units = tuple(unit for options in self._options.values() for unit in options.units)
        capacity = capacity_bytes - sum(o.base_bytes for o in self._options.values())
        fineness = [row for options in self._options.values() for row in options.fineness()]
        problem = Problem(units, capacity, self.loss, self.holdout_loss, (0,) * len(units), evaluations)
        equal = equal_selection(problem, fineness)
        octaves = statistics.median(row[choice] for row, choice in zip(fineness, equal, strict=True))
        budget = next(iter(self._options.values())).budget_of(octaves)
        return replace(problem, equal=equal, floating=FLOAT - budget)


def equal_selection(problem: Problem, fineness: Sequence[Sequence[float]]) -> Selection:
    """The same fineness in every unit, from the coarsest, then the next finer one in unit after unit while it fits.

    Args:
        problem: units and capacity.
        fineness: of every choice, one ascending row per unit; where a unit lacks one, it keeps its next coarser.
    """
    best = (0,) * len(problem.units)
    for level in sorted({value for row in fineness for value in row}):
        for unit, row in enumerate(fineness):
            choice = max((i for i, value in enumerate(row) if value <= level), default=0)
            trial = (*best[:unit], choice, *best[unit + 1 :])
            if not problem.fits(trial):
                return best
            best = trial
    return best
