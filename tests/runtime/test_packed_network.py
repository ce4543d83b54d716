"""A packed network computes what the float one does, in a fraction of the bytes, and is a module like any other."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ravn
from ravn.artifact import Artifact, pack
from ravn.codecs import CodebookCodec, Codec, EntropyCodec, UniformCodec, VectorCodec
from ravn.errors import InputError
from ravn.layers import tied_parameters, weight_layers
from ravn.runtime import PackedWeight


class Everything(nn.Module):
    """Convolutions, a transposed one, attention, an embedding tied to a linear layer, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.embedding = nn.Embedding(50, 32)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
        self.conv = nn.Conv1d(32, 32, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose1d(32, 32, 2, stride=2)
        self.recurrent = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        values = self.embedding(words) + self.token
        values = values + self.attention(values, values, values)[0]
        values = self.up(self.conv(values.transpose(1, 2)).relu()).transpose(1, 2)
        return self.head(self.recurrent(values)[0])


CODECS: tuple[Codec, ...] = (EntropyCodec(0.02, spectral=True), UniformCodec(4), CodebookCodec(4), VectorCodec(2, 6))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Everything()
    tied = tied_parameters(model)
    names = [layer.name for layer in weight_layers(model)]
    codecs = {name: CODECS[number % len(CODECS)] for number, name in enumerate(names)}
    layers = {name: codec.encode(model.get_parameter(name)) for name, codec in codecs.items()}
    rest = {n: t for n, t in model.state_dict().items() if n not in layers and n not in tied}
    path = tmp_path_factory.mktemp("packed") / "everything.ravn"
    path.write_bytes(pack(Artifact("", {}, layers, codecs, rest, tied)))
    return path


@pytest.fixture
def words() -> Tensor:
    return torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))


def loaded(file: Path, **options: object) -> nn.Module:
    return ravn.load(file, Everything(), **options)


def stored_bytes(model: nn.Module) -> int:
    tensors = {t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


def test_it_computes_the_same_with_the_same_weights(file: Path, words: Tensor) -> None:
    packed, plain = loaded(file, runtime="packed"), loaded(file)
    assert torch.allclose(packed(words), plain(words), atol=1e-6)
    for name in ("conv.weight", "up.weight", "head.weight", "attention.in_proj_weight", "token"):
        owner, _, parameter = name.rpartition(".")
        assert torch.allclose(getattr(packed.get_submodule(owner), parameter), plain.get_parameter(name), atol=1e-6)
    assert not any(name.endswith("conv.weight") for name, _ in packed.named_parameters())
    assert packed.conv.weight.shape == plain.conv.weight.shape


def test_it_holds_the_packed_bytes_and_tied_weights_once(file: Path) -> None:
    packed = loaded(file, runtime="packed")
    layers = {id(m): m for m in packed.modules() if isinstance(m, PackedWeight)}.values()
    assert packed.embedding.weight_packed is packed.head.weight_packed
    recurrent = sum(p.nbytes for p in packed.recurrent.parameters())
    biases = sum(p.nbytes for n, p in packed.named_parameters() if not n.startswith("recurrent"))
    assert stored_bytes(packed) == sum(layer.form().size_bytes for layer in layers) + recurrent + biases
    assert stored_bytes(packed) - recurrent < 0.3 * (stored_bytes(loaded(file)) - recurrent)


def test_it_copies_saves_and_moves_like_any_module(file: Path, words: Tensor) -> None:
    packed = loaded(file, runtime="packed")
    wanted = packed(words)
    twin = copy.deepcopy(packed)
    assert torch.equal(twin(words), wanted)
    assert twin.conv.weight_packed.table.data_ptr() != packed.conv.weight_packed.table.data_ptr()
    state = packed.state_dict()
    for tensor in (*twin.buffers(), *twin.parameters()):
        tensor.detach().zero_()
    assert not torch.equal(twin(words), wanted)
    twin.load_state_dict(state)
    assert torch.equal(twin(words), wanted)
    assert packed.to("meta").conv.weight.device.type == "meta"


def test_a_cache_keeps_the_largest_layers_that_fit(file: Path, words: Tensor) -> None:
    plain = loaded(file)
    sizes = {name: p.nbytes for name, p in plain.named_parameters() if p.dim() > 1}
    budget = max(sizes.values()) + 100
    packed = loaded(file, runtime="packed", weight_cache_bytes=budget)
    always = {name for name, _ in loaded(file, runtime="packed").named_parameters()}
    kept = [p.nbytes for name, p in packed.named_parameters() if name not in always]
    assert max(sizes.values()) <= sum(kept) <= budget
    assert torch.allclose(packed(words), plain(words), atol=1e-6)
    everything = loaded(file, runtime="packed", weight_cache_bytes=1 << 30)
    assert not any(isinstance(m, PackedWeight) for m in everything.modules())


@pytest.mark.parametrize("options", [{"runtime": "tpu"}, {"runtime": "packed", "weight_cache_bytes": -1}])
def test_an_impossible_runtime_is_refused(options: dict[str, object], file: Path) -> None:
    with pytest.raises(InputError, match="is impossible; give 'float' or 'packed'"):
        loaded(file, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_it_compiles(file: Path, words: Tensor) -> None:
    packed = loaded(file, runtime="packed")
    with torch.no_grad():
        compiled = torch.compile(packed)(words)
        assert torch.allclose(compiled, packed(words), atol=1e-5)


def test_it_is_traced_whole(file: Path, words: Tensor) -> None:
    packed = loaded(file, runtime="packed")
    del packed.recurrent  # the tracer wants no recurrent layer at an open batch size
    packed.recurrent = lambda values: (values,)
    with torch.no_grad():
        program = torch.export.export(packed, (words,)).module()
        assert torch.allclose(program(words), packed(words), atol=1e-5)
