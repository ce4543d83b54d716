"""A run folder is begun once, goes on with its own options alone, and leaves nothing where nothing was begun."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ravn.cli.app import run
from ravn.cli.options import chosen_budgets, chosen_device
from ravn.cli.run_folder import CONFIG, ensure_free, finished, is_run, open_run
from ravn.errors import InputError
from ravn.plan import Budget

OPTIONS: dict[str, Any] = {"model": "digits:resnet8", "bits": "2.0", "seed": 0, "weights": None, "baselines": False}
quick = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
told = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=9) | st.floats(allow_nan=False)
changes = st.dictionaries(st.sampled_from(list(OPTIONS)), told)


class StoppedError(Exception):
    """Ends a run."""


def begin(folder: Path, options: dict[str, Any], *, resume: bool = False, leaves: str = "") -> None:
    """A run that stops; it may leave a file that is worth resuming."""
    with suppress(StoppedError), open_run(folder, options, resume=resume):
        if leaves:
            (folder / leaves).touch()
        raise StoppedError


def test_a_run_that_leaves_nothing_leaves_no_folder(tmp_path: Path) -> None:
    begin(tmp_path / "a" / "r", OPTIONS)
    assert not (tmp_path / "a" / "r").exists()
    (tmp_path / "mine").mkdir()
    begin(tmp_path / "mine", OPTIONS)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_leaves_something_is_kept_with_its_options(tmp_path: Path) -> None:
    begin(tmp_path / "r", OPTIONS | {"weights": Path("a b.pt")}, leaves="search-1.jsonl")
    assert is_run(tmp_path / "r")
    assert finished(tmp_path / "r") is None
    noted = yaml.safe_load((tmp_path / "r" / CONFIG).read_text())
    assert noted == OPTIONS | {"weights": "a b.pt", "threads": torch.get_num_threads()}
    assert {path.name for path in (tmp_path / "r").iterdir()} == {CONFIG, "search-1.jsonl"}


@given(first=changes, second=changes)
@quick
def test_a_run_goes_on_with_the_same_options_alone(first, second, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("run") / "r"
    first, second = OPTIONS | first, OPTIONS | second
    begin(folder, first, leaves="search-1.jsonl")
    before = (folder / CONFIG).read_bytes()
    with pytest.raises(InputError, match="holds a run already; give --resume"), open_run(folder, second, resume=False):
        pytest.fail("it began")
    if first == second:
        begin(folder, second, resume=True)
    else:
        with pytest.raises(InputError) as caught, open_run(folder, second, resume=True):
            pytest.fail("it began")
        changed = min(name for name in OPTIONS if first[name] != second[name])
        assert f"--resume: the run in {folder} was begun with" in str(caught.value)
        assert f"--{changed}" in str(caught.value)
        assert str(caught.value).isprintable()
        assert (folder / CONFIG).read_bytes() == before


@pytest.mark.parametrize(("noted", "taken"), [(3, 3), (None, 2), ("4", 2), (0, 2), (-1, 2), (10**9, 2)])
def test_a_run_goes_on_with_as_many_threads_as_it_began_with(noted, taken, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        begin(tmp_path / "r", OPTIONS, leaves="search-1.jsonl")
        (tmp_path / "r" / CONFIG).write_text(yaml.safe_dump(OPTIONS | {"threads": noted}))
        torch.set_num_threads(2)
        begin(tmp_path / "r", OPTIONS, resume=True)
        assert torch.get_num_threads() == taken
        assert yaml.safe_load((tmp_path / "r" / CONFIG).read_text())["threads"] == taken
    finally:
        torch.set_num_threads(before)


def test_nothing_to_go_on_with_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="holds no run to go on with"), open_run(folder, OPTIONS, resume=True):
            pytest.fail("it began")
    assert not (tmp_path / "none").exists()


def test_a_folder_is_free_when_it_is_absent_empty_or_marked(tmp_path: Path) -> None:
    ensure_free(tmp_path / "absent")
    ensure_free(tmp_path)
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match="holds files of something else"):
        ensure_free(tmp_path)
    ensure_free(tmp_path, "mine")
    with pytest.raises(InputError, match="is a file; give a folder"):
        ensure_free(tmp_path / "mine")


@given(st.lists(st.floats(1e-3, 1e3).map(lambda value: round(value, 3)), min_size=1, max_size=5, unique=True))
@quick
def test_several_budgets_are_told_apart_by_their_folders(values: list[float]) -> None:
    budgets = chosen_budgets(",".join(map(str, values)), None, None)
    assert list(budgets) == [f"{value}-bits" for value in values]
    assert list(budgets.values()) == [Budget(bits_per_weight=value) for value in values]
    whole = sorted({int(1000 * value) for value in values})
    assert chosen_budgets(None, ", ".join(map(str, whole)), None) == {f"{n}-bytes": Budget(size_bytes=n) for n in whole}


@given(st.text(max_size=9))
@quick
def test_whatever_is_typed_for_a_budget_is_one_or_refused(text: str) -> None:
    for given_options in ((text, None, None), (None, text, None), (None, None, text)):
        try:
            assert all(isinstance(budget, Budget) for budget in chosen_budgets(*given_options).values())
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - it may be one


@given(st.text(max_size=9))
@quick
def test_whatever_is_typed_for_a_device_is_one_or_refused(name: str) -> None:
    try:
        assert torch.device(chosen_device(name)).type in ("cpu", "cuda", "mps")
    except InputError as error:
        assert f"there is no device {name!r} here; there is cpu" in str(error)  # noqa: PT017 - it may be one


@pytest.mark.parametrize("name", ["cpu:", "cpu:1", "cpu:x", "cpu:²", ":0", "", "CPU", "tpu", "meta", "cuda:999"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="there is no device"):
        chosen_device(name)


@pytest.mark.parametrize(
    ("words", "begun", "said"),
    [
        (("compress", "--out", "r"), ("r",), "; it goes on where it stopped when it is given --resume"),
        (("compress", "--out", "r"), (), ""),
        (("compress",), ("r",), ""),
        (
            ("train", "--out", "f.safetensors"),
            ("f.safetensors.checkpoint",),
            "; it goes on where it stopped when it is",
        ),
        (("train", "--out", "[x]"), ("x",), ""),
        (("evaluate", "--out", "r"), ("r",), ""),
        (("reproduce", "all"), (), "; it goes on where it stopped when it is called again"),
    ],
)
def test_an_interrupted_command_says_how_to_go_on(words, begun, said, tmp_path, monkeypatch, capsys) -> None:
    def interrupted(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ravn.cli.app.app", interrupted)
    for name in begun:
        (tmp_path / name).touch()
    assert run(words) == 130
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"ravn: interrupted{said}")
    assert said or line == "ravn: interrupted"
