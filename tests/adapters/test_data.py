"""Names become images: every layout that users have, and one sentence for each that is wrong."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from ravn.adapters import build_model, imagenet100, load_data, make_task
from ravn.adapters.augmentation import crop_and_flip, shift
from ravn.adapters.data import load_unlabeled, open_data
from ravn.adapters.normalization import Normalization, parse_normalization
from ravn.adapters.pictures import decode
from ravn.adapters.weights import fill_weights, of_classes
from ravn.batches import fetch, size
from ravn.errors import InputError, MissingPackageError


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pictures(count: int, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def write_parquet(path: Path, images: np.ndarray, labels, column: str = "img", label: str = "label") -> None:
    names = {"info": {"features": {label: {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}}}}
    rows = [{"bytes": png(image), "path": None} for image in images]
    picture = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({column: picture, label: pa.array(labels, None if len(labels) else pa.int64())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), path)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "d" / "data" / "train-00000-of-00002.parquet", pictures(30), [0, 1, 2] * 10)
    write_parquet(tmp_path / "d" / "data" / "train-00001-of-00002.parquet", pictures(30, seed=1), [0, 1, 2] * 10)
    write_parquet(tmp_path / "d" / "data" / "test-00000-of-00001.parquet", pictures(9, seed=2), [0, 1, 2] * 3)
    return tmp_path / "d"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for split, count in (("train", 12), ("val", 6)):
        for number, name in enumerate(("ant", "bee")):
            folder = tmp_path / "f" / split / name
            folder.mkdir(parents=True)
            for i, image in enumerate(pictures(count, 40, seed=number)):
                (folder / f"{i}.png").write_bytes(png(image))
    return tmp_path / "f"


@pytest.mark.parametrize("form", ["cifar10:{}", "hf:{}", "hf:some-name:{}"])
def test_parquet_folders_give_the_pictures_bit_for_bit(form: str, parquet: Path) -> None:
    data = load_data(form.format(parquet))
    assert (size(data.train), size(data.validation), size(data.test)) == (54, 6, 9)
    assert data.classes == ("cat", "dog", "owl")
    stored, labels = fetch(data.test, range(9))
    assert torch.equal(stored.permute(0, 2, 3, 1), torch.from_numpy(pictures(9, seed=2)))
    assert labels.tolist() == [0, 1, 2] * 3


def test_train_and_validation_are_disjoint_and_always_the_same(parquet: Path) -> None:
    first, second = (load_data(f"cifar10:{parquet}") for _ in range(2))
    train, validation = (fetch(d, range(size(d)))[0].flatten(1).tolist() for d in (first.train, first.validation))
    assert not {tuple(row) for row in train} & {tuple(row) for row in validation}
    assert torch.equal(fetch(second.validation, range(6))[0].flatten(1), torch.tensor(validation, dtype=torch.uint8))


def test_folders_of_pictures_are_read_by_class(folders: Path) -> None:
    data = load_data(f"imagefolder:{folders}")
    assert data.classes == ("ant", "bee")
    assert (size(data.train), size(data.validation), size(data.test)) == (22, 2, 12)
    stored, labels = fetch(data.test, range(12))
    assert stored.shape == (12, 3, 40, 40)
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_a_folder_without_splits_is_cut_into_three(folders: Path) -> None:
    data = load_data(f"imagefolder:{folders / 'train'}")
    assert (size(data.train), size(data.validation), size(data.test)) == (13, 1, 10)


def test_a_network_may_bring_its_size_and_normalization(folders: Path) -> None:
    brought = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": 24}
    data = load_data(f"imagefolder:{folders}", preprocessing=brought)
    assert fetch(data.test, [0])[0].shape == (1, 3, 24, 24)
    assert data.preprocessing == brought | {"classes": 2}
    assert load_data(f"imagefolder:{folders}", normalize="cifar10", preprocessing=brought).transform == (
        parse_normalization("cifar10")
    )


def test_unlabeled_images_are_stored_as_those_that_they_are_seen_beside(folders: Path, parquet: Path) -> None:
    beside = load_data(f"cifar10:{parquet}")
    everything = load_unlabeled(f"imagefolder:{folders}", beside)
    assert size(everything) == 36
    assert fetch(everything, range(36))[0].shape == (36, 3, 8, 8)
    training = load_unlabeled(f"hf:{parquet}", beside)
    assert torch.equal(*(fetch(d, range(54))[0] for d in (training, beside.train)))


def test_unlabeled_images_that_dont_fit_or_are_none_are_told(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--unlabeled digits has images of shape \(1, 8, 8\); .* have \(3, 40, 40\)"):
        load_unlabeled("digits", load_data(f"imagefolder:{folders}"))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"^--unlabeled imagefolder:.* is empty"):
        load_unlabeled(f"imagefolder:{tmp_path / 'none'}", load_data("digits"))


def test_digits_are_split_without_overlap_and_need_no_download() -> None:
    data = load_data("digits")
    assert (size(data.train), size(data.validation), size(data.test)) == (900, 197, 700)
    stored, labels = fetch(data.test, range(700))
    assert stored.shape == (700, 1, 8, 8)
    assert stored.dtype == torch.uint8
    assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize("name", ["", "digits:x", "mnist", "imagefolder", "hf:", "cifar11:/tmp"])
def test_unknown_data_are_refused_with_what_would_be_right(name: str) -> None:
    with pytest.raises(InputError, match=r"give digits, cifar10\[:DIR\]") as caught:
        load_data(name)
    assert repr(name) in str(caught.value)


def test_folders_that_are_absent_empty_or_unlabelled_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        load_data(f"cifar10:{tmp_path / 'absent'}")
    for name in ("cifar10", "cifar100"):
        with pytest.raises(InputError, match="holds no parquet files"):
            load_data(f"{name}:{tmp_path}")
    with pytest.raises(InputError, match="is unlabelled"):
        load_data(f"imagefolder:{tmp_path}")
    (tmp_path / "ant").mkdir()
    with pytest.raises(InputError, match="is empty"):
        load_data(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["cat", "dog"] * 6, "numbers of the classes"),
        ([[0], [1]] * 6, "numbers of the classes"),
        ([0.5, 1.5] * 6, "numbers of the classes"),
        ([0, 1 << 40] * 6, "has the label 1099511627776"),
        ([], "too few pictures"),
    ],
)
def test_labels_that_number_no_classes_are_refused(labels: list[object], sentence: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", pictures(max(len(labels), 1))[: len(labels)], labels)
    with pytest.raises(InputError, match=sentence):
        load_data(f"hf:{tmp_path}")


def test_labels_that_are_no_classes_and_pictures_that_are_none_are_told(tmp_path: Path, parquet: Path) -> None:
    write_parquet(tmp_path / "a" / "train-0.parquet", pictures(12), [-1] * 12)
    with pytest.raises(InputError, match="unlabelled"):
        load_data(f"hf:{tmp_path / 'a'}")
    write_parquet(tmp_path / "b" / "train-0.parquet", pictures(12), [0, 1, 2] * 4, label="caption")
    with pytest.raises(InputError, match="columns are img, caption"):
        load_data(f"hf:{tmp_path / 'b'}")
    (parquet / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="can't be read"):
        load_data(f"hf:{parquet}")


def test_splits_with_different_classes_are_refused(folders: Path) -> None:
    (folders / "val" / "cow").mkdir()
    with pytest.raises(InputError, match="'cow' is not in every split"):
        load_data(f"imagefolder:{folders}")


def test_a_picture_with_too_many_pixels_or_none_is_refused(folders: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(folders / "train" / "ant" / "0.png")
    with pytest.raises(InputError, match=r"0\.png can't be read as a picture"):
        load_data(f"imagefolder:{folders}")


def test_a_broken_picture_is_named(folders: Path) -> None:
    (folders / "train" / "ant" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"0\.png can't be read as a picture"):
        load_data(f"imagefolder:{folders}")


@pytest.mark.parametrize("text", ["", "mnist", "0.5", "0.5/0", "1,2/1", "a/b", "0.5/0.2/0.1"])
def test_a_normalization_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--normalize"):
        parse_normalization(text)


def test_normalization_is_the_formula() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    out = Normalization((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(images)
    assert torch.allclose(out.flatten(), torch.tensor([-1.0, 0.0, 0.5]), atol=1e-6)
    assert parse_normalization("0.5,0.2,0/0.5,0.1,2") == Normalization((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))


def test_pictures_near_the_wanted_size_are_cut_and_others_scaled() -> None:
    exact = pictures(1, 227)[0]
    assert torch.equal(decode(png(exact), 224).permute(1, 2, 0), torch.from_numpy(exact[1:225, 1:225]))
    for side in (100, 500):
        assert decode(png(np.full((side, side + 7, 3), 99, np.uint8)), 224).unique().tolist() == [99]


def test_augmentation_moves_and_mirrors_and_draws_only_from_its_generator() -> None:
    images = torch.arange(1, 4 * 3 * 16 + 1).remainder(250).to(torch.uint8).reshape(4, 3, 4, 4)
    for augment in (shift, crop_and_flip):
        state = torch.random.get_rng_state()
        once, again = (augment(images, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(once, again)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert once.shape == images.shape
    still = shift(images, torch.Generator().manual_seed(0), reach=0)
    assert torch.equal(still, images)


def test_a_network_whose_outputs_dont_match_the_classes_is_refused(parquet: Path, tmp_path, monkeypatch) -> None:
    (tmp_path / "nets_for_data.py").write_text(
        "from torch import nn\n\ndef five():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))\n"
        "\nclass Pair(nn.Linear):\n    def forward(self, x):\n        return x, x\n"
        "\nclass Picky(nn.Linear):\n    def forward(self, x):\n        assert x.shape[-1] == 224, 'not 224'\n"
        "\ndef pair():\n    return Pair(2, 2)\n\ndef picky():\n    return Picky(2, 2)\n"
        "\ndef fails():\n    raise RuntimeError('no luck')\n"
        "\ndef wide():\n    return nn.Sequential(nn.Flatten(), nn.Linear(7, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"outputs of shape \(5,\) and .* has 3 classes"):
        make_task("python:nets_for_data:five", f"hf:{parquet}")
    for name, sentence in (
        ("wide", "can't take the 3x8x8 images"),
        ("picky", "can't take the 3x8x8 images .* not 224"),
        ("pair", "gives a tuple; it must give logits"),
        ("fails", "can't be called .*no luck"),
    ):
        with pytest.raises(InputError, match=sentence):
            make_task(f"python:nets_for_data:{name}", f"hf:{parquet}")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("pyarrow", "cifar10:{}", "images"), ("PIL", "imagefolder:{}", "images"), ("datasets", "cifar10", "data")],
)
def test_missing_packages_name_their_install_command(
    package: str, name: str, extra: str, folders: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package}.*pip install 'ravn\[{extra}\]'"):
        load_data(name.format(folders))


def test_imagenet100_takes_its_hundred_classes_from_a_folder_of_more(tmp_path: Path) -> None:
    wanted = imagenet100.classes()
    picture = png(pictures(1)[0])
    for name in (*wanted, "n01440764", "n99999999"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(picture)
    opened = open_data(f"imagenet100:{tmp_path}")
    assert opened.classes == tuple(sorted(wanted))
    assert len(opened.places) == 100 == len(set(opened.places))
    assert sum(size(split) for split in vars(opened.prepare(None, {})).values() if isinstance(split, Dataset)) == 300
    shutil.rmtree(tmp_path / "n13040303")
    with pytest.raises(InputError, match=r"imagenet100:.* lacks 1 of 100 folders of classes, 'n13040303' first"):
        open_data(f"imagenet100:{tmp_path}")


def test_places_among_all_classes_rise_with_the_names() -> None:
    # ImageNet numbers its classes by their WordNet ids; the ends are those of the synset list of ILSVRC-2012.
    places = list(imagenet100.classes().values())
    assert places == sorted(places)
    known = imagenet100.classes()
    assert (known["n01558993"], known["n02123045"], known["n13037406"]) == (15, 281, 993)


def test_a_classifier_of_all_classes_is_cut_to_those_that_the_data_has() -> None:
    whole, places = build_model("cifar:mobilenetv1", 1000), tuple(imagenet100.classes().values())
    part = build_model("cifar:mobilenetv1", 100)
    fill_weights(part, of_classes(whole.state_dict(), part, places, "w"), "w")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(part.eval()(x), whole.eval()(x)[:, list(places)])
    assert torch.equal(of_classes(part.state_dict(), part, places, "w")["classifier.bias"], part.classifier.bias)
    other = build_model("imagenet:mobilenetv2_folded", 100)
    with pytest.raises(InputError, match="w has no classifier of 1,000 or 100 classes"):
        of_classes(other.state_dict(), other, places, "w")


@pytest.mark.parametrize(
    "notes", [b"{", b"[]", b"5", b'{"info": 3}', b'{"info": {"features": {"label": {"names": "cat"}}}}', b"\xff"]
)
def test_notes_of_others_in_a_parquet_file_are_no_names_of_classes(notes: bytes, parquet: Path) -> None:
    for path in parquet.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": notes}), path)
    assert load_data(f"cifar10:{parquet}").classes == ("0", "1", "2")


def test_a_parquet_file_with_other_columns_is_named(parquet: Path) -> None:
    odd = parquet / "data" / "train-00001-of-00002.parquet"
    write_parquet(odd, pictures(30), [0, 1, 2] * 10, column="photo")
    with pytest.raises(InputError, match=f"{odd} lacks the columns 'img' and 'label' of the other files"):
        load_data(f"cifar10:{parquet}")
