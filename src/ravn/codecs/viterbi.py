"""Viterbi's search for the cheapest path of a dependent quantizer, many chains in lockstep.

`cheapest_paths` minimises the squared error and the price of the bits. `compensated_paths` pushes errors into later
columns as `ravn.codecs.rounding.compensate` does, and lets every survivor keep corrected weights of its own
(per-survivor processing): quantization looks ahead, and compensation still sees the errors that were made.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ravn.codecs.dependent import predecessors
from ravn.codecs.rounding import Curvature

BLOCK = 32
CHUNK = 1 << 18
"""Weights that are searched at a time: bounds the memory of the survivors."""


@dataclass(frozen=True)
class Alphabet:
    """The levels of the first quantizer in every class of weights, and what they cost.

    Args:
        low: index of the first level, even; there is an even number of levels.
        levels: ascending, in steps, shape (classes, K); level k lies within a step of 2 k + 1/2.
        tolls: price of each level in squared steps, of the shape of `levels`.
    """

    low: int
    levels: Tensor
    tolls: Tensor

    def offers(self, values: Tensor, classes: Tensor, weight: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Cost and place of the cheapest level of even, and of odd index, both of shape (..., 2, n).

        Args:
            values: in steps, shape (..., n); those of the second quantizer negated.
            classes: first place of each value's class in the flattened levels, broadcastable to (..., 2, n).
            weight: of the squared error, broadcastable to (..., 2, n).
        """
        floor = torch.floor(values / 2 - 0.25).long().sub_(self.low).clamp_(1, self.levels.shape[1] - 3)
        below = floor[..., None, :] ^ torch.arange(2, device=values.device)[:, None]
        below = floor[..., None, :] - below.bitwise_and_(1)
        sides = []
        for place in (below, below + 2):
            entry = place + classes
            sides.append((values[..., None, :] - _entries(self.levels, entry)).square_())
            sides[-1].mul_(weight).add_(_entries(self.tolls, entry))
        return torch.minimum(*sides), below.add_(sides[1] < sides[0], alpha=2)


def _entries(table: Tensor, places: Tensor) -> Tensor:
    """Entries of a flattened table: the same as indexing, in a quarter of the time."""
    return table.view(-1).index_select(0, places.view(-1)).view(places.shape)


def cheapest_paths(values: Tensor, classes: Tensor, alphabet: Alphabet, *, states: int) -> Tensor:
    """Minimise `sum (value - level)^2 + toll` along every chain.

    Args:
        values: chains in units of the step, shape (chains, length).
        classes: of every value, integer, of the same shape or (1, 1).
        alphabet: the levels to choose from.
        states: number of states of the machine.

    Returns:
        Places of the levels, int32, shape (chains, length).
    """
    many = max(CHUNK // values.shape[1], 1)
    size, found = alphabet.levels.shape[1], []
    for at in range(0, len(values), many):
        part = values[at : at + many].T.contiguous()
        place = (classes if classes.numel() == 1 else classes[at : at + many].T).long()[:, None] * size
        offers = zip(alphabet.offers(part, place), alphabet.offers(-part, place), strict=True)
        costs, codes = (torch.cat(both, 1) for both in offers)
        found.append(_trace(costs, codes, states))
    return torch.cat(found, 1).T


def _trace(costs: Tensor, codes: Tensor, states: int) -> Tensor:
    """The path of least cost through the trellis: from shape (length, 4, chains) to (length, chains).

    The four offers are those of even and odd index of the first, and of the second quantizer.
    """
    length, _, chains = costs.shape
    origin, parity = (torch.from_numpy(a).to(costs.device) for a in predecessors(states))
    subset = 2 * (origin & 1) + parity
    metric = costs.new_full((states, chains), torch.inf)
    metric[0] = 0
    turns = torch.empty((length, states, chains), dtype=torch.bool, device=costs.device)
    for t, cost in enumerate(costs):
        first, second = (metric[o].add_(cost[s]) for o, s in zip(origin, subset, strict=True))
        torch.lt(second, first, out=turns[t])
        metric = torch.minimum(first, second)
    state = metric.argmin(0)[None]
    path = torch.empty((length, chains), dtype=codes.dtype, device=costs.device)
    for t in range(length - 1, -1, -1):
        turn = turns[t].gather(0, state).long()
        path[t] = codes[t].gather(0, subset[turn, state])[0]
        state = origin[turn, state]
    return path


def compensated_paths(
    values: Tensor,
    classes: Tensor,
    alphabet: Alphabet,
    *,
    curvature: Curvature,
    states: int,
    stacked: int,
) -> Tensor:
    """Minimise `sum_j (w_j - q_j)^2 / (U_jj^2 gain) + toll`, w being corrected for earlier errors.

    Args:
        values: weight matrix in units of the step, shape (rows, columns).
        classes: of every value, integer, of the same shape or (1, 1).
        alphabet: the levels to choose from.
        curvature: of the layer's inputs, in the natural order of columns.
        states: number of states of the machine.
        stacked: rows that follow each other in one chain.

    Returns:
        Places of the levels, int32, shape (rows, columns).
    """
    rows, columns = values.shape
    groups = len(curvature.factor)
    chains = -(-rows // stacked)

    def by_chain(matrix: Tensor) -> Tensor:
        """Rows of a matrix by chain, shape (chains, stacked, columns)."""
        return functional.pad(matrix, (0, 0, 0, chains * stacked - rows)).reshape(chains, stacked, columns)

    padded, owned = by_chain(values), by_chain(classes.expand(rows, columns).long() * alphabet.levels.shape[1])
    owner = torch.arange(chains * stacked).clamp_max(rows - 1).reshape(chains, stacked) // (rows // groups)
    apart = groups if stacked == 1 else 1 if groups == 1 else chains
    many = max(CHUNK // (stacked * columns), 1) if apart == 1 else chains
    found = []
    for part, place in zip(padded.split(many), owned.split(many), strict=True):
        search = _Survivors(len(part), alphabet, states)
        for row in range(stacked):
            factor = curvature.factor if stacked == 1 or groups == 1 else curvature.factor[owner[:, row]]
            _compensate_row(search, part[:, row], place[:, row], factor, curvature.gain)
        found.append(search.trace())
    return torch.cat(found, 1).T.reshape(-1, columns)[:rows]


def _compensate_row(search: "_Survivors", values: Tensor, classes: Tensor, factor: Tensor, gain: float) -> None:
    """Quantize one row of every chain, shape (chains, columns), with factors of shape (groups, columns, columns)."""
    (chains, columns), groups, states = values.shape, len(factor), search.states
    work = values[:, None].expand(-1, states, -1).reshape(chains * states, columns)
    pivots = factor.diagonal(dim1=-2, dim2=-1).repeat_interleave(chains // groups, 0)
    weights = 1 / (pivots.square() * gain)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        # Columns before the present one hold errors, the others corrected weights: survivors are copied as a whole.
        block = work[:, : stop - start].clone()
        ancestors = torch.arange(chains * states, device=values.device)
        for j in range(start, stop):
            column = block[:, j - start].reshape(chains, states)
            parents, levels = search.step(column, classes[:, j, None, None], weights[:, j, None, None])
            block, ancestors = block.index_select(0, parents), ancestors.index_select(0, parents)
            error = (block[:, j - start].reshape(chains, states) - levels).div_(pivots[:, j, None])
            error = error.reshape(groups, -1, 1)
            later = block.reshape(groups, -1, stop - start)
            later[:, :, j - start] = error[:, :, 0]
            later[:, :, j - start + 1 :] -= error * factor[:, j, None, j + 1 : stop]
        spread = block.reshape(groups, -1, stop - start) @ factor[:, start:stop, stop:]
        work = work[ancestors, stop - start :] - spread.reshape(chains * states, columns - stop)


class _Survivors:
    """The cheapest path into every state of every chain, grown by one weight at a time.

    Args:
        chains: number of chains.
        alphabet: the levels to choose from.
        states: number of states of the machine.
    """

    def __init__(self, chains: int, alphabet: Alphabet, states: int) -> None:
        self.states = states
        self._alphabet = alphabet
        device = alphabet.levels.device
        origin, parity = (torch.from_numpy(a).to(device) for a in predecessors(states))
        self._arrows = (origin + states * parity).contiguous()
        self._signs = 1 - 2 * (torch.arange(states, device=device) & 1).to(alphabet.levels)
        self._first = torch.arange(0, chains * states, states, device=device)[:, None]
        self._metric = alphabet.levels.new_full((chains, states), torch.inf)
        self._metric[:, 0] = 0
        self._parents: list[Tensor] = []
        self._codes: list[Tensor] = []

    def step(self, values: Tensor, classes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Extend all survivors by one weight.

        Args:
            values: the weight as every survivor's corrections made it, shape (chains, states).
            classes: first place of the weight's class in the flattened levels, shape (chains, 1, 1).
            weight: of the squared error, shape (chains, 1, 1).

        Returns:
            Place of each new survivor's parent among all survivors, shape (chains * states,), and the new levels,
            shape (chains, states).
        """
        costs, places = self._alphabet.offers(values * self._signs, classes, weight)
        costs += self._metric[:, None]
        choices = costs.view(len(costs), -1).index_select(1, self._arrows.view(-1))
        first, second = choices.view(costs.shape).unbind(1)
        arrow = torch.where(second < first, self._arrows[1], self._arrows[0])
        least = torch.minimum(first, second)
        codes, parents = places.view(len(places), -1).gather(1, arrow), arrow % self.states
        self._metric = least - least.amin(1, keepdim=True)
        self._parents.append(parents.to(torch.uint8))
        self._codes.append(codes.int())
        levels = _entries(self._alphabet.levels, codes + classes[:, 0]) * _entries(self._signs, parents)
        return (self._first + parents).view(-1), levels

    def trace(self) -> Tensor:
        """Places of the levels of the cheapest survivors, shape (length, chains)."""
        state = self._metric.argmin(1, keepdim=True)
        path = []
        for parents, codes in zip(reversed(self._parents), reversed(self._codes), strict=True):
            path.append(codes.gather(1, state)[:, 0])
            state = parents.gather(1, state).long()
        return torch.stack(path[::-1])
