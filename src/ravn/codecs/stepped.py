"""What codecs of equal steps have in common: the step, and the choice to quantize spectra instead of kernels."""

import struct
from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from ravn.codecs.base import Codec, Encoded
from ravn.codecs.spectrum import analysis, pulled_back, synthesis
from ravn.errors import ArtifactError, InputError

LARGEST = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float32).smallest_subnormal)
_STEP = struct.Struct("<f")


@dataclass(frozen=True)
class SteppedCodec(Codec):
    """Levels near multiples of a step; a payload begins with it, negative where kernels are spectra.

    Args:
        step: distance of neighbouring levels, in units of the weight.
        spectral: quantize kernels in the basis of their spectra (`codecs/spectrum.py`); weights without kernels stay as
            they are.
    """

    step: float
    spectral: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        # The file holds the step as float32: what is configured is what is stored, in the fewest digits.
        if not isinstance(self.step, Real) or not _LEAST <= self.step <= LARGEST:
            raise InputError(f"a step of {self.step} is impossible; give a positive number")
        object.__setattr__(self, "step", float(str(np.float32(self.step))))

    def analysed(self, weight: Tensor) -> Tensor:
        """The weight, or the coefficients of its kernels."""
        return analysis(weight) if self.spectral else weight

    def synthesised(self, values: Tensor) -> Tensor:
        """The weight of these values: the inverse of `analysed`."""
        return synthesis(values) if self.spectral else values

    def pulled_back(self, gradient: Tensor) -> Tensor:
        """The gradient with respect to what is quantized."""
        return pulled_back(gradient) if self.spectral else gradient

    @classmethod
    def decode(cls, encoded: Encoded) -> Tensor:
        """Rebuild the weight, of the shape and dtype that were encoded; the payload alone tells how."""
        values, spectral = cls.quantized(encoded)
        if spectral:
            values = synthesis(values)
            if not torch.isfinite(values).all():
                raise ArtifactError(f"a layer of the codec {cls.name!r} has weights beyond float32")
        return values.to(getattr(torch, encoded.dtype))

    @classmethod
    def quantized(cls, encoded: Encoded) -> tuple[Tensor, bool]:
        """What was quantized, float32 of the weight's shape, and whether it is spectra."""
        values = super().decode(replace(encoded, dtype="float32"))
        return values, bool(encoded.payload) and _STEP.unpack_from(encoded.payload)[0] < 0

    def packed_step(self) -> bytes:
        """The first bytes of a payload."""
        return _STEP.pack(-self.step if self.spectral else self.step)

    @classmethod
    def unpacked_step(cls, payload: bytes) -> tuple[float, bytes]:
        """The step, and the rest of a payload.

        Raises:
            ArtifactError: there is no step, or an impossible one.
        """
        if len(payload) <= _STEP.size:
            raise ArtifactError(f"a layer of {len(payload)} bytes is too short for the codec {cls.name!r}")
        step = abs(_STEP.unpack_from(payload)[0])
        if not 0 < step < np.inf:
            raise ArtifactError(f"a layer of the codec {cls.name!r} has a broken head")
        return step, payload[_STEP.size :]
