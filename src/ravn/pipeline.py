"""The paper in one function: cluster, decide, fine-tune, pack, measure."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ravn import finetuning, stages
from ravn.allocators.problem import Allocation, Allocator
from ravn.artifact import pack
from ravn.batches import size
from ravn.codecs import Codec
from ravn.deciding import Decision, decide, limits_of
from ravn.errors import BudgetError, InputError
from ravn.fidelity import finite_outputs
from ravn.fixed_plans import FixedPlan
from ravn.keeping import KEPT, Beginning, about, keep, kept
from ravn.loading import loaded_from
from ravn.measuring import FLOAT_BYTES, measurement, parameter_count, versions
from ravn.metrics import layer_reports, top1_accuracy, weight_histogram
from ravn.plan import Budget, Plan
from ravn.progress import Later, Progress, Silent
from ravn.result import Result
from ravn.scoring import connected
from ravn.settings import Settings
from ravn.stages import Coded
from ravn.task import Task
from ravn.training import processes
from ravn.writing import write_atomic

CHEAP = "knapsack's or the equal plan, from which it began"


@dataclass(frozen=True)
class Compressed:
    """What `compress` gives: the file, and what was decided and measured.

    Args:
        data: the bytes of the file.
        plan: the decision.
        result: the measurements, all of the network loaded back from `data`.
        policy: the bytes of a file with the trained policy, where it can be used for other networks.
    """

    data: bytes
    plan: Plan
    result: Result
    policy: bytes = b""


def compress(
    task: Task,
    budget: Budget,
    allocator: Allocator | FixedPlan,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    folder: Path | None = None,
    progress: Progress = Silent(),  # noqa: B008 - stateless
    decision: Decision | None = None,
) -> Compressed:
    """Compress a network into a byte budget.

    Args:
        task: the network and its images.
        budget: the largest allowed file.
        allocator: decides bit-widths; a fixed plan searches for none.
        settings: everything else; the seed among it.
        folder: where the search's log, the decision and the training's checkpoints are kept, so that a killed
            run goes on from there when it is called again; None keeps nothing.
        progress: is told how far the work is.
        decision: what a search for several budgets decided for this one (`deciding.decide_all`), instead of a search.

    Raises:
        BudgetError: the budget is below the smallest possible file.
        InputError: the network has nothing to compress; it or its outputs hold NaN or infinity; the teacher can't
            teach; or `settings.workers` can't be had.
    """
    with connected(None if isinstance(allocator, FixedPlan) else settings.workers):
        run = _Run(task, budget, allocator, settings, folder, progress)
        coded = run.codes(decision)
    data = run.packed(coded)
    return Compressed(data, Plan(coded.codecs, allocator.name), run.result(coded, data), run.allocation.policy)


class _Run:
    """One run of the pipeline: its inputs, and what its stages leave for the report."""

    def __init__(
        self,
        task: Task,
        budget: Budget,
        allocator: Allocator | FixedPlan,
        settings: Settings,
        folder: Path | None,
        progress: Progress,
    ) -> None:
        finetuning.ensure_teachable(task, settings.recipe)
        _check(settings, allocator)
        task.model.to(settings.device).eval()
        self.task, self.allocator, self.settings = task, allocator, settings
        self.folder, self.progress = folder, progress
        self.layers = stages.checked_layers(task.model)
        self.inputs = stages.draw_inputs(task, settings)
        finite_outputs(task.model, self.inputs.calibration[0])  # the judges look at the other images
        self.parameters = parameter_count(task.model)
        self.limits = limits_of(task, self.layers, budget)
        self.aim = task.teacher_name or "the float one"
        self.allocation = Allocation((), 0)
        self.equal: dict[str, Codec] = {}
        self.trained = False
        self.curve: list[tuple[float, float, float]] = []
        self.seconds: dict[str, float] = {}

    def codes(self, decision: Decision | None) -> Coded:
        """Algorithm 1: search and training in turn."""
        if not self.settings.recipe.epochs:
            return self._refined(self._decided(self.task.model, 0, decision))
        coded, untrained = self._begun(decision)
        rounds = min(self.settings.rounds, self.settings.recipe.epochs)
        for number in range(rounds):
            if number:
                coded = self._decided(coded.model, number)
            coded = self._trained(coded, number, rounds)
        nearer = finetuning.nearest_to_float(self.task, (coded, untrained), self.settings)
        self.trained = nearer is not untrained
        if not self.trained:
            self.progress.stage(f"training brought the network no nearer to {self.aim}: its weights stay untrained")
        return self._polished(nearer)

    def _begun(self, decision: Decision | None) -> tuple[Coded, Coded]:
        """The plan to train under, and the codes that stay if training doesn't help; as the folder has kept them."""
        path = self.folder / KEPT if self.folder else None
        run = about(self.task, self.limits.limit_bytes, self.allocator.name, self.settings)
        former = processes.from_first(path.read_bytes() if path is not None and path.exists() else None)
        if former is not None:
            begun = kept(former, self.task.model, run, source=str(path))
            self.allocation, self.seconds = begun.allocation, dict(begun.seconds)
            return replace(begun.untrained, codecs=dict(begun.plan)), begun.untrained
        decided = self._decided(self.task.model, 0, decision)
        untrained = self._refined(decided)
        coded = self._trainable(decided)
        if path is not None:
            keep(path, Beginning(coded.codecs, untrained, self.allocation, self.seconds), run)
        return coded, untrained

    def _polished(self, coded: Coded) -> Coded:
        """The same codes under trained biases and norms, if these bring the network nearer to what it imitates."""
        start = time.perf_counter()
        self.progress.stage("training norms and biases under the final codes")
        candidate = finetuning.polished(
            self.task,
            coded,
            self.limits.limit_bytes,
            allocator=self.allocator.name,
            trained=self.trained,
            settings=self.settings,
            progress=Later(self.progress, None),
        )
        if candidate is not None:
            coded = finetuning.nearest_to_float(self.task, (coded, candidate), self.settings)
        if coded is not candidate:
            self.progress.stage(f"that brought the network no nearer to {self.aim}: norms and biases stay as they were")
        self._spent("training", start)
        return coded

    def _decided(self, model: nn.Module, number: int, decision: Decision | None = None) -> Coded:
        if isinstance(self.allocator, FixedPlan):
            return self._fixed(self.allocator, model)
        self.progress.stage("deciding bits" if number == 0 else f"deciding bits, round {number + 1}")
        decision = decision or self._searched(self.allocator, model, number)
        allocation, paid = decision.allocation, self.allocation.evaluations
        self.allocation = replace(
            allocation,
            evaluations=paid + allocation.evaluations,
            curve=(*self.allocation.curve, *((paid + number, loss) for number, loss in allocation.curve)),
        )
        if allocation.outdone:
            self.progress.stage(f"on images that the search has not seen, none of its plans beats the {CHEAP}")
        self.seconds["search"] = self.seconds.get("search", 0.0) + decision.seconds
        start = time.perf_counter()
        self.progress.stage("rounding with error compensation")
        plans = [decision.codecs] + [decision.equal] * (self.settings.trials and decision.equal != decision.codecs)
        number, coded = self._best_of(model, plans)
        if number:
            self.progress.stage("rounded layer after layer, the equal plan hurts less: it is taken")
            self.allocation = replace(self.allocation, outdone=True)
        self.equal = coded.codecs if plans[number] == decision.equal else decision.equal
        self._spent("rounding", start)
        return coded

    def _best_of(self, model: nn.Module, plans: Sequence[Mapping[str, Codec]]) -> tuple[int, Coded]:
        return stages.best_of(
            self.task,
            model,
            plans,
            self.limits.capacity_bytes,
            inputs=self.inputs,
            settings=self.settings,
            progress=self.progress,
        )

    def _searched(self, allocator: Allocator, model: nn.Module, number: int) -> Decision:
        (decision,) = decide(
            self.task,
            model,
            [self.limits],
            allocator,
            inputs=self.inputs,
            settings=self.settings,
            log=self.folder / f"search-{number + 1}.jsonl" if self.folder else None,
            progress=self.progress,
        )
        return decision

    def _fixed(self, plan: FixedPlan, model: nn.Module) -> Coded:
        """A plan that needs no search; it leaves room for what training may add to the rest of the file."""
        start = time.perf_counter()
        self.progress.stage("rounding with error compensation")
        share = finetuning.TRAINING_SHARE if self.settings.recipe.epochs else 1.0
        plans = plan.planner(model, self.layers, int(share * self.limits.capacity_bytes))
        _, coded = self._best_of(model, plans)
        self.equal = coded.codecs
        self._spent("rounding", start)
        return coded

    def _refined(self, coded: Coded) -> Coded:
        """What the trellis makes of codes that are final."""
        if not self.settings.trellis or self.settings.fixed_rate:
            return coded
        start = time.perf_counter()
        self.progress.stage("rounding along a trellis")
        finer = stages.refined(
            coded,
            self.task.model,
            self.limits.capacity_bytes,
            judge=stages.holdout_judge(self.task, self.layers, self.inputs, self.settings),
            inputs=self.inputs,
            progress=self.progress,
        )
        self._spent("rounding", start)
        return finer

    def _trainable(self, coded: Coded) -> Coded:
        """The decided plan or the equal one, whichever training mends better."""
        start = time.perf_counter()
        plans = [coded.codecs] + [self.equal] * (self.settings.trials and self.equal != coded.codecs)
        task, limit = self.task, self.limits.limit_bytes
        chosen = finetuning.most_trainable(
            task, task.model, plans, limit, settings=self.settings, progress=self.progress
        )
        if chosen is not plans[0]:
            self.progress.stage("training mends the equal plan better than the plan of the search")
        self._spent("trials", start)
        return replace(coded, codecs=dict(chosen))

    def _trained(self, coded: Coded, number: int, rounds: int) -> Coded:
        start = time.perf_counter()
        self.progress.stage("fine-tuning" if rounds == 1 else f"fine-tuning, round {number + 1} of {rounds}")
        epochs = self.settings.recipe.epochs * (number + 1) // rounds - self.settings.recipe.epochs * number // rounds
        settings = replace(self.settings, recipe=replace(self.settings.recipe, epochs=epochs))
        checkpoint = self.folder / f"checkpoint-{number + 1}.pt" if self.folder else None
        done, images = len(self.curve), size(self.task.train) + self._unlabeled().get("unlabeled", 0)
        coded, trained = finetuning.fine_tune(
            self.task,
            coded,
            self.limits.limit_bytes,
            settings=settings,
            checkpoint=checkpoint,
            progress=Later(self.progress, done * -(-images // settings.recipe.batch_size)),
        )
        self.curve += [(done + epoch, loss, accuracy) for epoch, loss, accuracy in trained.curve]
        self._spent("training", start)
        return coded

    def _spent(self, stage: str, start: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def packed(self, coded: Coded) -> bytes:
        """The file.

        Raises:
            BudgetError: it would exceed the budget.
        """
        data = pack(stages.artifact_of(self.task, coded, self.allocator.name, self.limits.limit_bytes))
        if len(data) > self.limits.limit_bytes:
            raise BudgetError(
                f"the file would take {len(data):,} bytes where {self.limits.limit_bytes:,} are allowed",
                len(data),
            )
        return data

    def result(self, coded: Coded, data: bytes) -> Result:
        """Measure the network loaded back from the bytes of the file, on images that nothing else has seen."""
        self.progress.stage("measuring the file")
        start = time.perf_counter()
        task, settings = self.task, self.settings
        loaded = loaded_from(data, task.model)
        test = task.test if task.test is not None else task.validation
        float_accuracy = top1_accuracy(task.model, test, task.transform)
        accuracy = top1_accuracy(loaded, test, task.transform)
        weights = {layer.name: task.model.get_parameter(layer.name).detach() for layer in self.layers}
        largest = max(self.layers, key=lambda layer: layer.parameters).name
        self._spent("measuring", start)
        spent = sum(v for k, v in self.seconds.items() if k != "measuring")
        ours = measurement(
            self.allocator.name,
            accuracy,
            len(data),
            self.parameters,
            self.allocation.evaluations,
            spent,
        )
        floats = measurement("float32", float_accuracy, FLOAT_BYTES * self.parameters, self.parameters, 0, 0.0)
        return Result(
            model=task.model_name or type(task.model).__name__,
            data=task.data_name,
            parameters=self.parameters,
            float_bytes=FLOAT_BYTES * self.parameters,
            budget_bytes=self.limits.budget_bytes,
            file_bytes=len(data),
            bits_per_weight=ours.bits_per_weight,
            float_test_accuracy=float_accuracy,
            test_accuracy=accuracy,
            allocator=self.allocator.name,
            evaluations=self.allocation.evaluations,
            seed=settings.seed,
            epochs=settings.recipe.epochs,
            trained=self.trained,
            teacher=task.teacher_name,
            unlabeled=task.unlabeled_name,
            outdone=self.allocation.outdone,
            preset=settings.preset,
            splits=self._splits(),
            rows=(floats, ours),
            layers=layer_reports(self.layers, coded.codecs, coded.encoded, weights),
            search_curve=self.allocation.curve,
            training_curve=tuple(self.curve),
            histogram=weight_histogram(largest, weights[largest], loaded.get_parameter(largest)),
            seconds=self.seconds,
            versions=versions(),
        )

    def _unlabeled(self) -> dict[str, int]:
        return {} if self.task.unlabeled is None else {"unlabeled": size(self.task.unlabeled)}

    def _splits(self) -> dict[str, int]:
        task, settings = self.task, self.settings
        splits = {
            "train": size(task.train) if settings.recipe.epochs else 0,
            **self._unlabeled(),
            "calibration": sum(len(b) for b in self.inputs.calibration),
            "search": sum(len(b) for b in self.inputs.search),
            "holdout": sum(len(b) for b in self.inputs.holdout),
            "validation": size(task.validation),
        }
        return splits | ({"test": size(task.test)} if task.test is not None else {})


def _check(settings: Settings, allocator: Allocator | FixedPlan) -> None:
    """Refuse what the budget of an export can't be counted for."""
    if not settings.fixed_rate:
        return
    if settings.clusters or settings.recipe.epochs or isinstance(allocator, FixedPlan):
        raise InputError(
            "a budget for exports counts codes of fixed length, which clusters, training and the fixed plans of arms"
            " don't keep to; leave the preset 'default', 0 epochs, and an allocator"
        )


def save(compressed: Compressed, path: str | Path) -> None:
    """Write the file, atomically."""
    write_atomic(Path(path), compressed.data)
