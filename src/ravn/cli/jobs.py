"""What `ravn compress` does once its options are understood: a run folder for every budget."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ravn.allocators import Allocator
from ravn.baselines import compare
from ravn.cli.progress import Bars, listening
from ravn.cli.run_folder import LOG, finish_run, is_run, open_run, resumed, save_policy
from ravn.deciding import Decision, decide_all
from ravn.fixed_plans import FixedPlan
from ravn.keeping import KEPT
from ravn.pipeline import compress
from ravn.plan import Budget
from ravn.progress import Later, Silent
from ravn.result import Result
from ravn.settings import Settings
from ravn.task import Task
from ravn.training import processes

SEARCH_LOG = "search-1.jsonl"
Decide = Callable[[], Decision | None]


@dataclass(frozen=True)
class Job:
    """What all budgets of a command have in common.

    Args:
        task: the network and its images, made anew for every budget.
        decider: what decides bit-widths.
        settings: everything else about a run.
        options: options of the command line, which a run folder notes.
        baselines: measure fixed-rate baselines as well.
        tensorboard: log the training.
    """

    task: Callable[[], Task]
    decider: Allocator | FixedPlan
    settings: Settings
    options: Mapping[str, Any]
    baselines: bool
    tensorboard: bool

    def run(self, budget: Budget, out: Path, *, resume: bool, decide: Decide = lambda: None) -> Result:
        """Compress into one run folder; what a search for several budgets decided is asked for if there is work."""
        with open_run(out, self.options, resume=resume):
            former = resumed(out) if resume else None
            processes.from_first(former is not None)
            if former is not None:
                return former
            decision = None if (out / KEPT).exists() else decide()  # what is kept needs no search for all budgets
            with listening(out / LOG if self.tensorboard else None) as progress:
                compressed = compress(
                    self.task(), budget, self.decider, self.settings, folder=out, progress=progress, decision=decision
                )
                result = replace(compressed.result, command=shlex.join(["ravn", *sys.argv[1:]]))
                if self.baselines:
                    rows = compare(self.task(), result.file_bytes, self.settings, Later(progress, None))
                    result = replace(result, rows=(result.rows[0], *rows, *result.rows[1:]))
            finish_run(out, replace(compressed, result=result))
            return result


@dataclass(frozen=True)
class Jobs:
    """Several budgets and the one search for all of them, which begins when the first budget needs it.

    Args:
        job: what the budgets have in common.
        budgets: by the names of their run folders.
        out: folder of the run folders; None in processes that only help.
    """

    job: Job
    budgets: Mapping[str, Budget]
    out: Path | None = None

    def run(self, *, resume: bool) -> dict[str, Result]:
        """Compress into one run folder for each budget."""
        results, out = {}, self.out or Path()
        for name, budget in self.budgets.items():
            begun = resume and is_run(out / name)
            results[name] = self.job.run(budget, out / name, resume=begun, decide=partial(self._decision, name))
        return results

    def help(self) -> None:
        """Take this process's share of the training; the first process has the run folder."""
        job = self.job
        for name, budget in self.budgets.items():
            if not processes.from_first(False):
                decision = self._decision(name)
                compress(job.task(), budget, job.decider, job.settings, decision=decision)

    def _decision(self, name: str) -> Decision | None:
        return self._decisions.get(name)

    @cached_property
    def _decisions(self) -> dict[str, Decision]:
        """Decisions by budget; none, where each budget has options or a search of its own."""
        job = self.job
        if len(self.budgets) == 1 or isinstance(job.decider, FixedPlan) or job.settings.clusters:
            return {}
        log, progress = (self.out / SEARCH_LOG, Bars()) if self.out else (None, Silent())
        budgets = list(self.budgets.values())
        found = decide_all(job.task(), budgets, job.decider, job.settings, log=log, progress=progress)
        if self.out:
            save_policy(self.out, found[0].allocation.policy)
        kept = (replace(d, allocation=replace(d.allocation, policy=b"")) for d in found)
        return dict(zip(self.budgets, kept, strict=True))
