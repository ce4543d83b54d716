"""Coverage-guided fuzzing of the .ravn reader; every input loads to sound weights or raises one ArtifactError.

    pip install atheris
    python tests/fuzz/fuzz_artifact.py -runs=100000

Most inputs are taken apart, changed behind their checksums and put together again, so that they reach the codecs; the
others are changed as plain bytes. Seeds are small files of every codec and the golden ones, unless a corpus folder is
given. What it finds becomes a case of `tests/artifact/test_hostile.py`.
"""

import json
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "artifact"))

import atheris  # noqa: E402

with atheris.instrument_imports(include=["ravn"]):
    import mutants
    import torch
    from subjects import subjects

    from ravn.artifact import pack, unpack
    from ravn.artifact.planes import deflate
    from ravn.errors import ArtifactError

NAME = "fuzzed.ravn"


def one_input(data: bytes) -> None:
    """The law; whatever else it raises is a finding."""
    try:
        artifact = unpack(data, source=NAME)
        state = artifact.state_dict()
    except ArtifactError as error:
        message = str(error)
        if not message.startswith(NAME) or "\n" in message or len(message) > 1000:
            raise RuntimeError(f"not one short sentence that names the file: {message}") from error
        return
    if {name: tuple(tensor.shape) for name, tensor in state.items()} != artifact.shapes():
        raise RuntimeError("weights of other shapes than declared")
    for name, encoded in artifact.layers.items():
        if state[name].dtype != getattr(torch, encoded.dtype) or not torch.isfinite(state[name]).all():
            raise RuntimeError(f"weights of {name!r} are not finite, or of another dtype than declared")


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Change an input: as a file with right checksums where it is one, or else as bytes."""
    chance = Random(seed)
    mutant = b""
    if chance.random() < 0.8:
        # A mutant of a mutant need not be one that can be taken apart, or that the families understand.
        with suppress(Exception):
            mutant = chance.choice([*mutants.CRAFTED, *[inner_bytes] * 20])(mutants.parsed(data), chance)
    return mutant if 0 < len(mutant) <= max_size else atheris.Mutate(data, max_size)


def inner_bytes(file: mutants.Valid, chance: Random) -> bytes:
    """Let the fuzzer itself change a payload, the spec's text or the inflated tensors."""
    kind = chance.randrange(4)
    if kind == 0:
        text = json.dumps(file.document).encode()
        return mutants.framed(deflate(atheris.Mutate(text, 2 * len(text))), file.codes, file.tensors)
    if kind == 1:
        raw = zlib.decompress(file.tensors, -zlib.MAX_WBITS)
        return mutants.written(replace(file, tensors=deflate(atheris.Mutate(raw, len(raw) + 64))))
    bounds = mutants.payload_bounds(file)
    row = chance.randrange(len(bounds))
    payload = file.codes[slice(*bounds[row])]
    return mutants.with_payload(file, row, atheris.Mutate(payload, len(payload) + (64 if kind == 2 else 0)))


def main() -> None:
    """Fuzz, from valid files on unless the command line names a corpus."""
    with tempfile.TemporaryDirectory() as corpus:
        arguments = [*sys.argv, "-max_len=8192", "-timeout=30"]
        if all(argument.startswith("-") for argument in sys.argv[1:]):
            for number, artifact in enumerate(subjects()):
                (Path(corpus) / f"{number}.ravn").write_bytes(pack(artifact))
            for path in (TESTS / "golden").glob("*.ravn"):
                (Path(corpus) / path.name).write_bytes(path.read_bytes())
            arguments.append(corpus)
        atheris.Setup(arguments, one_input, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
