"""A cell of the tables: what is to be run, what came out, and the file that keeps it."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ravn import typed_json
from ravn.arms import ARMS
from ravn.errors import InputError
from ravn.typed_json import Amount, Count, Percent, Positive
from ravn.writing import write_atomic

FLOAT, FOUR_BIT, SAME_BYTES, PROPOSED = "float", "4-bit", "4-bit-our-bytes", "proposed"


@dataclass(frozen=True)
class Cell:
    """One run that the tables need.

    Args:
        dataset: short name of the data set.
        network: short name of the network.
        method: "float", "4-bit", "4-bit-our-bytes", "proposed", or an arm of the ablation.
        bits: bits per weight of the whole file that are allowed; arms but "vq" get the bytes of vq's file, and
            "4-bit-our-bytes" those of the proposed file.
        epochs: epochs of training.
        seed: seed of everything that is drawn.
        evaluations: plans that the search may score.
        preset: name of the settings' preset.
    """

    dataset: str
    network: str
    method: str
    bits: Amount
    epochs: Count
    seed: int
    evaluations: Count
    preset: str = "default"

    @property
    def key(self) -> str:
        """Name of its file."""
        run = f"{self.dataset}-{self.network}-{self.method}-b{self.bits:.15g}-e{self.epochs}-n{self.evaluations}"
        return run + ("" if self.preset == "default" else f"-{self.preset}") + f"-s{self.seed}"

    @property
    def rival(self) -> str | None:
        """The method whose file says how many bytes this one may take; None where the cell's own bits do."""
        if self.method == SAME_BYTES:
            return PROPOSED
        return "vq" if self.method in ARMS and self.method != "vq" else None


@dataclass(frozen=True)
class Record:
    """What one cell gave. Energies are in joules, CO2 in grams, times in seconds, memory in bytes.

    Args:
        cell: what was run.
        model: name of the network.
        parameters: number of its parameters.
        test_images: images behind the accuracies.
        top1: top-1 accuracy in percent of the network loaded back from the file.
        average_precision: macro average precision in percent, of the same.
        float_top1: top-1 accuracy in percent of the float network.
        file_bytes: size of the file.
        nominal_bits: mean bits of a quantized weight's code.
        seconds: wall time of each stage.
        energy: joules and grams of CO2 of "search" and "training", and of 10,000 "inferences" of the float and of the
            packed network; empty where codecarbon is missing.
        memory: of the float and of the packed network at a batch: weights, growth at the peak, and the process.
        provenance: command, commit, date, hardware, versions.
    """

    cell: Cell
    model: str
    parameters: Positive
    test_images: Positive
    top1: Percent
    average_precision: float
    float_top1: Percent
    file_bytes: Positive
    nominal_bits: Amount
    seconds: dict[str, Amount] = field(default_factory=dict)
    energy: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def true_bits(self) -> float:
        """Bits of the whole file per parameter."""
        return 8 * self.file_bytes / self.parameters

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> "Record":
        """Read a record.

        Raises:
            InputError: the text is none; the message names the field.
        """
        try:
            return typed_json.loads(cls, text)
        except InputError as error:
            raise InputError(f"{source} is not a result of ravn reproduce ({error}); remove it") from error


class Results:
    """A folder of records, one file for each cell.

    Args:
        folder: made when the first record is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, cell: Cell) -> Record | None:
        """The record of a cell, or None where it has not been run.

        Raises:
            InputError: its file is broken, or holds the record of another cell.
        """
        file = self._file(cell)
        if not file.is_file():
            return None
        record = Record.from_json(file.read_text(errors="replace"), str(file))
        if record.cell != cell:
            raise InputError(f"{file} holds the result of {record.cell.key}; rename it, or remove it")
        return record

    def keep(self, record: Record) -> None:
        """Write a record, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(record.cell), record.to_json().encode())

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order of their files' names.

        Raises:
            InputError: a file is broken.
        """
        for file in sorted(self.folder.glob("*.json")):
            yield Record.from_json(file.read_text(errors="replace"), str(file))

    def _file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key}.json"

    def runs(self, cell: Cell) -> Path:
        """Folder for the compressed file, and for what an interrupted run goes on from."""
        return self.folder / "runs" / cell.key
