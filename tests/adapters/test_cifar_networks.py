"""Networks of large images in their form for small ones: the published size but for stem and classifier."""

import pytest
import torch
from torch import nn

from ravn.adapters import build_model, rebuild_model
from ravn.adapters.cifar_preactivated import PreactivatedBottleneck
from ravn.errors import InputError
from ravn.layers import weight_layers

CLASSES = 10
PUBLISHED = {
    "resnet50": (25_557_032, 2048, 64 * 3 * (9 - 49)),
    "resnet101": (44_549_160, 2048, 64 * 3 * (9 - 49)),
    "resnet152": (60_192_808, 2048, 64 * 3 * (9 - 49)),
    "resnet200": (64_673_832 - 2 * (256 + 512 + 1024 + 2048), 2048, 64 * 3 * (9 - 49)),
    "mobilenetv1": (4_231_976, 1024, 0),
    "mobilenetv2": (3_504_872, 1280, 0),
    "efficientnet_b0": (5_288_548, 1280, 0),
}
"""Parameters with 1,000 classes and 224 x 224 pixels, inputs of the classifier, and what the small stem changes.

That of ResNet-200 is published for blocks that are not pre-activated: their projections have batch norms.
"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_size_is_the_published_one_but_for_stem_and_classifier(name: str) -> None:
    published, width, stem = PUBLISHED[name]
    with torch.device("meta"):
        model = build_model(f"cifar:{name}", CLASSES)
    expected = published + stem + (width + 1) * (CLASSES - 1000)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("name", ["resnet50", "resnet200", "mobilenetv2", "efficientnet_b0"])
def test_small_images_keep_a_map_of_four_by_four_to_the_end(name: str) -> None:
    model = rebuild_model(f"cifar:{name}", 100).eval()
    shapes = []
    last = model.get_submodule("layer4" if "resnet" in name else "features")
    last.register_forward_hook(lambda _, __, out: shapes.append(out.shape[2:]))
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert shapes == [(4, 4)]
    assert len(weight_layers(model)) > 50


def test_the_residual_stream_of_pre_activated_blocks_is_a_plain_sum() -> None:
    block = PreactivatedBottleneck(64, 16, 1).eval()
    nn.init.zeros_(block.conv3.weight)
    x = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)  # negative values included: nothing comes after the sum


def test_the_folded_network_has_the_published_size_but_for_its_batch_norms_and_the_background() -> None:
    with torch.device("meta"):
        folded, plain = build_model("imagenet:mobilenetv2_folded"), build_model("cifar:mobilenetv2", 1000)
    norms = sum(p.numel() for m in plain.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    expected = PUBLISHED["mobilenetv2"][0] - norms // 2 + 1281
    assert sum(p.numel() for p in folded.parameters()) == expected
    assert folded(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


def test_squeezenet_has_the_published_size_and_gives_as_many_classes_as_asked_for() -> None:
    model = build_model("imagenet:squeezenet1_1", 996).eval()
    assert sum(p.numel() for p in model.parameters()) == 1_235_496
    assert {"features.3.squeeze.weight", "features.12.expand3x3.bias", "classifier.1.weight"} <= set(model.state_dict())
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 996)
    for name, classes in (("vgg", 10), ("squeezenet1_1", 1001)):
        with pytest.raises(InputError, match=f"there is no network 'imagenet:{name}' of {classes} classes"):
            build_model(f"imagenet:{name}", classes)
