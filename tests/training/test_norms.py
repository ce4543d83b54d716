"""Biases and norms are trained under weights that stay as they are, and never cost a byte too many."""

import copy
from dataclasses import replace

import pytest
import torch
from separable import coarse_codecs, trained_task
from torch import nn
from torch.utils.data import TensorDataset

from ravn import finetuning
from ravn.artifact import size_bytes
from ravn.encoding import encode_network
from ravn.errors import RavnError
from ravn.fidelity import performance_gap
from ravn.progress import Silent
from ravn.settings import Settings
from ravn.stages import Coded, artifact_of
from ravn.task import Task
from ravn.training import Recipe
from ravn.training.norms import steps_of, train_norms

RECIPE = Recipe(epochs=40, batch_size=32, learning_rate=1e-2, mixed_precision=False)


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_task(dropout=0.1)


@pytest.fixture(scope="module")
def coded(task: Task) -> Coded:
    codecs, spoiled = coarse_codecs(task.model), copy.deepcopy(task.model)
    with torch.no_grad():
        spoiled[1].weight.mul_(0.7)
        spoiled[6].bias.add_(torch.tensor([1.0, 0.0, -1.0, 0.0]))
    return Coded(spoiled, codecs, encode_network(task.model, codecs, []))


def gap(task: Task, network: nn.Module) -> float:
    inputs = task.validation.tensors[0]
    with torch.no_grad():
        return float(performance_gap(task.model.eval()(inputs), network(inputs)))


def file_bytes(task: Task, coded: Coded, limit_bytes: int) -> int:
    return size_bytes(artifact_of(task, coded, "equal", limit_bytes))


def test_they_bring_the_outputs_nearer_and_nothing_else_moves(task: Task, coded: Coded) -> None:
    network = coded.quantized()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    trained = train_norms(task, network, coded.encoded.keys(), recipe=RECIPE)
    assert gap(task, trained) < 0.9 * gap(task, network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    moved = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"1.weight", "1.bias", "6.bias"}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module.training for module in trained.modules())
    again = train_norms(task, network, coded.encoded.keys(), recipe=RECIPE)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in trained.state_dict().items())


def test_unlabeled_images_are_learned_on_too(task: Task, coded: Coded) -> None:
    strange = torch.full_like(task.validation.tensors[0][:40], 9.0)
    seen: list[int] = []

    def transform(batch: torch.Tensor) -> torch.Tensor:
        seen.append(int((batch.flatten(1).mean(1) > 5).sum()))
        return batch

    watched = replace(task, transform=transform, unlabeled=TensorDataset(strange), unlabeled_name="strange")
    train_norms(watched, coded.quantized(), coded.encoded.keys(), recipe=replace(RECIPE, epochs=4))
    assert sum(seen) >= len(strange)


def test_a_network_of_codes_alone_comes_back(task: Task) -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False))
    same = train_norms(replace(task, model=bare), bare, {"1.weight"}, recipe=RECIPE)
    assert torch.equal(same[1].weight, bare[1].weight)


def test_a_bad_gradient_names_the_bias(task: Task, coded: Coded) -> None:
    broken = replace(task, transform=lambda batch: batch * torch.nan)
    with pytest.raises(RavnError, match=r"loss became nan \(.* layer '0'\) in epoch 1, step 1"):
        train_norms(broken, coded.quantized(), coded.encoded.keys(), recipe=RECIPE)


def test_it_takes_a_share_of_the_training_and_400_steps_at_most() -> None:
    assert steps_of(Recipe(epochs=5), 45_000) == 400
    assert steps_of(Recipe(epochs=1, batch_size=10), 100) == 2
    assert steps_of(Recipe(epochs=1), 10) == 1


@pytest.mark.parametrize("spare", [0, 2, 100])
def test_the_polished_file_keeps_its_codes_and_its_limit(task: Task, coded: Coded, spare: int) -> None:
    limit = file_bytes(task, coded, 600) + spare
    found = finetuning.polished(
        task, coded, limit, allocator="equal", trained=True, settings=Settings(recipe=RECIPE), progress=Silent()
    )
    if found is None:
        assert not spare
        return
    assert file_bytes(task, found, limit) <= limit
    assert found.encoded == coded.encoded
    assert gap(task, found.quantized()) < gap(task, coded.quantized())


def test_without_room_there_is_none(task: Task, coded: Coded) -> None:
    limit = file_bytes(task, coded, 600) - 60
    assert (
        finetuning.polished(
            task, coded, limit, allocator="equal", trained=True, settings=Settings(recipe=RECIPE), progress=Silent()
        )
        is None
    )
