"""4 RUN: the packed network in memory: weights in codes of fixed length, looked up when a layer runs."""

from ravn.runtime.fixed_rate import FixedRate, counted_bytes, fixed_rate, fixed_rates, table_values, unpacked
from ravn.runtime.modules import PackedWeight, pack_network

__all__ = [
    "FixedRate",
    "PackedWeight",
    "counted_bytes",
    "fixed_rate",
    "fixed_rates",
    "pack_network",
    "table_values",
    "unpacked",
]
