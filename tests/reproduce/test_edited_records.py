"""Records that a hand or a crash has changed: the pages are drawn, or one sentence names the file and the field."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edits import changed, edited, places

KEPT = Path(__file__).parents[2] / "results"
EDITED = "cifar10-resnet20-proposed-b4.4-e0-n120-s0.json"
BESIDE = ("cifar10-resnet20-float-b32-e0-n0-s0.json", "cifar10-resnet20-4-bit-b4-e0-n0-s0.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few of the records that are kept with the code."""
    for name in (EDITED, *BESIDE):
        shutil.copy(KEPT / name, tmp_path)
    return tmp_path


def drawn(folder: Path, text: str, ravn) -> str:
    """Draw all tables from a folder with an edited record; what was said against it."""
    (folder / EDITED).write_text(text, errors="surrogateescape")
    code, out, err = ravn("reproduce", "render", "--results", folder, "--into", folder / "page.md")
    if not code:
        return ""
    (line,) = err.strip().splitlines()
    assert (code, out) == (2, "")
    return line


@given(data=st.data())
@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_edited_record_is_drawn_or_named(data: st.DataObject, folder: Path, ravn) -> None:
    said = drawn(folder, data.draw(edited((KEPT / EDITED).read_text())), ravn)
    assert not said or f"{folder / EDITED} is not a result of ravn reproduce (" in said


def test_whatever_lacks_of_energy_or_memory_is_a_dash(folder: Path, ravn) -> None:
    document = json.loads((KEPT / EDITED).read_text())
    inside = [place for place in places(document) if place[0] in ("energy", "memory") and place[1:]]
    assert len(inside) > 20
    for place in inside:
        for value in ((), (None,), ({},), ("much",), (10**400,)):
            assert drawn(folder, json.dumps(changed(document, place, *value)), ravn) == ""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("test_images",), "the field 'test_images' is 0, and must be a whole number from 1 to"),
        (("cell", "network"), "the field 'cell.network' is 0, and must be text"),
        (("provenance", "date"), "the field 'provenance.date' is 0, and must be text"),
    ],
)
def test_a_wrong_field_is_named(place, said: str, folder: Path, ravn) -> None:
    assert said in drawn(folder, json.dumps(changed(json.loads((KEPT / EDITED).read_text()), place, 0)), ravn)
