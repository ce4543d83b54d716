"""What the search has paid for: true evaluations, remembered, counted and kept in a log."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ravn.allocators.problem import FLOAT, Allocation, Problem, Selection
from ravn.errors import InputError
from ravn.writing import naming

AHEAD = 32
"""Plans announced before they are asked for: as many workers may be busy, and the answer depends on none of them."""


class Ledger:
    """The only caller of `Problem.loss` inside an allocator: no plan is paid for twice, none beyond the limit.

    Args:
        problem: what is being solved.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.known: dict[Selection, float] = {}
        self.curve: list[tuple[int, float]] = []
        self.incumbents: list[Selection] = []

    @property
    def best(self) -> Selection | None:
        """The paid plan of the least loss, or None."""
        return self.incumbents[-1] if self.incumbents else None

    @property
    def left(self) -> int:
        """Evaluations that may still be paid for."""
        return self.problem.evaluations - len(self.known)

    def affords(self, selection: Selection) -> bool:
        """Whether the loss of a selection is known or can still be paid for."""
        return selection in self.known or self.left > 0

    def announce(self, selections: Iterable[Selection]) -> None:
        """Tell for which selections `loss` will probably be called next; changes no result.

        The known ones, and those that can't be paid for any more, are left out.
        """
        new = [s for s in dict.fromkeys(selections) if s not in self.known]
        self.problem.announce(new[: max(self.left, 0)])

    def loss(self, selection: Selection) -> float:
        """True loss of a selection; infinite where the network's outputs are not finite.

        Raises:
            InputError: the selection is new and all evaluations are spent.
        """
        if selection in self.known:
            return self.known[selection]
        if self.left <= 0:
            raise InputError(f"all {self.problem.evaluations} evaluations of the search are spent; allow more")
        loss = float(self.problem.loss(selection))
        self.known[selection] = loss if math.isfinite(loss) else math.inf
        self._note(selection)
        return self.known[selection]

    def foreseen(self, selections: Iterator[Selection]) -> Iterator[Selection]:
        """Hand selections on, one by one, and announce those to come.

        Args:
            selections: are drawn some time ahead, so that they must not depend on losses.
        """
        upcoming = deque(islice(selections, AHEAD))
        while upcoming:
            self.announce(upcoming)
            yield upcoming.popleft()
            upcoming.extend(islice(selections, 1))

    def feasible(self) -> dict[Selection, float]:
        """Losses of the paid plans: complete selections within the capacity."""
        return {s: loss for s, loss in self.known.items() if self._is_plan(s)}

    def allocation(self, selection: Selection) -> Allocation:
        """What the allocator returns when it has decided for a selection."""
        return Allocation(selection, len(self.known), tuple(self.curve))

    def _is_plan(self, selection: Selection) -> bool:
        return FLOAT not in selection and self.problem.fits(selection)

    def _note(self, selection: Selection) -> None:
        loss = self.known[selection]
        if self._is_plan(selection) and (self.best is None or loss < self.known[self.best]):
            self.incumbents.append(selection)
            self.curve.append((len(self.known), loss))


class JointLedger(Ledger):
    """One purse for several budgets of a network: what is paid for at one of them, all know.

    Args:
        problems: of the same units and loss; their evaluations are added up.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        total = sum(problem.evaluations for problem in problems)
        largest = max(problems, key=lambda problem: problem.capacity_bytes)
        super().__init__(replace(largest, evaluations=total))
        self.parts = [Ledger(replace(problem, evaluations=total)) for problem in problems]
        for part in self.parts:
            part.known = self.known

    def _note(self, selection: Selection) -> None:
        super()._note(selection)
        for part in self.parts:
            part._note(selection)


def logged(problem: Problem, path: Path, *, key: str = "") -> Problem:
    """The same problem with a memory on disk: a loss found in the log needs no forward pass.

    Allocators are deterministic, so a search that was killed and is started again replays its log
    and ends with the plan of an undisturbed run. Searches with other capacities or allocators may
    share a log.

    Args:
        problem: what is to be solved.
        path: JSON lines; made if missing; a half-written last line is dropped.
        key: whatever else the losses depend on, such as the seed of the calibration images.

    Raises:
        InputError: the log belongs to other units or another key, or a line in its middle is
            broken.
    """
    owner = hashlib.sha256(f"{key}|{problem.units!r}".encode()).hexdigest()[:16]
    known = _read(path, owner)

    def loss(selection: Selection) -> float:
        """The loss from the log, or the true one, logged at once."""
        if selection not in known:
            known[selection] = float(problem.loss(selection))
            _append(path, {"selection": selection, "loss": known[selection]})
        return known[selection]

    def announce(selections: Sequence[Selection]) -> None:
        """Hand on what is not in the log."""
        problem.announce([s for s in selections if s not in known])

    return replace(problem, loss=loss, announce=announce)


def _read(path: Path, owner: str) -> dict[Selection, float]:
    text = path.read_bytes() if path.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    if not whole:
        _append(path, {"problem": owner})
        return {}
    header, known = None, {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
            if number == 1:
                header = entry
            else:
                known[tuple(map(int, entry["selection"]))] = float(entry["loss"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is none of a search log that ravn wrote; remove it") from error
    if header != {"problem": owner}:
        raise InputError(f"{path} is the log of another search; remove it or choose another folder")
    return known


def _append(path: Path, line: dict[str, object]) -> None:
    with naming(path), path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
