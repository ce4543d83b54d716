"""What was decided before training, kept in one file: a run that goes on decides nothing anew, on whatever machine.

Losses of other processors differ in their last bits, and so would the decision; and deciding takes its time: the search
is logged, but rounding and trials are not.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ravn.allocators.problem import Allocation
from ravn.codecs import Codec, Encoded, codec_from_config
from ravn.errors import InputError
from ravn.settings import Settings
from ravn.stages import Coded
from ravn.task import Task
from ravn.training.checkpoint import BROKEN, read_state, write_state

KEPT = "checkpoint-0.pt"
"""Name of the file in a run folder; `checkpoint-1.pt` is that of the first training."""


@dataclass(frozen=True)
class Beginning:
    """Where training begins.

    Args:
        plan: codec of every layer, to be trained under.
        untrained: the codes that stay if training doesn't help.
        allocation: what the search found; its selection is not kept.
        seconds: wall time of the stages so far, by name.
    """

    plan: Mapping[str, Codec]
    untrained: Coded
    allocation: Allocation
    seconds: Mapping[str, float]


def about(task: Task, limit_bytes: int, allocator: str, settings: Settings) -> dict[str, Any]:
    """A JSON-able description of all that a decision depends on, but for the images, which have only their name.

    Args:
        task: the network, the teacher and the data.
        limit_bytes: the largest file that makes sense.
        allocator: name of what decides.
        settings: all of them; where it computes is left out.
    """
    told = asdict(settings)
    for name in ("device", "workers"):
        del told[name]
    del told["recipe"]["compiled"]
    names = {"data": task.data_name, "teacher": task.teacher_name, "allocator": allocator}
    whole = {**names, "weights": _fingerprint(task.model), "limit_bytes": limit_bytes, "settings": told}
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain


def keep(path: Path, beginning: Beginning, run: Mapping[str, Any]) -> None:
    """Write the file; an interrupted write leaves none.

    Args:
        path: the file.
        beginning: its untrained codes are those of the task's own network.
        run: what `about` says.

    Raises:
        RavnError: it can't be written.
    """
    encoded, allocation = beginning.untrained.encoded, beginning.allocation
    notes = {
        "run": run,
        "plan": {name: codec.config() for name, codec in beginning.plan.items()},
        "untrained": {name: codec.config() for name, codec in beginning.untrained.codecs.items()},
        "encoded": {name: (e.codec, e.shape, e.dtype) for name, e in encoded.items()},
        "found": (allocation.evaluations, allocation.curve, allocation.outdone),
        "seconds": dict(beginning.seconds),
    }
    payloads = {name: _stored(e.payload) for name, e in encoded.items()}
    write_state(path, {"notes": json.dumps(notes), "payloads": payloads, "policy": _stored(allocation.policy)})


def kept(data: bytes, model: nn.Module, run: Mapping[str, Any], *, source: str) -> Beginning:
    """Read what `keep` wrote.

    Args:
        data: the bytes of the file.
        model: the task's network.
        run: what `about` says of the run that goes on.
        source: what the error message calls the file.

    Raises:
        InputError: it is broken, or another run's.
    """
    try:
        state, notes = read_state(data, run, torch.device("cpu"))
        plan, codecs = (
            {name: codec_from_config(config) for name, config in notes[part].items()} for part in ("plan", "untrained")
        )
        encoded = {
            name: Encoded(codec, tuple(shape), dtype, _bytes(state["payloads"][name]))
            for name, (codec, shape, dtype) in notes["encoded"].items()
        }
        evaluations, curve, outdone = notes["found"]
        steps = tuple((number, loss) for number, loss in curve)
        allocation = Allocation((), evaluations, steps, outdone, _bytes(state["policy"]))
        return Beginning(plan, Coded(model, codecs, encoded), allocation, dict(notes["seconds"]))
    except BROKEN as error:
        raise InputError(f"{source} doesn't hold what this run decided; delete it to decide anew") from error


def _stored(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _bytes(stored: Tensor) -> bytes:
    return stored.numpy().tobytes()


def _fingerprint(model: nn.Module) -> str:
    """A digest of all parameters and buffers, the same wherever the network is."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
