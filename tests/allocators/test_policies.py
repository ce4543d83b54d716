"""Files of policies: what was saved comes back, and whatever else is given is refused in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from ravn.allocators.policies import FORMAT, MOST_BYTES, Architecture, Weights, parsed, policy_bytes, read_policy
from ravn.errors import InputError

ARCHITECTURE = Architecture(features=6, width=20, actions=5, hidden=8)


def weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.normal(size=s).astype(np.float32) for n, s in ARCHITECTURE.shapes().items()}


def changed(**changes: np.ndarray | None) -> Weights:
    return {n: w for n, w in (weights() | changes).items() if w is not None}


def metadata(**words: object) -> dict[str, str]:
    known: dict[str, object] = {"features": 6, "width": 20, "actions": 5, "hidden": 8}
    return {FORMAT: json.dumps({k: v for k, v in (known | words).items() if v is not None})}


def test_a_policy_comes_back_from_its_file_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(policy_bytes(ARCHITECTURE, weights()))
    architecture, read = parsed(read_policy(path))
    assert architecture == ARCHITECTURE
    assert policy_bytes(architecture, read) == path.read_bytes()
    assert all(np.array_equal(read[name], weight) for name, weight in weights().items())


WHOLE = policy_bytes(ARCHITECTURE, weights())

FOREIGN = [
    b"",
    b"policy",
    b"\x80\x04\x95pickle",
    WHOLE[:4],
    WHOLE[:100],
    WHOLE[:-1],
    WHOLE + b"\0",
    b"\xff" * 8 + WHOLE[8:],
    (10).to_bytes(8, "little") + b'{"a": 1}  ',
    (2).to_bytes(8, "little") + b"[]",
    (80_000).to_bytes(8, "little") + b"[" * 80_000,
    save(weights()),
    save(weights(), {"ravn-policy-2": metadata()[FORMAT]}),
    save(weights(), {FORMAT: "five"}),
    save(weights(), {FORMAT: "[6, 20, 5, 8]"}),
    save(weights(), metadata(hidden=None)),
    save(weights(), metadata(hidden="eight")),
    save(weights(), metadata(hidden=-8)),
    save(weights(), metadata(hidden=10**30)),
    save(weights(), metadata(hidden=1e400)),
    save(weights(), metadata(depth=2)),
]


@pytest.mark.parametrize("data", FOREIGN)
def test_what_is_no_policy_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"odd\.safetensors is not a policy that ravn wrote; give the"):
        read_policy(path)


NAN = np.full(5, np.nan, np.float32)
DAMAGED = [
    save(weights(), metadata(hidden=7)),
    save(changed(**{"action_net.bias": None}), metadata()),
    save(changed(extra=np.zeros(1, np.float32)), metadata()),
    save(changed(**{"action_net.bias": np.zeros(4, np.float32)}), metadata()),
    save(changed(**{"action_net.bias": NAN}), metadata()),
    save(changed(**{"action_net.bias": np.zeros(5, np.float64)}), metadata()),
]


@pytest.mark.parametrize("data", DAMAGED)
def test_weights_that_do_not_belong_to_the_architecture_are_refused(data: bytes) -> None:
    assert load(data)
    with pytest.raises(InputError, match="the policy is damaged: "):
        parsed(data)


def test_a_file_that_is_missing_a_folder_or_huge_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="there is no policy"):
            read_policy(path)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(64 * MOST_BYTES)
    with pytest.raises(InputError, match="huge is not a policy"):
        read_policy(huge)
