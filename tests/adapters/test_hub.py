"""The doors to the hub, with packages of ours in the place of those that fetch: data, and what a network brings."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ravn.adapters.hf_networks import build_hf, hf_preprocessing
from ravn.adapters.hub import read_hub
from ravn.errors import InputError, MissingPackageError, told


class Image:
    """A column of pictures."""

    def __init__(self, *, decode: bool = True) -> None:
        self.decode = decode


class Rows(dict[str, list[Any]]):
    """A split: columns, and what they hold."""

    def __init__(self, features: dict[str, Any], **columns: list[Any]) -> None:
        super().__init__(columns)
        self.features = features

    def cast_column(self, name: str, kind: Image) -> "Rows":
        assert not kind.decode
        return Rows(self.features | {name: kind}, **self)


LABEL = SimpleNamespace(names=["cat", "dog"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """Puts data sets on the hub: by name, or an error that fetching raises."""

    def put(found: dict[str, Rows] | Exception) -> None:
        def load_dataset(name: str) -> dict[str, Rows]:
            assert name == "owner/pets"
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Image=Image, load_dataset=load_dataset))

    return put


def test_pictures_are_taken_encoded_with_their_labels_and_names(hub) -> None:
    features = {"id": object(), "img": Image(), "label": LABEL}
    train = Rows(features, img=[{"bytes": b"a"}, {"bytes": b"b"}], label=[1, 0])
    hub({"train": train, "test": Rows(features, img=[{"bytes": b"c"}], label=[1])})
    splits, classes = read_hub("owner/pets", "hf:owner/pets")
    assert classes == ["cat", "dog"]
    assert {name: (list(e.encoded), list(e.labels)) for name, e in splits.items()} == {
        "train": ([b"a", b"b"], [1, 0]),
        "test": ([b"c"], [1]),
    }


def test_what_lacks_is_kept_for_those_who_refuse_it(hub) -> None:
    rows = Rows({"img": Image(), "label": LABEL}, img=[None, {"bytes": None}, {}], label=[0, None, 1])
    hub({"train": rows})
    splits, _ = read_hub("owner/pets", "hf:owner/pets")
    assert splits["train"].encoded == [b"", b"", b""]
    assert splits["train"].labels == [0, -1, 1]


def test_the_best_of_several_label_columns_is_taken(hub) -> None:
    features = {"img": Image(), "coarse": LABEL, "fine_label": LABEL, "label": SimpleNamespace(names=["x"])}
    hub({"train": Rows(features, img=[{"bytes": b"a"}], fine_label=[1], label=[0])})
    assert read_hub("owner/pets", "it")[1] == ["x"]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"text": object(), "label": LABEL}, "holds no pictures with labels: its columns are text, label"),
        ({"img": Image(), "class": LABEL}, "holds no pictures with labels: its columns are img, class"),
        ({"img": Image(), "label": object()}, "doesn't name the classes of its column 'label'"),
        ({"img": Image(), "label": SimpleNamespace(names=[])}, "doesn't name the classes of its column 'label'"),
    ],
)
def test_data_without_pictures_or_classes_is_refused(features: dict[str, Any], said: str, hub) -> None:
    hub({"train": Rows(features, img=[{"bytes": b"a"}], label=[0])})
    with pytest.raises(InputError, match=f"--data hf:owner/pets {said}"):
        read_hub("owner/pets", "hf:owner/pets")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no network\nat all"), "no network"),
        (ConnectionError(), "ConnectionError"),
        (ValueError("\n \n"), "ValueError"),
        (FileNotFoundError("\n  no such data  \n"), "no such data"),
    ],
)
def test_what_can_not_be_fetched_is_one_line(error: Exception, said: str, hub) -> None:
    assert told(error) == said
    hub(error)
    with pytest.raises(InputError) as caught:
        read_hub("owner/pets", "cifar10")
    assert str(caught.value) == f"--data cifar10 can't be fetched ({said}); give a folder: cifar10:DIR"


@pytest.mark.parametrize(("read", "extra"), [(lambda: read_hub("x", "x"), "data"), (lambda: build_hf("x"), "hf")])
def test_a_missing_package_is_named_with_its_extra(read, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("datasets", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'ravn\[{extra}\]'"):
        read()


def bring(monkeypatch: pytest.MonkeyPatch, processor: object) -> None:
    """Let transformers give this processor, or raise it."""

    def from_pretrained(_: str) -> object:
        if isinstance(processor, Exception):
            raise processor
        return processor

    automatic = SimpleNamespace(from_pretrained=from_pretrained)
    package = SimpleNamespace(AutoImageProcessor=automatic, AutoModelForImageClassification=automatic)
    monkeypatch.setitem(sys.modules, "transformers", package)


@pytest.mark.parametrize(
    ("size", "side"),
    [
        ({"height": 32, "width": 40}, 32),
        ({"shortest_edge": 224}, 224),
        ({"shortest_edge": 256, "height": 3}, 256),
        ({"longest_edge": 512}, None),
        (224, 224),
        (None, None),
    ],
)
def test_the_size_that_a_processor_wants_is_found(size: object, side: int | None, monkeypatch) -> None:
    bring(monkeypatch, SimpleNamespace(size=size, image_mean=(0.1, 0.2, 0.3), image_std=(1, 1, 1)))
    assert hf_preprocessing("x") == {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "size": side}


def test_a_processor_without_a_normalization_brings_none(monkeypatch) -> None:
    bring(monkeypatch, SimpleNamespace(size={"height": 32}, image_mean=None))
    assert hf_preprocessing("x") == {"size": 32}
    for error in (OSError("none"), ValueError("odd"), ImportError("timm")):
        bring(monkeypatch, error)
        assert hf_preprocessing("x") == {}


def test_a_network_that_can_not_be_had_is_one_line(monkeypatch) -> None:
    bring(monkeypatch, OSError())
    with pytest.raises(InputError, match=r"hf:owner/net is not a network for image classification .*: OSError"):
        build_hf("owner/net")
