"""The one door to the range coder: symbols to bytes under a table of one byte per symbol.

A table holds a small floating-point number per symbol, `frequency = (16 + mantissa) << exponent`
in one byte, so that encoder and decoder agree to the last bit on every machine and a table costs K
bytes. The rounding of a frequency is at most 1/32 of it, which costs less than 0.001 bit per
symbol.
"""

from collections.abc import Iterable, Sequence

import constriction
import numpy as np
from numpy.typing import NDArray

from ravn.errors import ArtifactError

Symbols = NDArray[np.int32]

MAX_SYMBOLS = 1 << 16
_CHUNK = 1 << 18
_FREQUENCIES = np.array([(16 + (b & 15)) << (b >> 4) for b in range(256)], dtype=np.float64)


def frequency_table(counts: NDArray[np.int64] | NDArray[np.float64]) -> bytes:
    """Round counts, shape (K,), to one byte each; symbols that never occur stay encodable."""
    scaled = counts / max(int(counts.max()), 1) * _FREQUENCIES[-1]
    middles = (_FREQUENCIES[1:] + _FREQUENCIES[:-1]) / 2
    return np.searchsorted(middles, scaled).astype(np.uint8).tobytes()


def code_lengths(table: bytes) -> NDArray[np.float64]:
    """Bits of each symbol under a table, shape (K,)."""
    return -np.log2(_probabilities(table))


def encode_symbols(symbols: NDArray[np.integer], table: bytes) -> bytes:
    """Write symbols in 0..K-1, shape (n,), within two words of their entropy under the table."""
    starts = reversed(range(0, len(symbols), _CHUNK))
    return encode_pieces(((0, symbols[at : at + _CHUNK].astype(np.int32)) for at in starts), [table])


def decode_symbols(data: bytes, table: bytes, count: int, *, size: int) -> Symbols:
    """Read `count` symbols under a table of `size` symbols.

    Raises:
        ArtifactError: the bytes are not exactly one encoded sequence of that length.
    """
    if len(table) != size or not size:
        raise ArtifactError(f"an entropy-coded stream has a table of {len(table)} symbols where {size} are due")
    reader = SymbolReader(data, [table])
    symbols = reader.read(0, count)
    reader.finish()
    return symbols


def encode_pieces(pieces: Iterable[tuple[int, Symbols]], tables: Sequence[bytes]) -> bytes:
    """Write pieces of symbols, each under the table of the given number, into one stream.

    Args:
        pieces: from the last to the first: the coder is a stack.
        tables: tables to choose from; an empty one has no symbols.
    """
    coder = constriction.stream.stack.AnsCoder()
    models = [_model(table) for table in tables]
    for number, symbols in pieces:
        coder.encode_reverse(symbols, models[number])
    words: NDArray[np.uint32] = coder.get_compressed()
    return words.astype("<u4").tobytes()


class SymbolReader:
    """Reads a stream piece by piece, each under one of several tables.

    Args:
        data: what `encode_symbols` or `encode_pieces` wrote.
        tables: tables to choose from; an empty one has no symbols.

    Raises:
        ArtifactError: the bytes are not a stream.
    """

    def __init__(self, data: bytes, tables: Sequence[bytes]) -> None:
        if len(data) % 4:
            raise ArtifactError(f"an entropy-coded stream of {len(data)} bytes is not a whole number of words")
        try:
            self._coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
        except ValueError as error:
            raise ArtifactError("an entropy-coded stream ends in a zero word, which no encoder writes") from error
        self._models: list[object] = []
        self._sizes: list[int] = []
        self._count = 0
        self.add(tables)

    def add(self, tables: Sequence[bytes]) -> None:
        """Give more tables to choose from, known only now."""
        self._models += [_model(table) for table in tables]
        self._sizes += [len(table) for table in tables]

    def read(self, number: int, count: int) -> Symbols:
        """Read `count` symbols under the table of this number.

        Raises:
            ArtifactError: a symbol lies beyond the table.
        """
        symbols: Symbols = self._coder.decode(self._models[number], count)
        self._count += count
        if count and symbols.max() >= self._sizes[number]:
            raise ArtifactError(f"an entropy-coded stream holds a symbol beyond its table of {self._sizes[number]}")
        return symbols

    def finish(self) -> None:
        """Make sure that nothing is left.

        Raises:
            ArtifactError: there is.
        """
        if not self._coder.is_empty():
            raise ArtifactError(f"an entropy-coded stream holds more than its {self._count} symbols")


def _probabilities(table: bytes) -> NDArray[np.float64]:
    frequencies = _FREQUENCIES[np.frombuffer(table, np.uint8)]
    return frequencies / frequencies.sum()


def _model(table: bytes) -> object:
    # A categorical model needs two symbols; a constant tensor has one and then costs nothing.
    probabilities = _probabilities(table.ljust(2, b"\0"))
    return constriction.stream.model.Categorical(probabilities, perfect=False)
