"""The answer: what was measured, as one JSON-able value that reports are drawn from."""

import dataclasses
import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from ravn import typed_json
from ravn.errors import InputError
from ravn.typed_json import Amount, Between, Count, Percent, Positive

Share = Annotated[float, Between(0, 1)]
Finite = Annotated[float, Between(-1e300, 1e300)]


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
    test_accuracy: Percent
    file_bytes: Positive
    bits_per_weight: Amount
    compression_ratio: Amount
    evaluations: Count
    seconds: Amount


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
    shape: tuple[Count, ...]
    codec: str
    cluster_bits: tuple[Amount, ...]
    cluster_shares: tuple[Share, ...]
    size_bytes: Count
    bits_per_weight: Amount
    error_db: Finite

    def __post_init__(self) -> None:
        if not 0 < len(self.cluster_bits) == len(self.cluster_shares):
            raise InputError(f"the layer {self.name!r} has no cluster, or not as many bits as shares of its clusters")


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
    edges: tuple[Finite, ...]
    before: tuple[Count, ...]
    after: tuple[Count, ...]

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise(self.edges))
        if not (rising and 0 < len(self.before) == len(self.after) == len(self.edges) - 1):
            raise InputError(f"the histogram of {self.layer!r} has no bins between ascending edges")


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
        trained: whether the weights in the file are what training gave; if not, the untrained ones were nearer to the
            float network. Norms and biases may have been trained under them.
        preset: name of the preset.
        splits: number of images in each of train, calibration, validation and test, and of unlabeled ones.
        rows: headline table.
        layers: one report per layer, in the order of the network.
        search_curve: (evaluation number, best loss so far) where it improved; the loss is L_RAVN
            (Eq. 7).
        training_curve: (epoch, mean training loss, validation accuracy in percent).
        histogram: weights of the largest layer before and after.
        seconds: wall time in seconds of each stage, by name.
        versions: versions of ravn, torch and Python, and the machine's processor.
        command: the command line, or "".
        outdone: whether a cheap plan - the knapsack's or the equal one - was better on holdout images than the plan of
            the search, by its scores or once both were rounded, and was taken.
        teacher: name of the network whose outputs training imitated; "" for the float network itself.
        unlabeled: name of the data whose images training saw as well, without labels; "" for none.
    """

    model: str
    data: str
    parameters: Positive
    float_bytes: Positive
    budget_bytes: Positive
    file_bytes: Positive
    bits_per_weight: Amount
    float_test_accuracy: Percent
    test_accuracy: Percent
    allocator: str
    evaluations: Count
    seed: int
    epochs: Count
    trained: bool
    preset: str
    splits: dict[str, Count]
    rows: tuple[Measurement, ...]
    layers: tuple[LayerReport, ...]
    search_curve: tuple[tuple[Count, float], ...] = ()
    training_curve: tuple[tuple[Amount, float, Percent], ...] = ()
    histogram: Histogram | None = None
    seconds: dict[str, Amount] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    outdone: bool = False
    teacher: str = ""
    unlabeled: str = ""

    def __post_init__(self) -> None:
        if not self.rows:
            raise InputError("the headline table has no rows")

    def to_json(self) -> str:
        """The result as indented JSON; `Result.from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, source: str = "this") -> "Result":
        """Read a result.

        Args:
            text: what `to_json` wrote.
            source: what the error message calls it.

        Raises:
            InputError: the text is not a result; the message names the field.
        """
        try:
            return typed_json.loads(cls, text)
        except InputError as error:
            raise InputError(f"{source} is not a result that ravn wrote: {error}") from error
