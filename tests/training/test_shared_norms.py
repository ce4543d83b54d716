"""Batch norms of two processes against torch's own on the whole batch; the other process's images are this one's."""

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from ravn.training import processes
from ravn.training.shared_norms import shared_statistics

CASES = {
    "images": (nn.BatchNorm2d(3), (4, 3, 5, 2)),
    "vectors": (nn.BatchNorm1d(6), (5, 6)),
    "sequences": (nn.BatchNorm1d(3, eps=0.1), (2, 3, 7)),
    "volumes": (nn.BatchNorm3d(2), (2, 2, 3, 3, 2)),
    "no weights": (nn.BatchNorm2d(3, affine=False), (4, 3, 5, 2)),
    "no statistics": (nn.BatchNorm2d(3, track_running_stats=False), (4, 3, 5, 2)),
    "mean of all": (nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 2)),
    "quick to follow": (nn.BatchNorm2d(3, momentum=0.9), (4, 3, 5, 2)),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
Case = tuple[nn.Module, tuple[int, ...]]


@pytest.fixture(autouse=True)
def pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that do the same: every sum is twice the addend."""

    def doubled(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.mul_(2)

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "add_up", doubled)


def trained(norm: nn.Module) -> nn.Module:
    """A copy whose weights and biases are not ones and zeros."""
    norm = copy.deepcopy(norm).train()
    for number, parameter in enumerate(norm.parameters()):
        parameter.data = torch.linspace(0.5, 2.0, len(parameter)) - number
    return norm


def shifted(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@every_case
def test_outputs_and_statistics_are_those_of_the_whole_batch(case: Case) -> None:
    ours, theirs = trained(case[0]), trained(case[0])
    for seed in range(3):
        share = shifted(case[1], seed)
        with shared_statistics(ours):
            found = ours(share)
        whole = theirs(torch.cat([share, share]))
        assert torch.allclose(found, whole[: len(share)], atol=1e-5)
    for name, tensor in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], tensor, rtol=1e-5), name


@every_case
def test_gradients_are_those_of_the_whole_batch(case: Case) -> None:
    ours, theirs = trained(case[0]), trained(case[0])
    share = shifted(case[1]).requires_grad_()
    target = shifted(case[1], 7)
    with shared_statistics(ours):
        (ours(share) * target).sum().backward()
    both = torch.cat([share.detach(), share.detach()]).requires_grad_()
    (theirs(both) * torch.cat([target, target])).sum().backward()
    assert torch.allclose(share.grad, both.grad[: len(share)], atol=1e-5)
    for mine, whole in zip(ours.parameters(), theirs.parameters(), strict=True):
        # Those of weights are added up over the processes after the backward pass.
        assert torch.allclose(2 * mine.grad, whole.grad, rtol=1e-4, atol=1e-4)


def test_half_precision_is_normalised_in_float32_and_comes_back() -> None:
    norm = trained(nn.BatchNorm2d(3))
    share = (100 + shifted((4, 3, 5, 2))).bfloat16()
    with shared_statistics(norm):
        found = norm(share)
    wanted = trained(nn.BatchNorm2d(3))(torch.cat([share, share]).float())[:4]
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), wanted, atol=0.02)


@every_case
def test_layers_in_evaluation_mode_share_nothing(case: Case) -> None:
    norm = trained(case[0]).eval()
    share = shifted(case[1])
    wanted, before = norm(share), copy.deepcopy(norm.state_dict())
    with shared_statistics(norm):
        found = norm(share)
    assert torch.equal(found, wanted)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_layers_come_back_as_they_were_even_after_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), trained(nn.BatchNorm2d(3)), nn.ReLU())
    own = [set(vars(module)) for module in model.modules()]
    with shared_statistics(model):
        assert "forward" in vars(model[1])

    def fail() -> None:
        with shared_statistics(model):
            model(torch.ones(1, 2, 1, 1))

    with pytest.raises(RuntimeError, match="channels"):
        fail()
    assert [set(vars(module)) for module in model.modules()] == own


def test_alone_a_network_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 1)
    norm = trained(nn.BatchNorm2d(3))
    with shared_statistics(norm):
        assert "forward" not in vars(norm)
