"""The settings of a run, and the presets."""

from dataclasses import dataclass, field, replace

from ravn.errors import InputError
from ravn.training import Recipe


@dataclass(frozen=True)
class Settings:
    """Everything about a run that is neither the task, nor the budget, nor the allocator.

    Args:
        clusters: k-means clusters per layer that get bit-widths of their own (Eq. 1 and 2); 0
            makes the layer the unit, entropy-coded at a step of its own. Fewer are used where
            their indices alone would fill the budget.
        calibration_images: unlabelled training images for error compensation.
        search_images: unlabelled training images on which plans are scored.
        holdout_images: unlabelled training images that choose between finalists; 512 misjudge them
            (docs/experiments.md).
        mixing: share, 0 to 1, of the images of search and holdout that are blended with others (`ravn.training.mixed`).
        temperature: of the performance gap while plans are chosen, above 0. At 1, as in Eq. 7, 2 % of plain training
            images make half of it, and its error is larger than the difference between plans (docs/experiments.md).
        evaluations: how many plans the search may score.
        trade_off: lambda of Eq. 7.
        fidelity: weight of L_fidelity beside it, while plans are chosen: 1 in Eq. 7, 0 leaves the task term of Eq. 4.
        trellis: round along a trellis in the end, if the judge agrees: weights of a row are coded as one vector.
        fixed_rate: the budget counts weights in codes of fixed length, as exported files and the packed runtime hold
            them: k-means codebooks of 1 to 8 bits for each layer; no spectra and no trellis, whose many levels make
            such codes long.
        rounds: alternations of search and training (Algorithm 1).
        trials: let the equal plan stand in for the decided one where the holdout images say that it rounds better, and,
            tried on a part of the training, where training mends it better; otherwise the decided plan stays.
        recipe: how weights are trained; no training when its epochs are 0.
        seed: seed of everything that is drawn.
        device: where the network runs.
        workers: who scores the plans of the search: None, this process; a number, so many processes on this machine;
            an address, all processors of a Ray cluster. The plan does not depend on how many there are.
        preset: name of the preset that this came from.

    Raises:
        InputError: the share or the temperature is impossible.
    """

    clusters: int = 0
    calibration_images: int = 512
    search_images: int = 512
    holdout_images: int = 2048
    mixing: float = 1.0
    temperature: float = 2.0
    evaluations: int = 120
    trade_off: float = 1.0
    fidelity: float = 1.0
    trellis: bool = True
    fixed_rate: bool = False
    rounds: int = 1
    trials: bool = True
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=0))
    seed: int = 0
    device: str = "cpu"
    workers: int | str | None = None
    preset: str = "default"

    def __post_init__(self) -> None:
        if not 0 <= self.mixing <= 1:
            raise InputError(f"images can't be blended to a share of mixing = {self.mixing}; give one from 0 to 1")
        if not self.temperature > 0:
            raise InputError(f"no plan is scored at temperature = {self.temperature}; give one above 0, or infinity")


PAPER = Settings(
    clusters=8,
    mixing=0.0,
    temperature=1.0,
    rounds=2,
    trials=False,
    recipe=Recipe(
        epochs=10,
        batch_size=64,
        learning_rate=1e-3,
        full_rate_steps=10**9,
        other_rate=1.0,
        decay_per_bit=1.0,
        weight_decay=5e-4,
        final_rate=0.1,
        warmup=0.0,
        fidelity=1.0,
        distillation=0.0,
        labels=1.0,
        batch_statistics=True,
    ),
    preset="paper",
)
"""Sec. 4.2 of the paper; clusters, rounds and epochs, which it doesn't tell, are ours."""

LONG = Settings(
    recipe=Recipe(epochs=40, full_rate_steps=4000, mixing=0.5, batch_statistics=True),
    preset="long",
)
"""For trainings of twenty epochs and more: norms follow the batches, the rate is higher, fewer images are blended."""

PRESETS = {"default": Settings(), "paper": PAPER, "long": LONG}


def preset(name: str, *, epochs: int | None = None, seed: int = 0, device: str = "cpu") -> Settings:
    """The settings of a preset.

    Args:
        name: "default", what measures best, "long", for trainings of many epochs, or "paper".
        epochs: epochs of training instead of the preset's.
        seed: seed of everything that is drawn.
        device: where the network runs.

    Raises:
        InputError: no preset has this name.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    chosen = PRESETS[name]
    recipe = chosen.recipe if epochs is None else replace(chosen.recipe, epochs=epochs)
    return replace(chosen, recipe=recipe, seed=seed, device=device)
