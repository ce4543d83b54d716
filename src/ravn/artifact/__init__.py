"""4 PACK: the .ravn file: what it holds, how it is written, and how it is read back safely."""

from ravn.artifact.container import least_bytes, pack, size_bytes, unpack
from ravn.artifact.files import read
from ravn.artifact.loading import fill
from ravn.artifact.spec import Artifact

__all__ = ["Artifact", "fill", "least_bytes", "pack", "read", "size_bytes", "unpack"]
