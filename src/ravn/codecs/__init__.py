"""1 CLUSTER: weight tensor -> Encoded -> weight tensor, in exactly the bytes that are reported."""

from typing import Any

from torch import Tensor

from ravn.codecs.base import Codec, Encoded, Grid, Rounding, nearest
from ravn.codecs.cluster import ClusterCodec
from ravn.codecs.codebook import CodebookCodec
from ravn.codecs.entropy import EntropyCodec
from ravn.codecs.stepped import SteppedCodec
from ravn.codecs.trellis import TrellisCodec
from ravn.codecs.uniform import UniformCodec
from ravn.codecs.vector import VectorCodec
from ravn.errors import ArtifactError, InputError

__all__ = [
    "CODECS",
    "ClusterCodec",
    "CodebookCodec",
    "Codec",
    "Encoded",
    "EntropyCodec",
    "Grid",
    "Rounding",
    "SteppedCodec",
    "TrellisCodec",
    "UniformCodec",
    "VectorCodec",
    "codec_from_config",
    "decoded",
    "nearest",
]

_ALL = (ClusterCodec, CodebookCodec, EntropyCodec, TrellisCodec, UniformCodec, VectorCodec)
CODECS: dict[str, type[Codec]] = {c.name: c for c in _ALL}


def codec_from_config(config: dict[str, Any]) -> Codec:
    """Build the codec that `Codec.config` described.

    Raises:
        InputError: no codec has this name, or the fields don't fit it.
    """
    fields = dict(config)
    name = fields.pop("codec", None)
    if not isinstance(name, str) or name not in CODECS:
        raise InputError(f"there is no codec {name!r}; there are {', '.join(sorted(CODECS))}")
    try:
        return CODECS[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    except TypeError as error:
        raise InputError(f"the configuration {config} doesn't fit the codec {name!r}") from error


def decoded(encoded: Encoded) -> Tensor:
    """Rebuild a weight from what any codec wrote.

    Raises:
        ArtifactError: no codec has this name, or the payload is broken.
    """
    codec = CODECS.get(encoded.codec)
    if codec is None:
        raise ArtifactError(f"a layer was written by the unknown codec {encoded.codec!r}")
    return codec.decode(encoded)
