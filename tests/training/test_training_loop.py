"""Training repairs a crushed network, touches nothing else, and repeats itself to the bit."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from separable import Tracked, coarse_codecs, noisy_patterns, payload_bytes
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

from ravn.batches import calibration_inputs
from ravn.batchnorm import NORM_IMAGES, reestimated
from ravn.codecs import ClusterCodec, CodebookCodec, Codec, decoded
from ravn.distances import DISTANCES
from ravn.encoding import encode_network
from ravn.errors import RavnError
from ravn.fidelity import performance_gap
from ravn.layers import set_weights
from ravn.metrics import top1_accuracy
from ravn.progress import Silent
from ravn.task import Task
from ravn.training import Recipe, Trained, mixed, train
from ravn.training.divergence import Place, check_gradients
from ravn.training.loop import training_mode
from ravn.training.objective import Objective
from ravn.training.straight_through import StraightThrough

FAST = Recipe(epochs=3, batch_size=32, learning_rate=3e-3, refit_every=5)
CLUSTERS = ClusterCodec((0, 1, 0))


def crushed(model: nn.Module, codecs: dict[str, Codec]) -> nn.Module:
    network = copy.deepcopy(model)
    encoded = encode_network(model, codecs, [])
    set_weights(network, [(name, decoded(e)) for name, e in encoded.items()])
    return network


def run(task: Task, recipe: Recipe = FAST, *, seed: int = 0, start: nn.Module | None = None) -> Trained:
    codecs = coarse_codecs(task.model)
    capacity = round(0.9 * payload_bytes(task.model, codecs))
    return train(task, start or crushed(task.model, codecs), codecs, capacity, recipe=recipe, seed=seed)


def gap(task: Task, model: nn.Module) -> float:
    inputs = task.validation.tensors[0]
    with torch.no_grad():
        return float(performance_gap(task.model(inputs), model.eval()(inputs)))


def states(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[n]) for n, v in first.items())


@pytest.mark.parametrize("kind", ["entropy", "cluster"])
def test_training_repairs_a_crushed_network_within_its_bytes(task: Task, kind: str) -> None:
    codecs = coarse_codecs(task.model)
    if kind == "cluster":
        codecs = dict.fromkeys(codecs, ClusterCodec((0, 0)))
    start, capacity = crushed(task.model, codecs), payload_bytes(task.model, codecs)
    recipe = replace(FAST, epochs=6, learning_rate=0.01, distillation=1.0, labels=0.0)
    trained = train(task, start, codecs, capacity, recipe=recipe)
    assert gap(task, trained.model) < 0.8 * gap(task, start)
    accuracy = top1_accuracy(trained.model, task.validation, task.transform)
    assert accuracy > top1_accuracy(start, task.validation, task.transform)
    assert [epoch for epoch, _, _ in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert trained.curve[-1][1] < trained.curve[0][1]
    assert trained.curve[-1][2] == accuracy
    if kind == "cluster":
        assert trained.codecs == codecs
    else:
        latent = copy.deepcopy(trained.model)
        set_weights(latent, trained.latents.items())
        assert abs(payload_bytes(latent, trained.codecs) - capacity) <= 0.05 * capacity


@pytest.mark.parametrize("kind", ["entropy", "cluster"])
def test_the_trained_network_is_what_its_latent_weights_encode_to(task: Task, kind: str) -> None:
    codecs = coarse_codecs(task.model)
    if kind == "cluster":
        codecs = dict.fromkeys(codecs, CLUSTERS)
    capacity = payload_bytes(task.model, codecs)
    trained = train(task, crushed(task.model, codecs), codecs, capacity, recipe=replace(FAST, epochs=1))
    latent = copy.deepcopy(trained.model)
    set_weights(latent, trained.latents.items())
    for name, encoded in encode_network(latent, trained.codecs, []).items():
        assert torch.equal(decoded(encoded), trained.model.get_parameter(name))


def test_the_same_seed_gives_the_same_bits_whatever_else_was_drawn(task: Task) -> None:
    first = run(task)
    torch.rand(5)
    again, other = run(task), run(task, seed=1)
    assert same(first.latents, again.latents)
    assert same(first.model.state_dict(), again.model.state_dict())
    assert (first.codecs, first.curve) == (again.codecs, again.curve)
    assert not same(first.latents, other.latents)


def test_every_epoch_has_an_order_of_its_own(task: Task) -> None:
    epochs: dict[str, list[Tensor]] = {}

    def progress(batches, title, total):
        epochs[title] = [labels for _, labels in batches]
        assert len(epochs[title]) == total
        return zip([torch.zeros(2, 1, 8, 8)], [torch.zeros(2, dtype=torch.long)], strict=True)

    train(task, task.model, coarse_codecs(task.model), 120, recipe=FAST, progress=Tracked(progress))
    assert list(epochs) == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    first, second, third = (torch.cat(batches).tolist() for batches in epochs.values())
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != second != third != first


def test_every_step_tells_its_figures_and_every_epoch_its_accuracy(task: Task) -> None:
    told: list[tuple[int, dict[str, float]]] = []

    class Listening(Silent):
        def figures(self, step: int, values: dict[str, float]) -> None:
            told.append((step, dict(values)))

    codecs = coarse_codecs(task.model)
    capacity = round(0.9 * payload_bytes(task.model, codecs))
    recipe = replace(FAST, epochs=2, fidelity=0.5)
    trained = train(task, task.model, codecs, capacity, recipe=recipe, progress=Listening())
    steps = [values for _, values in told if "loss/total" in values]
    assert [step for step, values in told if "loss/total" in values] == list(range(1, 17))
    for values in steps:
        parts = 0.5 * values["loss/fidelity"] + values["loss/lambda"] * values["loss/performance gap"]
        assert values["loss/total"] == pytest.approx(parts, rel=1e-5)
        assert (
            values["learning rate"] <= FAST.learning_rate * FAST.decay_per_bit ** (values["bits per weight"] - 1) * 1.2
        )
    weights = sum(latent.numel() for latent in trained.latents.values())
    assert steps[-1]["bits per weight"] == pytest.approx(8 * capacity / weights, rel=0.1)
    epochs = [(step, values["validation/accuracy"]) for step, values in told if "validation/accuracy" in values]
    assert epochs == [(8, trained.curve[0][2]), (16, trained.curve[1][2])]


def test_training_starts_from_the_float_weights_and_shows_them_quantized(task: Task) -> None:
    codecs = coarse_codecs(task.model)
    trained = train(task, task.model, codecs, 10**6, recipe=replace(FAST, epochs=0))
    for name in codecs:
        assert torch.equal(trained.latents[name], task.model.get_parameter(name))
        assert not torch.equal(trained.model.get_parameter(name), task.model.get_parameter(name))


def test_the_callers_random_numbers_go_on_undisturbed(task: Task) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run(task, replace(FAST, epochs=1))
    assert torch.equal(torch.rand(4), expected)


def test_teacher_and_start_stay_as_they_were(task: Task) -> None:
    teacher = copy.deepcopy(task.model).train()
    teacher[1].eval()
    start = crushed(teacher, coarse_codecs(teacher))
    modes = [module.training for module in teacher.modules()]
    before, began = states(teacher), states(start)
    run(replace(task, model=teacher), replace(FAST, fidelity=1.0), start=start)
    assert same(before, teacher.state_dict())
    assert same(began, start.state_dict())
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(module._forward_hooks for module in teacher.modules())


def test_without_their_weight_the_labels_are_never_looked_at(task: Task) -> None:
    inputs, labels = task.train.tensors
    unlabelled = replace(task, train=TensorDataset(inputs, torch.full_like(labels, -1)))
    recipe = replace(FAST, epochs=1, labels=0.0, distillation=1.0, fidelity=1.0)
    assert same(run(task, recipe).latents, run(unlabelled, recipe).latents)
    with pytest.raises(IndexError, match="-1"):
        run(unlabelled, replace(recipe, labels=0.1))


def test_training_learns_the_outputs_on_unlabeled_images_too(task: Task) -> None:
    inputs, labels = task.train.tensors
    few = replace(task, train=TensorDataset(inputs[:64], labels[:64]))
    recipe = replace(FAST, epochs=4)
    whole = run(replace(task, train=TensorDataset(inputs, labels)), recipe)
    for unlabeled in (TensorDataset(inputs[64:]), Subset(task.train, range(64, len(labels)))):
        more = run(replace(few, unlabeled=unlabeled), recipe)
        assert same(more.latents, whole.latents)
        assert more.curve == whole.curve
    assert not same(run(few, recipe).latents, whole.latents)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_the_loss_is_what_the_recipe_says(task: Task, *, batch_statistics: bool) -> None:
    teacher = copy.deepcopy(task.model)
    teacher[5].p = 0.0
    still = replace(task, model=teacher, train=noisy_patterns(64, 3), augment=lambda batch, _: batch)
    recipe = Recipe(
        mixed_precision=False,
        epochs=1,
        batch_size=64,
        learning_rate=0.0,
        fidelity=0.5,
        distillation=0.7,
        temperature=2.5,
        labels=0.3,
        batch_statistics=batch_statistics,
    )
    codecs: dict[str, Codec] = dict.fromkeys(coarse_codecs(teacher), CLUSTERS)
    trained = train(still, crushed(teacher, codecs), codecs, 10**6, recipe=recipe)
    inputs, labels = still.train.tensors
    with torch.no_grad():
        student = training_mode(copy.deepcopy(trained.model), batch_statistics=batch_statistics)
        reference, ours = (network[:2](inputs) for network in (teacher, student))
        goal, logits = (network(inputs).double() for network in (teacher, student))
    fidelity = sum(float((f - q).square().sum() / f.square().sum()) / 2 for f, q in ((reference, ours), (goal, logits)))
    p, q = ((scores / 2.5).softmax(1) for scores in (goal, logits))
    divergence = 2.5**2 * float((p * (p.log() - q.log())).sum()) / len(inputs)
    likely = logits.softmax(1)
    surprise = -sum(math.log(float(row[label])) for row, label in zip(likely, labels, strict=True)) / len(inputs)
    expected = 0.5 * fidelity + 0.7 * divergence + 0.3 * surprise
    assert trained.curve[0][1] == pytest.approx(expected, rel=1e-4)


def test_batch_norms_keep_the_statistics_of_the_float_network_unless_asked(task: Task) -> None:
    teacher, ours = dict(task.model.named_buffers()), dict(run(task).model.named_buffers())
    assert all(torch.equal(value, ours[name]) for name, value in teacher.items())
    followed = dict(run(task, replace(FAST, batch_statistics=True)).model.named_buffers())
    assert not torch.equal(followed["1.running_mean"], teacher["1.running_mean"])


def test_batch_norms_begin_with_the_statistics_that_codebooks_give_them(task: Task) -> None:
    codecs: dict[str, Codec] = dict.fromkeys(coarse_codecs(task.model), CodebookCodec(1))
    recipe = replace(FAST, epochs=1, learning_rate=0.0)
    still = train(task, task.model, codecs, 1000, recipe=recipe, seed=3).model
    inputs = calibration_inputs(task, NORM_IMAGES, seed=3, device=torch.device("cpu"))
    again = dict(reestimated(still, inputs).named_buffers())
    assert all(torch.equal(value, again[name]) for name, value in still.named_buffers())
    assert not torch.equal(again["1.running_var"], dict(task.model.named_buffers())["1.running_var"])
    assert gap(task, still) < gap(task, crushed(task.model, codecs))


def test_a_network_of_half_precision_is_trained(task: Task) -> None:
    halved = copy.deepcopy(task.model).to(torch.bfloat16)
    half = replace(task, model=halved, transform=lambda batch: batch.to(torch.bfloat16))
    trained = run(half, replace(FAST, epochs=1))
    assert trained.curve[0][2] > 50
    assert trained.model.get_parameter("0.weight").dtype == torch.bfloat16


def test_frozen_weights_are_trained_too(task: Task) -> None:
    frozen = replace(task, model=copy.deepcopy(task.model).requires_grad_(False))
    trained, still = run(frozen, replace(FAST, epochs=1)), run(frozen, replace(FAST, epochs=0))
    assert all(not torch.equal(latent, still.latents[name]) for name, latent in trained.latents.items())
    assert torch.equal(trained.model.get_parameter("6.bias"), frozen.model.get_parameter("6.bias"))


def test_a_loss_that_is_not_finite_says_where(task: Task) -> None:
    calls = []

    def poisoned(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        return batch * (math.nan if len(calls) == 12 else 1.0)

    # An epoch takes eight batches, and validation one: the twelfth is the third of the second epoch.
    with pytest.raises(RavnError, match=r"loss became nan \(.* layer '0'\) in epoch 2, step 3; give a learning rate"):
        run(replace(task, transform=poisoned))


def test_a_gradient_that_is_not_finite_names_its_layer(task: Task) -> None:
    start = copy.deepcopy(task.model)
    start[6].weight.register_hook(lambda gradient: gradient * math.inf)
    objective = Objective(task, start, FAST)
    quantized = StraightThrough(start, coarse_codecs(start), 10**4, dict(start.named_parameters()))
    inputs, labels = task.train.tensors
    quantized.refit()
    objective.backward(inputs[:32], labels[:32], torch.Generator().manual_seed(0))
    quantized.take_gradients()
    with pytest.raises(RavnError, match=r"gradient of '6.weight' became infinite or NaN in epoch 1, step 5"):
        check_gradients(quantized.latents, Place(0, 4, 1e-3))


@given(st.integers(1, 40))
@settings(deadline=None, derandomize=True, max_examples=10)
def test_parts_of_a_batch_add_up_to_its_gradient(task: Task, parts: int) -> None:
    inputs, labels = (tensor[:37] for tensor in task.train.tensors)
    found = []
    for accumulate in (1, parts):
        model = copy.deepcopy(task.model).requires_grad_()
        with torch.no_grad():
            model[6].weight.mul_(0.5)
        recipe = replace(FAST, batch_size=64, accumulate=accumulate, mixed_precision=False, labels=0.3)
        loss = Objective(task, model, recipe).backward(inputs, labels, torch.Generator().manual_seed(0))
        found.append((loss, [p.grad for p in model.parameters()]))
    (loss, whole), (other, summed) = found
    assert other == pytest.approx(loss, rel=1e-5)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(whole, summed, strict=True))


def test_lambda_rises_while_the_gap_is_too_large_and_never_falls_below_zero(task: Task) -> None:
    inputs, labels = task.train.tensors
    recipe = replace(FAST, fidelity=1.0, dual_rate=0.5, mixing=0.0, mixed_precision=False)
    crushing = crushed(task.model, coarse_codecs(task.model))
    gaps = float(performance_gap(*(network.eval()(inputs) for network in (task.model, crushing))).detach())
    for tolerance, expected in ((0.0, 1 + 0.5 * gaps), (1e3, 0.0)):
        objective = Objective(task, crushing, replace(recipe, tolerance=tolerance))
        objective.backward(inputs, labels, torch.Generator().manual_seed(0))
        assert objective.trade_off == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_every_distance_can_be_trained_for(task: Task, distance: str) -> None:
    recipe = replace(FAST, epochs=1, fidelity=1.0, distance=distance, dual_rate=0.1, tolerance=0.01)
    assert math.isfinite(run(task, recipe).curve[0][1])


@pytest.mark.parametrize("rate", [1e16, 1e30])
def test_diverging_weights_say_where(task: Task, rate: float) -> None:
    with pytest.raises(RavnError, match=r"in epoch 1, step \d+; give a learning rate below 1e\+"):
        run(task, replace(FAST, learning_rate=rate))


@given(st.floats(0, 0.99), st.floats(0, 1), st.lists(st.floats(0, 1), min_size=2, max_size=5))
@settings(deadline=None, derandomize=True)
def test_the_rate_rises_straight_and_falls_to_the_final_rate(warmup: float, final: float, shares: list[float]) -> None:
    recipe = Recipe(warmup=warmup, final_rate=final)
    assert recipe.rate(1.0) == pytest.approx(final, abs=1e-9)
    assert recipe.rate(warmup) == pytest.approx(1.0)
    assert recipe.rate(warmup / 4) == pytest.approx(0.25 if warmup else 1.0)
    assert recipe.rate((1 + warmup) / 2) == pytest.approx((1 + final) / 2)
    falling = [recipe.rate(warmup + (1 - warmup) * share) for share in sorted(shares)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(falling))


def test_a_rate_may_rise_all_the_way() -> None:
    assert [Recipe(warmup=1.0).rate(share) for share in (0.25, 1.0)] == [0.25, 1.0]


@pytest.mark.parametrize("shape", [(64, 3, 4, 4), (64, 5)])
def test_mixed_inputs_lie_between_themselves_and_others(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for share in (0.0, 0.5, 1.0):
        blended = mixed(inputs, share, torch.Generator().manual_seed(2))
        assert torch.equal(blended, mixed(inputs, share, torch.Generator().manual_seed(2)))
        moved = (blended != inputs).flatten(1).any(1).float().mean()
        assert abs(float(moved) - share) < 0.2
        others = inputs[torch.randperm(64, generator=_after_draws(shape))]
        assert ((blended - inputs).abs() <= 0.5 * (others - inputs).abs() + 1e-6).all()


def _after_draws(shape: tuple[int, ...]) -> torch.Generator:
    """The generator as it stands when the partners are drawn."""
    generator = torch.Generator().manual_seed(2)
    torch.rand((2, shape[0], *[1] * (len(shape) - 1)), generator=generator)
    return generator


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_of_any_dimension_are_trained(convolution: type[nn.Module]) -> None:
    torch.manual_seed(0)
    shape = (24, 1, *(5,) * (convolution(1, 1, 1).weight.dim() - 2))
    network = nn.Sequential(convolution(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(2, *shape[1:]))
    images = TensorDataset(torch.randn(shape), torch.randint(3, (24,)))
    task = Task(network.eval(), images, images)
    trained = run(task, replace(FAST, epochs=1, batch_size=8), start=network)
    assert not torch.equal(trained.latents["0.weight"], network[0].weight)
