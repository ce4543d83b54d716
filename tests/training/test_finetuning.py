"""Trials find the plan that training mends, and nothing is tried where there is no choice."""

import copy
from dataclasses import replace

import pytest
import torch
from separable import coarse_codecs, payload_bytes, trained_task
from torch.utils.data import TensorDataset

from ravn import finetuning
from ravn.allocators import UniformAllocator
from ravn.batches import in_order
from ravn.codecs import Codec, EntropyCodec
from ravn.errors import InputError
from ravn.fidelity import performance_gap
from ravn.layers import weight_layers
from ravn.pipeline import compress
from ravn.plan import Budget
from ravn.progress import Silent
from ravn.settings import Settings
from ravn.stages import Coded, floor_of
from ravn.task import Task
from ravn.training import Recipe, train

SETTINGS = Settings(calibration_images=32, recipe=Recipe(epochs=8, batch_size=32, refit_every=4))


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_task()


def limit_bytes(task: Task, plan: dict[str, Codec]) -> int:
    """A limit that a plan fills, generous to what is not a code."""
    return payload_bytes(task.model, plan) + 4000


def test_one_plan_alone_needs_no_trial(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "train", None)
    plan = coarse_codecs(task.model)
    chosen = finetuning.most_trainable(task, task.model, [plan], 1, settings=SETTINGS, progress=Silent())
    assert chosen is plan


@pytest.mark.parametrize("sensible_first", [True, False])
def test_the_plan_that_training_mends_is_chosen(task: Task, *, sensible_first: bool) -> None:
    sensible = coarse_codecs(task.model)
    first, *rest = sensible
    # All bits to the small first layer, next to none to the others: nothing mends that.
    lopsided = {first: EntropyCodec(1e-4)} | {name: EntropyCodec(1e3) for name in rest}
    plans = [sensible, lopsided] if sensible_first else [lopsided, sensible]
    chosen = finetuning.most_trainable(
        task, task.model, plans, limit_bytes(task, sensible), settings=SETTINGS, progress=Silent()
    )
    assert chosen is sensible


def test_a_trial_leaves_the_task_and_the_global_generator_alone(task: Task) -> None:
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    state = torch.random.get_rng_state()
    plans = [coarse_codecs(task.model), coarse_codecs(task.model, 3.0)]
    quick = replace(SETTINGS, recipe=replace(SETTINGS.recipe, epochs=2))
    limit = limit_bytes(task, plans[0])
    first, second = (
        finetuning.most_trainable(task, task.model, plans, limit, settings=quick, progress=Silent()) for _ in range(2)
    )
    assert first is second
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


def test_training_imitates_a_teacher_where_there_is_one(task: Task) -> None:
    teacher = copy.deepcopy(task.model)
    last = list(teacher.parameters())[-1]
    with torch.no_grad():
        last.copy_(last + torch.linspace(-1.0, 1.0, len(last)))  # another opinion about every class
    taught = replace(task, teacher=teacher, teacher_name="t")
    plan, recipe = coarse_codecs(task.model), replace(SETTINGS.recipe, epochs=4)
    inputs = task.transform(next(in_order(task.validation, 64))[0])

    def gap(reference: torch.nn.Module, of: Task) -> float:
        """Divergence of what training gives from a network."""
        trained = train(of, task.model, plan, payload_bytes(task.model, plan), recipe=recipe)
        with torch.no_grad():
            return float(performance_gap(reference(inputs), trained.model(inputs)))

    assert gap(teacher, taught) < 0.5 * gap(teacher, task)
    assert gap(task.model, task) < 0.5 * gap(task.model, taught)


@pytest.mark.parametrize("spare", [0, 500])
def test_trained_codes_that_fit_are_written_as_they_are(task: Task, spare: int) -> None:
    plan, recipe = coarse_codecs(task.model), replace(SETTINGS.recipe, epochs=2)
    trained = train(task, task.model, plan, payload_bytes(task.model, plan), recipe=recipe)
    written = finetuning.encode_trained(task, trained, limit_bytes(task, plan) + spare, batches=[])
    assert written.codecs == trained.codecs
    network = written.quantized()
    assert all(torch.equal(network.get_parameter(name), trained.model.get_parameter(name)) for name in plan)


def test_trained_codes_that_do_not_fit_get_coarser_steps(task: Task) -> None:
    plan, recipe = coarse_codecs(task.model), replace(SETTINGS.recipe, epochs=2)
    trained = train(task, task.model, plan, payload_bytes(task.model, plan), recipe=recipe)
    spare = 4000 - floor_of(task, trained.model, weight_layers(task.model), 4000).overhead_bytes
    limit = limit_bytes(task, plan) - spare - 60
    written = finetuning.encode_trained(task, trained, limit, batches=[])
    assert all(written.codecs[name].step > codec.step for name, codec in trained.codecs.items())


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        (Recipe(epochs=0), "the teacher big has nothing to do"),
        (
            Recipe(epochs=1, distillation=0.0, labels=1.0),
            "the teacher big can't teach.* weighs them 0 and L_fidelity 0",
        ),
        (Recipe(epochs=1, fidelity=1.0), "the teacher big can't teach.* weighs them 1 and L_fidelity 1"),
    ],
)
def test_a_teacher_that_can_teach_nothing_is_refused_before_any_work(
    task: Task, recipe: Recipe, complaint: str
) -> None:
    taught = replace(task, teacher=task.model, teacher_name="big")
    with pytest.raises(InputError, match=complaint):
        compress(taught, Budget(bits_per_weight=4.0), UniformAllocator(), Settings(recipe=recipe))


def test_a_whole_run_sees_unlabeled_images_and_tells_of_them(task: Task) -> None:
    images = TensorDataset(task.train.tensors[0][:64])
    settings = replace(SETTINGS, evaluations=4, recipe=replace(SETTINGS.recipe, epochs=2))
    told = replace(task, unlabeled=images, unlabeled_name="more")
    with_them, without = (
        compress(of, Budget(bits_per_weight=16.0), UniformAllocator(), settings).result for of in (told, task)
    )
    assert (with_them.unlabeled, with_them.splits["unlabeled"]) == ("more", 64)
    assert (without.unlabeled, "unlabeled" in without.splits) == ("", False)
    assert with_them.training_curve != without.training_curve


@pytest.mark.parametrize(("temperature", "nearest"), [(1.0, 0), (4.0, 1)])
def test_candidates_are_judged_at_the_temperature_of_the_training(temperature: float, nearest: int) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 3))
    torch.nn.init.eye_(network[0].weight)
    images = TensorDataset(torch.tensor([[6.0, 0.0, -6.0]]).repeat(8, 1), torch.zeros(8, dtype=torch.long))
    # The first errs on a class that is improbable at temperature 1; the second, by less, on the likeliest one.
    candidates = []
    for bias in ([0.0, 0.0, 6.0], [-1.5, 0.0, 0.0]):
        candidate = copy.deepcopy(network)
        candidate[0].bias.data = network[0].bias.detach() + torch.tensor(bias)
        candidates.append(Coded(candidate, {}, {}))
    settings = Settings(recipe=Recipe(temperature=temperature))
    assert finetuning.nearest_to_float(Task(network, images, images), candidates, settings) is candidates[nearest]
