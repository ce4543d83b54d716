"""The arms of the ablation differ by what they say, at equal bytes and equal epochs."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ravn import Budget, InputError, Settings, Task, compress
from ravn.allocators import KnapsackAllocator, PPOAllocator
from ravn.arms import ARMS, arm
from ravn.artifact import unpack
from ravn.codecs import CodebookCodec, TrellisCodec
from ravn.fixed_plans import FixedPlan, equal_codebooks
from ravn.layers import weight_layers
from ravn.progress import Silent
from ravn.settings import preset
from ravn.training import Recipe

SMALL = Settings(calibration_images=64, search_images=64, holdout_images=64, evaluations=12)
MARGIN = 48
"""Bytes that a file keeps for its header, and what rounding leaves."""


def task() -> Task:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = [nn.Conv2d(1, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU()]
        model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(24 * 16, 10)).eval()
    images = torch.rand(300, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (300,), generator=generator)
    return Task(model, TensorDataset(images[:256], labels[:256]), TensorDataset(images[256:], labels[256:]))


@pytest.mark.parametrize("epochs", [0, 1])
def test_all_arms_end_at_equal_bytes_after_equal_epochs(epochs: int) -> None:
    settings = replace(SMALL, recipe=Recipe(epochs=epochs, batch_size=64, mixed_precision=False))
    decider, changed = arm("vq", settings)
    vq = compress(task(), Budget(bits_per_weight=3.4), decider, changed)
    limit = len(vq.data)
    assert len(set(vq.plan.codecs.values())) == 1
    for name in ("aq", "rl+aq", "full"):
        decider, changed = arm(name, settings)
        assert changed.recipe.epochs == epochs
        compressed = compress(task(), Budget(size_bytes=limit), decider, changed)
        assert limit - MARGIN <= len(compressed.data) <= limit
        assert unpack(compressed.data).layers.keys() == compressed.plan.codecs.keys()


class Told(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)


def test_a_plan_without_a_rival_is_said_to_have_beaten_none() -> None:
    settings = replace(SMALL, recipe=Recipe(epochs=1, batch_size=64, mixed_precision=False))
    decider, changed = arm("vq", settings)
    told = Told()
    compress(task(), Budget(bits_per_weight=3.4), decider, changed, progress=told)
    assert "fine-tuning" in told.stages
    assert not [title for title in told.stages if "trial" in title or "equal plan" in title]


def test_the_codebooks_are_the_widest_that_fit() -> None:
    model = task().model
    layers = weight_layers(model)

    def size(codec: CodebookCodec) -> int:
        return sum(codec.encode(model.get_parameter(layer.name).detach()).size_bytes for layer in layers)

    for capacity in (2_500, 4_000):
        (plan,) = equal_codebooks(model, layers, capacity)
        (codec,) = set(plan.values())
        assert size(codec) <= capacity
        assert all(size(CodebookCodec(bits)) > capacity for bits in range(codec.bits + 1, 9))
    with pytest.raises(InputError, match="a capacity of 100 bytes can't be met"):
        equal_codebooks(model, layers, 100)


@pytest.mark.parametrize("name", ["default", "paper"])
def test_an_arm_takes_away_what_it_lacks_and_nothing_else(name: str) -> None:
    whole = preset(name, epochs=4, seed=3)
    deciders = {key: arm(key, whole) for key in ARMS}
    assert deciders["full"] == (PPOAllocator(3), whole)
    assert isinstance(deciders["vq"][0], FixedPlan)
    assert deciders["aq"][0] == KnapsackAllocator(3)
    assert deciders["rl+aq"] == (PPOAllocator(3), deciders["aq"][1])
    without = deciders["aq"][1]
    assert (without.fidelity, without.recipe.fidelity, without.clusters, without.trellis) == (0.0, 0.0, 0, False)
    for _, settings in deciders.values():
        assert (settings.seed, settings.recipe.epochs, settings.evaluations) == (3, 4, whole.evaluations)


def test_only_the_full_method_codes_weights_as_vectors() -> None:
    plans = {}
    for name in ("aq", "full"):
        decider, settings = arm(name, SMALL)
        plans[name] = compress(task(), Budget(bits_per_weight=3.4), decider, settings).plan.codecs.values()
    assert not any(isinstance(codec, TrellisCodec) for codec in plans["aq"])
    assert any(isinstance(codec, TrellisCodec) for codec in plans["full"])


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no arm 'rl'.*there are vq, aq, rl\+aq, full"):
        arm("rl", SMALL)
