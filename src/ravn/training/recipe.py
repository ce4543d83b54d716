"""How weights are trained."""

import math
from dataclasses import dataclass

from ravn.distances import DISTANCES
from ravn.errors import InputError
from ravn.training.bounds import ensure_count, ensure_number


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Args:
        epochs: passes over the training images.
        batch_size: images of a step.
        accumulate: parts that a batch is computed in, one after the other, where memory is short.
        learning_rate: peak rate of AdamW (arXiv 1711.05101), at one bit per weight.
        other_rate: learning rate of what is not a code - norms, biases - relative to that of the weights.
        full_rate_steps: steps of the longest training at this rate; in a longer one it is lower by the root of how much
            longer it is, so that weights that nothing holds wander no further: they would take bits.
        decay_per_bit: factor of the learning rate for each bit per weight above one: steps are halved, and so are the
            moves that training should make.
        weight_decay: of the latent weights.
        final_rate: share of the peak rate at the end of the cosine (arXiv 1608.03983).
        warmup: share of all steps in which the rate rises from zero.
        fidelity: weight of L_fidelity (Eq. 6); 1 in the paper.
        distance: what L_fidelity sums up over layers, by its name in `ravn.distances.DISTANCES`.
        tolerance: performance gap that lambda (Eq. 7) may leave, in nats, at `temperature`; 0 and `dual_rate` 0 keep
            lambda at 1.
        dual_rate: step of lambda's dual ascent per batch.
        distillation: weight of the KL divergence from the float network's outputs.
        temperature: divides logits in that divergence, and its square multiplies it (arXiv 1503.02531).
        labels: weight of the cross-entropy with the labels; 0 never looks at them.
        mixing: share of the inputs that are blended with others; with labels none is, and inputs that are not numbers
            on a scale, such as tokens, never are.
        refit_every: steps between two fits of steps, centroids and code lengths to the weights.
        mixed_precision: compute in bfloat16 where the hardware does; weights and losses stay in float32.
        compiled: train with `torch.compile`; it takes minutes at first, and on CPUs it saved 3 % of a step
            (docs/experiments.md).
        batch_statistics: batch norms normalise by the statistics of every batch and are re-estimated afterwards, as in
            the training of float networks; otherwise they keep the statistics of the float network, or under codebooks
            those of the network as training finds it, and so does the file.

    Raises:
        InputError: a number is out of its bounds, no distance has this name, or nothing would be minimised.
    """

    epochs: int = 5
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    full_rate_steps: int = 1800
    other_rate: float = 4.0
    decay_per_bit: float = 0.5
    weight_decay: float = 0.0
    final_rate: float = 0.0
    warmup: float = 0.05
    fidelity: float = 0.0
    distance: str = "l2"
    tolerance: float = 0.0
    dual_rate: float = 0.0
    distillation: float = 1.0
    temperature: float = 1.0
    labels: float = 0.0
    mixing: float = 0.75
    refit_every: int = 50
    mixed_precision: bool = True
    batch_statistics: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        ensure_count("epochs", self.epochs, 0)
        for name in ("batch_size", "accumulate", "refit_every", "full_rate_steps"):
            ensure_count(name, getattr(self, name), 1)
        for name in ("learning_rate", "other_rate", "weight_decay", "tolerance", "dual_rate"):
            ensure_number(name, getattr(self, name), 0)
        for name in ("fidelity", "distillation", "labels"):
            ensure_number(name, getattr(self, name), 0)
        for name in ("final_rate", "warmup", "mixing"):
            ensure_number(name, getattr(self, name), 0, 1)
        for name in ("decay_per_bit", "temperature"):
            ensure_number(name, getattr(self, name), 1e-9)
        self._ensure_possible()

    def _ensure_possible(self) -> None:
        """Refuse settings that contradict each other."""
        if self.distance not in DISTANCES:
            raise InputError(f"there is no distance {self.distance!r}; there are {', '.join(DISTANCES)}")
        if self.accumulate > self.batch_size:
            raise InputError(
                f"a batch of {self.batch_size} can't be computed in {self.accumulate} parts;"
                f" give accumulate = {self.batch_size} or less"
            )
        if not self.fidelity + self.distillation + self.labels:
            raise InputError("a recipe without fidelity, distillation and labels minimises nothing; give one of them")
        if self.compiled and self.fidelity:
            raise InputError(
                f"a fidelity of {self.fidelity} looks into the network, which a compiled one doesn't allow;"
                " leave --compile out, or give fidelity = 0"
            )
        if self.dual_rate and not self.distillation + self.labels:
            raise InputError(
                f"a dual_rate of {self.dual_rate} moves lambda by a performance gap that has no weight;"
                " give distillation or labels as well"
            )

    def peak(self, bits_per_weight: float, steps: int) -> float:
        """Peak rate of the weights.

        Args:
            bits_per_weight: of the budget of codes.
            steps: of the whole training.
        """
        length = min(1.0, self.full_rate_steps / max(steps, 1)) ** 0.5
        return self.learning_rate * length * self.decay_per_bit ** (bits_per_weight - 1)

    def rate(self, share: float) -> float:
        """Learning rate after a share of all steps, relative to the peak."""
        if self.warmup and share <= self.warmup:
            return share / self.warmup
        cosine = (1 + math.cos(math.pi * (share - self.warmup) / (1 - self.warmup))) / 2
        return self.final_rate + (1 - self.final_rate) * cosine
