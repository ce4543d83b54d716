"""Tensors as one deflated stream of byte planes.

Bytes of equal significance lie together (all low bytes, then all high bytes), because only the
high ones, with sign and exponent, can be deflated.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.errors import ArtifactError

_SIZES = (8, 4, 2, 1)
_LONG_PLANE = 256


def deflate(data: bytes) -> bytes:
    """Compress as well as zlib can, without zlib's header and checksum."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def inflate(data: bytes, limit_bytes: int) -> bytes:
    """Read what `deflate` wrote, never more than `limit_bytes`.

    Raises:
        ArtifactError: the data are not exactly one deflated stream, or hold more than that.
    """
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        raw = decompressor.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise ArtifactError(f"a deflated stream is broken ({error})") from error
    if len(raw) > limit_bytes:
        raise ArtifactError(f"a deflated stream holds more than the {limit_bytes} bytes that belong there")
    if not decompressor.eof or decompressor.unused_data:
        raise ArtifactError("a deflated stream doesn't end where it should")
    return raw


def deflated_planes(pieces: Sequence[Tensor]) -> bytes:
    """Write flat tensors, each of shape (n,): first those of 8 bytes per element, then 4, 2 and 1.

    Returns:
        The stream, or b"" where there is no element at all.
    """
    if not any(len(piece) for piece in pieces):
        return b""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = bytearray()
    for size in _SIZES:
        rows = [piece.view(torch.uint8).reshape(-1, size) for piece in pieces if piece.element_size() == size]
        for plane in torch.cat(rows).T if rows else ():
            stream += compressor.compress(plane.contiguous().numpy().tobytes())
            # A new block gets a code of its own: what suits exponents doesn't suit mantissas.
            stream += compressor.flush(zlib.Z_SYNC_FLUSH) if len(plane) >= _LONG_PLANE else b""
    return bytes(stream) + compressor.flush()


def inflated_planes(stream: bytes, dtypes: Sequence[torch.dtype], counts: Sequence[int]) -> list[Tensor]:
    """Read what `deflated_planes` wrote: flat tensors of these dtypes and lengths.

    Raises:
        ArtifactError: the stream has another length, or a truth value is neither 0 nor 1.
    """
    expected = sum(dtype.itemsize * count for dtype, count in zip(dtypes, counts, strict=True))
    raw = inflate(stream, expected) if expected else stream
    if len(raw) != expected:
        raise ArtifactError(f"its tensors take {expected} bytes, but {len(raw)} are there")
    pieces, start = [torch.empty(0, dtype=dtype) for dtype in dtypes], 0
    for size in _SIZES:
        mine = [i for i, dtype in enumerate(dtypes) if dtype.itemsize == size and counts[i]]
        length, at = sum(counts[i] for i in mine), 0
        planes = np.frombuffer(raw, np.uint8, size * length, start).reshape(size, length)
        for i in mine:
            pieces[i] = _joined(planes[:, at : at + counts[i]], dtypes[i])
            at += counts[i]
        start += size * length
    return pieces


def _joined(planes: NDArray[np.uint8], dtype: torch.dtype) -> Tensor:
    if dtype == torch.bool and bool((planes > 1).any()):
        raise ArtifactError("a truth value is neither 0 nor 1")
    # Copied: every tensor owns its memory.
    return torch.from_numpy(np.array(planes.T, order="C").reshape(-1)).view(dtype)
