"""Several workers score plans at once; answers don't depend on how many there are, nor on whether some die."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol

from ravn.allocators.problem import Problem, Selection
from ravn.errors import InputError
from ravn.scoring.workbench import Workbench

START_SECONDS = 300.0
"""How long a search waits while not a single worker is at work."""

MOST_DEATHS = 3
"""Workers that may die over one plan, or while they start, one after another."""


@dataclass(frozen=True)
class Question:
    """What a worker is asked: the loss of a selection, on the images of the search or on the holdout's."""

    selection: Selection
    holdout: bool = False


def answer(bench: Workbench, question: Question) -> float:
    """The loss that a question asks for; one forward pass."""
    return (bench.holdout_loss if question.holdout else bench.loss)(question.selection)


class Worker(Protocol):
    """Holds a workbench somewhere else and answers one question at a time."""

    def ask(self, question: Question) -> Future[float]:
        """Begin to score a plan; a question may be put before the worker has started."""

    def dismiss(self) -> None:
        """Stop it, whatever it does."""


@dataclass(frozen=True)
class Agency:
    """Where workers come from.

    Args:
        hire: starts a worker.
        size: workers at a time.
        lost: errors of a question that say that the worker is gone; all others come from the network.
        told: told, in a sentence, when a worker is replaced.
    """

    hire: Callable[[], Worker]
    size: int
    lost: tuple[type[BaseException], ...]
    told: Callable[[str], None]


class Crew:
    """Workers that score plans in the order in which these are announced; a worker that dies is replaced.

    Whoever asks gets the answers in the order of the questions, and asks the same questions however many workers there
    are: so a search neither sees nor logs anything that depends on them. Nothing runs beside the caller's thread:
    workers are handed plans whenever it asks.

    Args:
        agency: gives workers.
        trial: the question that every worker answers first; all must agree to the last bit.
    """

    def __init__(self, agency: Agency, trial: Question) -> None:
        self._agency, self._trial = agency, trial
        self._answers: dict[Question, float] = {}
        self._deaths: Counter[Question | None] = Counter()
        self._queue: deque[Question] = deque()
        self._idle: list[Worker] = []
        self._busy: dict[Future[float], tuple[Worker, Question]] = {}
        self._starting: dict[Future[float], Worker] = {}
        for _ in range(agency.size):
            self._hire()

    def served(self, problem: Problem) -> Problem:
        """The same problem, whose losses come from the crew."""

        def announced(selections: Sequence[Selection], *, holdout: bool) -> None:
            """Queue selections."""
            self.announce(Question(selection, holdout) for selection in selections)

        return replace(
            problem,
            loss=lambda selection: self.answer(Question(selection)),
            holdout_loss=lambda selection: self.answer(Question(selection, holdout=True)),
            announce=lambda selections: announced(selections, holdout=False),
            announce_holdout=lambda selections: announced(selections, holdout=True),
        )

    def announce(self, questions: Iterable[Question]) -> None:
        """Have questions answered ahead, in this order; what was announced before and not begun is forgotten."""
        self._queue = deque(question for question in dict.fromkeys(questions) if not self._begun(question))
        self._take_in(0.0)

    def answer(self, question: Question) -> float:
        """The answer, for which the caller waits.

        Raises:
            InputError: workers don't start, don't agree, or die over this plan one after another.
        """
        self._take_in(0.0)
        while question not in self._answers:
            if not self._begun(question) and question not in self._queue:
                self._queue.appendleft(question)
                self._hand_out()
            self._take_in(None if self._busy else START_SECONDS)
        return self._answers[question]

    def dismiss(self) -> None:
        """Stop all workers."""
        for worker in (*self._idle, *self._starting.values(), *(worker for worker, _ in self._busy.values())):
            worker.dismiss()

    def _begun(self, question: Question) -> bool:
        return question in self._answers or any(question == busy for _, busy in self._busy.values())

    def _hire(self) -> None:
        worker = self._agency.hire()
        self._starting[worker.ask(self._trial)] = worker

    def _hand_out(self) -> None:
        while self._idle and self._queue:
            worker, question = self._idle.pop(), self._queue.popleft()
            self._busy[worker.ask(question)] = worker, question

    def _take_in(self, seconds: float | None) -> None:
        """Wait so long for an answer, take in all that there are, and hand out what is queued."""
        done = wait((*self._busy, *self._starting), seconds, FIRST_COMPLETED).done
        if not done and seconds:
            raise InputError(
                f"no worker has started within {seconds:.0f} seconds; see whether the Ray cluster has a free processor"
            )
        for future in done:
            if future in self._starting:
                self._started(future, self._starting.pop(future))
            else:
                self._answered(future, *self._busy.pop(future))
        self._hand_out()

    def _started(self, future: Future[float], worker: Worker) -> None:
        if self._is_lost(future):
            self._mourn(None, worker, future)
            return
        loss = self._answers.setdefault(self._trial, future.result())
        if loss != future.result():
            raise InputError(
                f"two workers give {loss!r} and {future.result()!r} as the loss of the same plan, so that the search"
                " would depend on chance; use machines with the same processor and the same version of torch"
            )
        self._deaths[None] = 0
        self._idle.append(worker)

    def _answered(self, future: Future[float], worker: Worker, question: Question) -> None:
        if self._is_lost(future):
            self._mourn(question, worker, future)
            return
        self._answers[question] = future.result()
        self._idle.append(worker)

    def _is_lost(self, future: Future[float]) -> bool:
        return isinstance(future.exception(), self._agency.lost)

    def _mourn(self, question: Question | None, worker: Worker, future: Future[float]) -> None:
        """Replace a worker that died over a question, or while it started."""
        worker.dismiss()
        self._deaths[question] += 1
        if self._deaths[question] >= MOST_DEATHS:
            over = "they started" if question is None else f"they scored the plan {question.selection}"
            last = str(future.exception()).strip().splitlines()[-1:]
            raise InputError(f"{MOST_DEATHS} workers died one after another while {over}: {''.join(last).strip()}")
        self._agency.told("a worker of the search died; another takes its place, and nothing is lost")
        self._hire()
