"""Viterbi's search for the cheapest path of a dependent quantizer, many chains in lockstep.

`cheapest_paths` minimises the squared error and the price of the bits. `compensated_paths` pushes errors into later
columns as `ravn.codecs.rounding.compensate` does, and lets every survivor keep corrected weights of its own
(per-survivor processing): quantization looks ahead, and compensation still sees the errors that were made.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ravn.codecs.dependent import Quantizers, predecessors
from ravn.codecs.rounding import Curvature

BLOCK = 32
CHUNK = 1 << 19
"""Weights that are searched at a time: bounds the memory of the survivors."""


def cheapest_paths(
    values: Tensor, quantizers: Quantizers, lengths: Tensor, *, price: float, states: int
) -> tuple[Tensor, Tensor]:
    """Minimise `sum (value - level)^2 + price * bits` along every chain.

    Args:
        values: chains in units of the step, shape (chains, length).
        quantizers: the levels to choose from.
        lengths: code length of every level in each quantizer, shape (2, K).
        price: cost of one bit in squared steps.
        states: number of states of the machine.

    Returns:
        Codes, int32, and whether each belongs to the odd quantizer, bool; shape (chains, length).
    """
    many = max(CHUNK // values.shape[1], 1)
    found = [_trace(*_subset_costs(part.mT, quantizers, lengths, price), states) for part in values.split(many)]
    codes, owners = (torch.cat([f[i] for f in found], 1).mT for i in (0, 1))
    return codes, owners


def _subset_costs(values: Tensor, quantizers: Quantizers, lengths: Tensor, price: float) -> tuple[Tensor, Tensor]:
    """Cost and code of the cheapest level of every subset, both of shape (length, 4, chains)."""
    brackets = torch.from_numpy(quantizers.brackets).to(values.device)
    place = (values.floor().long() - quantizers.low).clamp_(0, quantizers.high - quantizers.low)
    costs, codes = [], []
    for subset, (below, above) in enumerate(brackets):
        toll = price * lengths[subset // 2].to(values)
        tolls = [toll[side][place] for side in (below, above)]
        sides = [side[place] for side in (below, above)]
        low, high = ((values - c - quantizers.low).square_().add_(t) for c, t in zip(sides, tolls, strict=True))
        costs.append(torch.minimum(low, high))
        codes.append(torch.where(high < low, sides[1], sides[0]).int())
    return torch.stack(costs, 1), torch.stack(codes, 1)


def _trace(costs: Tensor, codes: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """The path of least cost through the trellis; arguments and results of shape (length, [4,] chains)."""
    length, _, chains = costs.shape
    origin, subset = (torch.from_numpy(a).to(costs.device) for a in predecessors(states))
    metric = costs.new_full((states, chains), torch.inf)
    metric[0] = 0
    turns = torch.empty((length, states, chains), dtype=torch.bool, device=costs.device)
    for t, cost in enumerate(costs):
        first, second = (metric[o].add_(cost[s]) for o, s in zip(origin, subset, strict=True))
        torch.lt(second, first, out=turns[t])
        metric = torch.minimum(first, second)
    state = metric.argmin(0)[None]
    path = torch.empty((length, chains), dtype=torch.int32, device=costs.device)
    owners = torch.empty_like(path, dtype=torch.bool)
    for t in range(length - 1, -1, -1):
        turn = turns[t].gather(0, state).long()
        path[t] = codes[t].gather(0, subset[turn, state])[0]
        state = origin[turn, state]
        owners[t] = state[0] % 2 == 1
    return path, owners


def compensated_paths(
    values: Tensor,
    quantizers: Quantizers,
    lengths: Tensor,
    *,
    curvature: Curvature,
    price: float,
    states: int,
    stacked: int,
) -> tuple[Tensor, Tensor]:
    """Minimise `sum_j (w_j - q_j)^2 / (U_jj^2 gain) + price * bits`, w being corrected for earlier errors.

    Args:
        values: weight matrix in units of the step, shape (rows, columns).
        quantizers: the levels to choose from.
        lengths: code length of every level in each quantizer, shape (2, K).
        curvature: of the layer's inputs, in the natural order of columns.
        price: cost of one bit in squared steps.
        states: number of states of the machine.
        stacked: rows that follow each other in one chain.

    Returns:
        Codes, int32, and whether each belongs to the odd quantizer, bool; shape (rows, columns).
    """
    rows, columns = values.shape
    groups = len(curvature.factor)
    chains = -(-rows // stacked)
    padded = functional.pad(values, (0, 0, 0, chains * stacked - rows)).reshape(chains, stacked, columns)
    owner = torch.arange(chains * stacked).clamp_max(rows - 1).reshape(chains, stacked) // (rows // groups)
    apart = groups if stacked == 1 else 1 if groups == 1 else chains
    many = max(CHUNK // (stacked * columns), 1) if apart == 1 else chains
    found = []
    for part in padded.split(many):
        search = _Survivors(len(part), quantizers, lengths.to(values), price, states)
        for row in range(stacked):
            factor = curvature.factor if stacked == 1 or groups == 1 else curvature.factor[owner[:, row]]
            _compensate_row(search, part[:, row], factor, curvature.gain)
        found.append(search.trace())
    codes, owners = (torch.cat([f[i] for f in found], 1).mT.reshape(-1, columns)[:rows] for i in (0, 1))
    return codes, owners


def _compensate_row(search: "_Survivors", values: Tensor, factor: Tensor, gain: float) -> None:
    """Quantize one row of every chain, shape (chains, columns), with factors of shape (groups, columns, columns)."""
    (chains, columns), groups, states = values.shape, len(factor), search.states
    work = values[:, None].expand(-1, states, -1).reshape(chains * states, columns)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        # Columns before the present one hold errors, the others corrected weights: survivors are copied as a whole.
        block = work[:, : stop - start].clone()
        ancestors = torch.arange(chains * states, device=values.device)
        for j in range(start, stop):
            pivot = factor[:, j, j].repeat_interleave(chains // groups)[:, None]
            parents, levels = search.step(block[:, j - start].reshape(chains, states), 1 / (pivot.square() * gain))
            block, ancestors = block[parents], ancestors[parents]
            error = ((block[:, j - start].reshape(chains, states) - levels) / pivot).reshape(groups, -1, 1)
            later = block.reshape(groups, -1, stop - start)
            later[:, :, j - start] = error[:, :, 0]
            later[:, :, j - start + 1 :] -= error * factor[:, j, None, j + 1 : stop]
        spread = block.reshape(groups, -1, stop - start) @ factor[:, start:stop, stop:]
        work = work[ancestors, stop - start :] - spread.reshape(chains * states, columns - stop)


class _Survivors:
    """The cheapest path into every state of every chain, grown by one weight at a time.

    Args:
        chains: number of chains.
        quantizers: the levels to choose from.
        lengths: code length of every level in each quantizer, shape (2, K).
        price: cost of one bit in squared steps.
        states: number of states of the machine.
    """

    def __init__(self, chains: int, quantizers: Quantizers, lengths: Tensor, price: float, states: int) -> None:
        self.states = states
        self._quantizers = quantizers
        device = lengths.device
        brackets = torch.from_numpy(quantizers.brackets).to(device)
        self._sides = brackets.transpose(0, 1).reshape(2, -1)
        self._tolls = price * lengths.repeat_interleave(2, 0)[:, None].expand_as(brackets).gather(2, brackets)
        self._tolls = self._tolls.transpose(0, 1).reshape(2, -1)
        self._origin, self._subset = (torch.from_numpy(a).to(device) for a in predecessors(states))
        self._offset = self._subset * brackets.shape[-1]
        self._first = torch.arange(0, chains * states, states, device=device)[:, None]
        self._metric = lengths.new_full((chains, states), torch.inf)
        self._metric[:, 0] = 0
        self._parents: list[Tensor] = []
        self._codes: list[Tensor] = []

    def step(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Extend all survivors by one weight.

        Args:
            values: the weight as every survivor's corrections made it, shape (chains, states).
            weight: of the squared error, shape (chains, 1).

        Returns:
            Place of each new survivor's parent among all survivors, shape (chains * states,), and the new levels,
            shape (chains, states).
        """
        low, top = self._quantizers.low, self._quantizers.high - self._quantizers.low
        place = (values.floor().long() - low).clamp_(0, top)[:, self._origin] + self._offset
        candidates = self._sides[:, place]
        costs = (values[:, self._origin] - low - candidates).square_() * weight[:, :, None] + self._tolls[:, place]
        costs += self._metric[:, self._origin]
        least, choice = costs.transpose(0, 1).reshape(len(values), 4, -1).min(1, keepdim=True)
        codes = candidates.transpose(0, 1).reshape(len(values), 4, -1).gather(1, choice)[:, 0]
        parents = self._origin.gather(0, choice[:, 0] & 1)
        self._metric = least[:, 0] - least.amin(-1)
        self._parents.append(parents.to(torch.uint8))
        self._codes.append(codes.int())
        return (self._first + parents).flatten(), codes + low

    def trace(self) -> tuple[Tensor, Tensor]:
        """Codes of the cheapest survivors, and whether each is of the odd quantizer; shape (length, chains)."""
        state = self._metric.argmin(1, keepdim=True)
        path, owners = [], []
        for parents, codes in zip(reversed(self._parents), reversed(self._codes), strict=True):
            path.append(codes.gather(1, state)[:, 0])
            state = parents.gather(1, state).long()
            owners.append(state[:, 0] % 2 == 1)
        return torch.stack(path[::-1]), torch.stack(owners[::-1])
