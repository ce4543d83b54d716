"""The answer: what was measured, as one JSON-able value that reports are drawn from."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from ravn.errors import InputError


@dataclass(frozen=True)
class Measurement:
    """One row of the headline table: one way to store the network.

    Args:
        method: name of the way, such as "RAVN (PPO)".
        test_accuracy: top-1 accuracy in percent of the network loaded back from the file.
        file_bytes: size of the file.
        bits_per_weight: 8 * file_bytes / parameters.
        compression_ratio: float32 bytes of the parameters / file_bytes.
        evaluations: forward passes of the calibration images that the search paid for.
        seconds: wall time of the search, the training and the packing.
    """

    method: str
    test_accuracy: float
    file_bytes: int
    bits_per_weight: float
    compression_ratio: float
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Args:
        name: name of the weight.
        kind: class of the module.
        shape: shape of the weight.
        codec: name of the codec.
        cluster_bits: bits of each cluster; one entry per cluster. An entropy-coded layer is one
            cluster at its true rate.
        cluster_shares: share of the weights in each cluster, summing to 1.
        size_bytes: stored bytes.
        bits_per_weight: 8 * size_bytes / weights.
        error_db: 10 log10(||W - W_q||^2 / ||W||^2).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    codec: str
    cluster_bits: tuple[float, ...]
    cluster_shares: tuple[float, ...]
    size_bytes: int
    bits_per_weight: float
    error_db: float


@dataclass(frozen=True)
class Histogram:
    """Weights of one layer before and after, counted in the same bins.

    Args:
        layer: name of the weight.
        edges: ascending bin edges, one more than there are bins.
        before: counts of the float weights.
        after: counts of the weights loaded back from the file.
    """

    layer: str
    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """Everything that one run measured. Accuracies are top-1 in percent, of the network loaded back from the file.

    Args:
        model: name of the network.
        data: name of the data.
        parameters: number of parameters of the network.
        float_bytes: 4 * parameters.
        budget_bytes: the largest file that was allowed.
        file_bytes: size of the file.
        bits_per_weight: 8 * file_bytes / parameters.
        float_test_accuracy: accuracy of the float network.
        test_accuracy: accuracy of the file.
        allocator: name of the allocator.
        evaluations: forward passes of the calibration images that the search paid for.
        seed: seed of the run.
        epochs: epochs of training.
        trained: whether the file holds what training gave; without it, it holds the untrained network, which was nearer
            to the float one.
        preset: name of the preset.
        splits: number of images in each of train, calibration, validation and test.
        rows: headline table.
        layers: one report per layer, in the order of the network.
        search_curve: (evaluation number, best loss so far) where it improved; the loss is L_RAVN
            (Eq. 7).
        training_curve: (epoch, mean training loss, validation accuracy in percent).
        histogram: weights of the largest layer before and after.
        seconds: wall time in seconds of each stage, by name.
        versions: versions of ravn, torch and Python, and the machine's processor.
        command: the command line, or "".
        outdone: whether a cheap plan - the knapsack's or the equal step - was better on holdout images than all that
            the search found, and was taken.
        teacher: name of the network whose outputs training imitated; "" for the float network itself.
    """

    model: str
    data: str
    parameters: int
    float_bytes: int
    budget_bytes: int
    file_bytes: int
    bits_per_weight: float
    float_test_accuracy: float
    test_accuracy: float
    allocator: str
    evaluations: int
    seed: int
    epochs: int
    trained: bool
    preset: str
    splits: dict[str, int]
    rows: tuple[Measurement, ...]
    layers: tuple[LayerReport, ...]
    search_curve: tuple[tuple[int, float], ...] = ()
    training_curve: tuple[tuple[float, float, float], ...] = ()
    histogram: Histogram | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    outdone: bool = False
    teacher: str = ""

    def to_json(self) -> str:
        """The result as indented JSON; `Result.from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Read a result.

        Raises:
            InputError: the text is not a result.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            values["rows"] = tuple(Measurement(**row) for row in values["rows"])
            values["layers"] = tuple(LayerReport(**_tuples(layer)) for layer in values["layers"])
            values["search_curve"] = tuple((int(n), float(loss)) for n, loss in values["search_curve"])
            values["training_curve"] = tuple((a, b, c) for a, b, c in values["training_curve"])
            if values["histogram"] is not None:
                values["histogram"] = Histogram(**_tuples(values["histogram"]))
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(f"this is not a result that ravn wrote: {error}") from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
