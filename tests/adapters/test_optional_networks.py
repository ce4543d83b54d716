"""Networks of timm and transformers with random weights: built, described, compressed, rebuilt from the file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ravn
from ravn.adapters import build_model
from ravn.adapters.networks import own_preprocessing
from ravn.allocators import UniformAllocator
from ravn.errors import InputError

QUICK = ravn.Settings(calibration_images=4, search_images=4, holdout_images=4, evaluations=2)
OPERATORS = (
    "nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d",
    "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward",
    "_deform_conv2d_backward",
)  # fmt: skip
DECLARED = torch.library.Library("torchvision", "FRAGMENT")


@pytest.fixture
def small() -> str:
    """Name of a tiny network of timm's; where torchvision was built for another torch its operators are declared."""
    if not hasattr(torch.ops.torchvision, "nms"):
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            for operator in OPERATORS:
                DECLARED.define(f"{operator}(Tensor x) -> Tensor")
        except ImportError:
            pytest.skip("torchvision is not installed, and timm needs it: pip install 'ravn[timm]'")
    pytest.importorskip("timm", reason="timm is not installed: pip install 'ravn[timm]'")
    return "timm:test_resnet"


def compressed(model: nn.Module, name: str, side: int, classes: int) -> ravn.Compressed:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 3, side, side, generator=generator)
    data = TensorDataset(images, torch.arange(12) % classes)
    task = ravn.Task(model.eval(), data, data, model_name=name, preprocessing={"classes": classes})
    return ravn.compress(task, ravn.Budget(bits_per_weight=4.0), UniformAllocator(), QUICK)


def same_outputs(left: nn.Module, right: nn.Module, images: Tensor) -> bool:
    with torch.no_grad():
        return torch.equal(left(images), right(images))


def test_a_network_of_timm_brings_its_normalization_and_is_rebuilt_from_the_file(small: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(small, 7)
    brought = own_preprocessing(small, model)
    assert len(brought["mean"]) == len(brought["std"]) == 3
    assert brought["size"] > 32
    ravn.save(compressed(model, small, 64, 7), tmp_path / "m.ravn")
    rebuilt = ravn.load(tmp_path / "m.ravn")
    images = torch.rand(2, 3, 64, 64)
    assert rebuilt(images).shape == (2, 7)
    assert same_outputs(rebuilt, ravn.load(tmp_path / "m.ravn", build_model(small, 7)), images)


def test_an_unknown_network_of_timm_is_refused(small: str) -> None:
    with pytest.raises(InputError, match="timm has no network 'resnet_of_nobody'"):
        build_model(f"{small.partition(':')[0]}:resnet_of_nobody", 10)


@pytest.fixture
def local_vit(tmp_path: Path) -> str:
    """A folder that `save_pretrained` wrote: a tiny vision transformer and its processor."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'ravn[hf]'")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=5,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    mean, std = "[0.1, 0.2, 0.3]", "[0.4, 0.5, 0.6]"
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        f'{{"image_processor_type": "ViTImageProcessor", "image_mean": {mean}, "image_std": {std},'
        ' "size": {"height": 32, "width": 32}}'
    )
    return f"hf:{tmp_path / 'vit'}"


def test_a_saved_network_of_transformers_gives_logits_and_fills_from_a_file(local_vit: str, tmp_path: Path) -> None:
    model = build_model(local_vit).eval()
    assert own_preprocessing(local_vit, model) == {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": 32}
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    made = compressed(model, local_vit, 32, 5)
    assert made.result.file_bytes <= made.result.budget_bytes
    ravn.save(made, tmp_path / "m.ravn")
    with pytest.raises(InputError, match="pass the module"):
        ravn.load(tmp_path / "m.ravn")
    assert ravn.load(tmp_path / "m.ravn", build_model(local_vit))(torch.rand(1, 3, 32, 32)).shape == (1, 5)


def test_a_folder_without_a_network_is_refused(local_vit: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a network for image classification"):
        build_model(f"{local_vit.partition(':')[0]}:{tmp_path}")
