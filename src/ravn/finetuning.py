"""The stage that trains: which plan is worth it, the training, and the codes of what came out."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ravn.artifact import size_bytes
from ravn.batches import calibration_inputs, drawn, in_order, network_inputs, size
from ravn.batchnorm import NORM_IMAGES, canonical, reestimated, shortened
from ravn.codecs import Codec, Encoded
from ravn.encoding import encode_decided, encode_network, encode_within
from ravn.errors import InputError
from ravn.layers import set_weights, weight_layers
from ravn.progress import Later, Progress
from ravn.scoring import Judge
from ravn.settings import Settings
from ravn.stages import Coded, artifact_of, floor_of, mantissa_bits
from ravn.task import Task
from ravn.training import Recipe, Trained, mixed, train
from ravn.training.norms import train_norms

TRAINING_SHARE = 0.998
"""Share of the capacity that training aims at, so that what it ends with still fits: trained codes bear no rounding."""

TRIAL_SHARE, LONGEST_TRIAL = 0.15, 1.0
"""Length of a trial, as a share of the training, and in epochs at most."""

JUDGED_IMAGES, JUDGED_BATCH = 1024, 128
"""Validation images that choose between networks, and how many are judged at once."""

COARSER = 3
"""Bits of mantissa that polished biases and norms may lose if they don't fit otherwise."""


def most_trainable(
    task: Task,
    model: nn.Module,
    plans: Sequence[Mapping[str, Codec]],
    limit_bytes: int,
    *,
    settings: Settings,
    progress: Progress,
) -> Mapping[str, Codec]:
    """The plan under which a short training recovers most of the float network.

    What rounding hurts least is not what training mends best: a search without training favours the first layers,
    whose errors training takes care of (docs/experiments.md).

    Args:
        task: the float network and its images.
        model: network that holds the weights to start from.
        plans: candidates, without repetition; one alone needs no trial.
        limit_bytes: the largest allowed file.
        settings: recipe and seed; every trial sees the same images in the same order.
        progress: is told how far the work is.
    """
    if len(plans) == 1:
        return plans[0]
    images = max(round(min(TRIAL_SHARE * settings.recipe.epochs, LONGEST_TRIAL) * size(task.train)), 1)
    epochs = -(-images // size(task.train))
    short = replace(task, train=drawn(task.train, -(-images // epochs), settings.seed), unlabeled=None)
    trial = replace(settings, recipe=replace(settings.recipe, epochs=epochs))
    judge, losses = _judge(task, settings), []
    for number, plan in enumerate(plans):
        progress.stage(f"trial {number + 1} of {len(plans)}: how well training mends a plan")
        trained = _train(short, Coded(model, dict(plan), {}), limit_bytes, trial, None, Later(progress, None))
        losses.append(_distance(judge, reestimated(trained.model, _norm_inputs(task, settings)), settings))
    return plans[losses.index(min(losses))]


def fine_tune(
    task: Task,
    coded: Coded,
    limit_bytes: int,
    *,
    settings: Settings,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[Coded, Trained]:
    """Train the weights under the plan, and encode what came out."""
    trained = _train(task, coded, limit_bytes, settings, checkpoint, progress)
    return encode_trained(task, trained, limit_bytes, batches=_norm_inputs(task, settings)), trained


def _train(
    task: Task, coded: Coded, limit_bytes: int, settings: Settings, checkpoint: Path | None, progress: Progress
) -> Trained:
    capacity = limit_bytes - floor_of(task, coded.model, weight_layers(coded.model), limit_bytes).overhead_bytes
    return train(
        task,
        coded.model,
        coded.codecs,
        round(TRAINING_SHARE * capacity),
        recipe=settings.recipe,
        seed=settings.seed,
        checkpoint=checkpoint,
        progress=progress,
    )


def _norm_inputs(task: Task, settings: Settings) -> list[Tensor]:
    """What batch norms are re-estimated on; nothing where training left their statistics alone."""
    if not settings.recipe.batch_statistics:
        return []
    return calibration_inputs(task, NORM_IMAGES, seed=settings.seed, device=torch.device(settings.device))


def encode_trained(task: Task, trained: Trained, limit_bytes: int, *, batches: Sequence[Tensor]) -> Coded:
    """Encode trained weights as they were trained: rounded without compensation, their steps kept if they fit.

    Finer steps would fill what bytes are left, but that is worth less than the codes that training has settled on.
    Batch norms are re-estimated on the final codes, and may deflate worse than before: the bytes that are left for the
    codes are known only afterwards.
    """
    latent = copy.deepcopy(trained.model)
    set_weights(latent, trained.latents.items())
    layers = weight_layers(latent)

    def encode(used: Mapping[str, Codec], rate_price: float) -> dict[str, Encoded]:
        """Encode all layers."""
        return encode_network(latent, used, [], rate_price=rate_price)

    capacity = limit_bytes - floor_of(task, latent, layers, limit_bytes).overhead_bytes
    while True:
        codecs, encoded = trained.codecs, _as_decided(latent, trained)
        if sum(e.size_bytes for e in encoded.values()) > capacity:
            codecs, encoded = encode_within(encode, codecs, capacity, passes=16, tolerance=1 - TRAINING_SHARE**2)
        model = reestimated(Coded(latent, codecs, encoded).quantized(), batches)
        set_weights(model, trained.latents.items())
        overhead = floor_of(task, model, layers, limit_bytes).overhead_bytes
        excess = overhead + sum(e.size_bytes for e in encoded.values()) - limit_bytes
        if excess <= 0:
            return Coded(model, codecs, encoded)
        capacity -= excess


def _as_decided(latent: nn.Module, trained: Trained) -> dict[str, Encoded]:
    """The codes that training has ended with."""
    weight, quantized = latent.get_parameter, trained.model.get_parameter
    return {n: encode_decided(weight(n).detach(), c, quantized(n).detach()) for n, c in trained.codecs.items()}


def polished(
    task: Task,
    coded: Coded,
    limit_bytes: int,
    *,
    allocator: str,
    trained: bool,
    settings: Settings,
    progress: Progress,
) -> Coded | None:
    """The same codes under biases and norms that were trained for them; None where these don't fit beside the codes.

    Where they take too many bytes they are rounded more coarsely, by up to `COARSER` bits of mantissa.

    Args:
        task: the float network and its images.
        coded: what the file would hold otherwise.
        limit_bytes: the largest allowed file.
        allocator: name of what decided bit-widths, which the file holds too.
        trained: whether the codes are; biases and norms beside them are nearly right, and need the smaller moves.
        settings: recipe and seed of the training before.
        progress: is told how far the work is.
    """
    recipe = settings.recipe
    if not trained:
        recipe = replace(recipe, learning_rate=recipe.learning_rate * recipe.other_rate)
    network = train_norms(
        task, coded.quantized(), coded.encoded.keys(), recipe=recipe, seed=settings.seed, progress=progress
    )
    kept = mantissa_bits(network, limit_bytes)
    for bits in range(kept, max(kept - COARSER, 1) - 1, -1):
        rounded = replace(coded, model=_rounded(network, coded.encoded.keys(), bits))
        if size_bytes(artifact_of(task, rounded, allocator, limit_bytes)) <= limit_bytes:
            return rounded
    return None


def _rounded(network: nn.Module, codes: Collection[str], mantissa_bits: int) -> nn.Module:
    """A copy whose biases and norms are what a file of these bits would hold."""
    network = copy.deepcopy(network)
    network.load_state_dict(canonical(network))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name not in codes and parameter.is_floating_point():
                parameter.copy_(shortened(parameter, mantissa_bits))
    return network


def nearest_to_float(task: Task, candidates: Sequence[Coded], settings: Settings) -> Coded:
    """The candidate nearest to the float network on validation images, which training has not seen; unlabelled.

    The images are blended with one another: the float network may have been trained on them, and is sure of its
    answers there. Where a teacher has taught, the nearest to the teacher.
    """
    judge = _judge(task, settings)
    return min(candidates, key=lambda coded: _distance(judge, coded.quantized(), settings))


def _distance(judge: Judge, network: nn.Module, settings: Settings) -> float:
    """L_RAVN (Eq. 7) as training has it, L_fidelity as heavy: what training neglects must not judge it."""
    fidelity, gap = judge.parts(network)
    return settings.recipe.fidelity * fidelity + settings.trade_off * gap


def _judge(task: Task, settings: Settings) -> Judge:
    batches = islice(in_order(task.validation, JUDGED_BATCH), -(-JUDGED_IMAGES // JUDGED_BATCH))
    generator = Generator().manual_seed(settings.seed)
    images = (network_inputs(stored, task.transform, settings.device) for stored, _ in batches)
    inputs = [mixed(batch, 1.0, generator) for batch in images]
    reference = task.teacher or task.model
    return Judge(
        reference.to(settings.device).eval(),
        [layer.name for layer in weight_layers(task.model)],
        inputs,
        settings.trade_off,
        fidelity=float(task.teacher is None),
        temperature=settings.recipe.temperature,
    )


def ensure_teachable(task: Task, recipe: Recipe) -> None:
    """A teacher is another network: its outputs can be imitated, its layers can't. Unlabeled images have no labels.

    Raises:
        InputError: the recipe trains nothing, or not by the teacher's outputs alone, or by labels that aren't there.
    """
    if task.unlabeled is not None:
        _ensure_label_free(task.unlabeled_name, recipe)
    if task.teacher is None:
        return
    if not recipe.epochs:
        raise InputError(f"the teacher {task.teacher_name} has nothing to do: no epochs of training were asked for")
    if recipe.fidelity or not recipe.distillation:
        raise InputError(
            f"the teacher {task.teacher_name} can't teach: only outputs are imitated, and this recipe weighs them"
            f" {recipe.distillation:g} and L_fidelity {recipe.fidelity:g}; take the default preset"
        )


def _ensure_label_free(name: str, recipe: Recipe) -> None:
    if not recipe.epochs:
        raise InputError(f"the unlabeled images of {name} are for training, and no epochs of it were asked for")
    if recipe.labels:
        raise InputError(
            f"the unlabeled images of {name} have no labels, and this recipe weighs them {recipe.labels:g};"
            " take the default preset"
        )
