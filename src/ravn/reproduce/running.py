"""One cell run: compressed, loaded back, measured, kept; a cell that has been run is not run again."""

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from ravn.adapters import make_task
from ravn.adapters.weights import weights_bytes
from ravn.allocators import Allocator
from ravn.arms import arm
from ravn.batches import size
from ravn.fixed_plans import FIXED_PLANS, FixedPlan
from ravn.loading import loaded_from
from ravn.measuring import parameter_count
from ravn.metrics import top1_accuracy
from ravn.metrics.energy import Energy, energy_of
from ravn.metrics.precision import macro_average_precision, probabilities
from ravn.pipeline import Compressed, compress
from ravn.plan import Budget
from ravn.progress import Progress, Silent
from ravn.reproduce.catalogue import NORMALIZATIONS, Sources
from ravn.reproduce.cells import FLOAT, FOUR_BIT, PROPOSED, SAME_BYTES, Cell, Record, Results
from ravn.reproduce.probe import probe
from ravn.reproduce.provenance import provenance
from ravn.result import LayerReport
from ravn.settings import Settings, preset
from ravn.task import Task
from ravn.writing import write_atomic

FLOAT_BITS = 32.0
ROOM_FOR_FOUR_BITS = 8.0
"""Bits per weight that a file of 4-bit codes may take with all else: in small networks that is much."""
INFERENCES = 10_000
PROBED = (FOUR_BIT, PROPOSED)
SEARCHING, TRAINING = ("search", "rounding"), ("trials", "training")


@dataclass(frozen=True)
class Study:
    """What all cells have in common.

    Args:
        sources: float weights and images.
        results: where records are kept.
        country: ISO code whose grid factor turns energy into CO2; "" measures no energy.
        batch: images of a call whose memory is measured.
        device: where networks run.
    """

    sources: Sources
    results: Results
    country: str = "DEU"
    batch: int = 64
    device: str = "cpu"

    @property
    def measures_energy(self) -> bool:
        """Whether energy is wanted and can be measured."""
        return bool(self.country) and find_spec("codecarbon") is not None


class _Tasks:
    """The last network and its images: cells of one network follow one another."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._key: tuple[str, str] | None = None

    def of(self, cell: Cell) -> Task:
        """The float network of a cell, and its images."""
        key = (cell.network, cell.dataset)
        if key != self._key:
            self._task = make_task(
                self._sources.model(*key),
                self._sources.images(cell.dataset),
                weights=self._sources.weights(*key),
                normalize=NORMALIZATIONS.get((cell.dataset, cell.network)),
            )
            self._key = key
        return self._task


def run_cell(
    cell: Cell,
    study: Study,
    *,
    command: str = "",
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Record:
    """Run one cell, and before it the one whose bytes it may take.

    Args:
        cell: what to run.
        study: where everything lies.
        command: the command line that runs it again, for the record.
        progress: is told how far the work is.

    Returns:
        The record; the kept one where the cell has been run before.

    Raises:
        InputError: weights or images are missing.
    """
    return Runner(study, command, progress).run(cell)


class Runner:
    """Runs cells one after the other, and opens their data once.

    Args:
        study: where everything lies.
        command: the command line that runs them again, for the records.
        progress: is told how far the work is.
    """

    def __init__(self, study: Study, command: str, progress: Progress) -> None:
        self._study, self._command, self._progress = study, command, progress
        self._tasks = _Tasks(study.sources)

    def run(self, cell: Cell) -> Record:
        """What `run_cell` does."""
        found = self._study.results.find(cell)
        if found is not None:
            return found
        limit = None if cell.rival is None else self.run(replace(cell, method=cell.rival)).file_bytes
        task = self._tasks.of(cell)
        self._progress.stage(cell.key)
        record = self._float(cell, task) if cell.method == FLOAT else self._compressed(cell, task, limit)
        record = replace(record, provenance=provenance(self._command, self._study.device))
        self._study.results.keep(record)
        return record

    def _float(self, cell: Cell, task: Task) -> Record:
        test = task.test if task.test is not None else task.validation
        task.model.to(self._study.device)
        accuracy = top1_accuracy(task.model, test, task.transform)
        return Record(
            cell=cell,
            model=task.model_name,
            parameters=parameter_count(task.model),
            test_images=size(test),
            top1=accuracy,
            average_precision=macro_average_precision(*probabilities(task.model, test, task.transform)),
            float_top1=accuracy,
            file_bytes=len(weights_bytes(task.model)),
            nominal_bits=FLOAT_BITS,
        )

    def _compressed(self, cell: Cell, task: Task, limit: int | None) -> Record:
        study = self._study
        budget, decider, settings = question(cell, study, limit)
        folder = study.results.runs(cell)
        folder.mkdir(parents=True, exist_ok=True)
        resumed = any(folder.iterdir())

        def run() -> Compressed:
            """Compress; what an interrupted run has found is used."""
            return compress(task, budget, decider, settings, folder=folder, progress=self._progress)

        energy: dict[str, Any] = {}
        if study.measures_energy:
            compressed, spent = energy_of(run, study.country)
            energy = _shared(spent, compressed.result.seconds, study.country, resumed=resumed)
        else:
            compressed = run()
        result = compressed.result
        file = folder / "model.ravn"
        write_atomic(file, compressed.data)
        test = task.test if task.test is not None else task.validation
        loaded = loaded_from(compressed.data, task.model)
        memory: dict[str, Any] = {}
        if cell.method in PROBED:
            self._progress.stage("measuring memory in a process of its own")
            memory = probe(file, study.batch, study.country if study.measures_energy else "")
            energy |= _inferences(memory)
        return Record(
            cell=cell,
            model=result.model,
            parameters=result.parameters,
            test_images=size(test),
            top1=result.test_accuracy,
            average_precision=macro_average_precision(*probabilities(loaded, test, task.transform)),
            float_top1=result.float_test_accuracy,
            file_bytes=len(compressed.data),
            nominal_bits=nominal_bits(result.layers),
            seconds=result.seconds,
            energy=energy,
            memory=memory,
        )


def question(cell: Cell, study: Study, limit: int | None) -> tuple[Budget, Allocator | FixedPlan, Settings]:
    """The budget, what decides, and the settings of a cell.

    Args:
        cell: what to run.
        study: the device.
        limit: bytes of the rival's file, where the cell has one.
    """
    settings = preset(cell.preset, epochs=cell.epochs, seed=cell.seed, device=study.device)
    settings = replace(settings, evaluations=cell.evaluations)
    budget = Budget(bits_per_weight=cell.bits) if limit is None else Budget(size_bytes=limit)
    if cell.method == FOUR_BIT:
        return Budget(bits_per_weight=ROOM_FOR_FOUR_BITS), FIXED_PLANS["uniform 4-bit"], settings
    if cell.method == SAME_BYTES:
        return budget, FIXED_PLANS["uniform"], settings
    return budget, *arm("full" if cell.method == PROPOSED else cell.method, settings)


def nominal_bits(layers: tuple[LayerReport, ...]) -> float:
    """Mean bits of a weight's code: a cluster's bit-width, a layer's rate where it is entropy-coded."""
    weights = [math.prod(layer.shape) for layer in layers]
    bits = [sum(b * s for b, s in zip(i.cluster_bits, i.cluster_shares, strict=True)) for i in layers]
    return sum(w * b for w, b in zip(weights, bits, strict=True)) / max(sum(weights), 1)


def _shared(spent: Energy, seconds: dict[str, float], country: str, *, resumed: bool) -> dict[str, Any]:
    """Energy of a run, shared out to search and training by their time; untold where an earlier process had a part."""
    told: dict[str, Any] = {"source": spent.source, "country": country}
    if resumed:
        return told
    whole = max(sum(seconds.values()), 1e-9)

    def part(stages: tuple[str, ...]) -> dict[str, float]:
        """The share of some stages."""
        share = sum(seconds.get(stage, 0.0) for stage in stages) / whole
        return {"joules": share * spent.joules, "co2_grams": share * spent.co2_grams}

    return {"search": part(SEARCHING), "training": part(TRAINING)} | told


def _inferences(memory: dict[str, Any]) -> dict[str, Any]:
    """Energy of 10,000 images, from rows that have that of 1,000."""
    scale = INFERENCES / 1000
    rows = {name: row for name, row in memory.items() if isinstance(row, dict) and row["energy_joules"] is not None}
    return {
        f"inferences_{name}": {"joules": scale * row["energy_joules"], "co2_grams": scale * row["co2_grams"]}
        for name, row in rows.items()
    }
