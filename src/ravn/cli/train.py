"""`ravn train`: float weights for a network that has no public checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from ravn.adapters import make_task
from ravn.adapters.weights import weights_bytes
from ravn.batches import size
from ravn.cli.options import Data, Device, Normalize, Seed, TensorBoard, chosen_device
from ravn.cli.progress import listening, output
from ravn.errors import InputError
from ravn.metrics import top1_accuracy
from ravn.training import processes
from ravn.training.from_scratch import FloatRecipe, train_from_scratch
from ravn.writing import write_atomic

SUFFIX = ".safetensors"


def train(  # noqa: PLR0913 - one option each
    model: Annotated[str, typer.Option(help="cifar:NAME | timm:NAME | python:package.module:factory", metavar="NAME")],
    data: Data,
    out: Annotated[Path, typer.Option(help="The float weights: a .safetensors file.")],
    epochs: Annotated[int, typer.Option(help="Passes over the training images.", min=1)] = FloatRecipe.epochs,
    normalize: Normalize = None,
    batch_size: Annotated[int, typer.Option(help="Images of a step.", min=1)] = FloatRecipe.batch_size,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate of SGD.", min=0.0, max=1e3)
    ] = FloatRecipe.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="Of the weights.", min=0.0, max=1e3)] = FloatRecipe.weight_decay,
    label_smoothing: Annotated[float, typer.Option(help="Spread over all classes.", min=0.0, max=0.99)] = 0.0,
    averaging: Annotated[float, typer.Option(help="Decay of the weights' mean; 0: none.", min=0.0, max=0.99999)] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training of OUT.")] = False,
    tensorboard: TensorBoard = False,
) -> None:
    """Train a float network on labelled images; it goes on after an interruption when given --resume."""
    checkpoint = out.with_name(out.name + ".checkpoint")
    recipe = FloatRecipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        averaging=averaging,
    )
    place = chosen_device(device)
    with processes.joined(place):
        first = processes.is_first()
        if first:
            _ensure_writable(out, checkpoint, resume=resume)
        task = make_task(model, data, normalize=normalize, seed=seed, pretrained=False)
        task.model.to(place)
        with listening(out.with_name(out.name + ".tensorboard") if tensorboard else None) as progress:
            if first:
                out.parent.mkdir(parents=True, exist_ok=True)
            progress.stage(f"training {model} on {size(task.train):,} images of {task.data_name}")
            train_from_scratch(task, recipe, seed=seed, checkpoint=checkpoint, progress=progress)
    if first:
        test = task.test if task.test is not None else task.validation
        accuracy = top1_accuracy(task.model, test, task.transform)
        write_atomic(out, weights_bytes(task.model.cpu()))
        checkpoint.unlink(missing_ok=True)
        output().print(f"{out}: {accuracy:.2f} % of {size(test):,} test images", soft_wrap=True)


def _ensure_writable(out: Path, checkpoint: Path, *, resume: bool) -> None:
    if out.suffix != SUFFIX:
        raise InputError(f"--out {out} has to end in {SUFFIX}")
    if out.exists():
        raise InputError(f"--out {out} is there already; give another name, or delete it to train again")
    if resume and not checkpoint.is_file():
        raise InputError(f"--resume: there is no {checkpoint} to go on with; leave --resume out to begin")
    if not resume and checkpoint.exists():
        raise InputError(f"--out {out} was begun already; give --resume to go on, or delete {checkpoint}")
