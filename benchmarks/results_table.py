"""Add finished runs to the table of results in the documentation.

    python benchmarks/results_table.py RUN [RUN ...] --into README.md docs/experiments.md

Every figure comes from the `result.json` of a run folder that `ravn compress` wrote. In each document the table stands
between `<!-- results -->` and `<!-- /results -->`, the command of a row in its last cell. A run takes the place of the
row of the same command, or is added; rows are sorted by network and size. Without `--into` they are printed.
"""

import argparse
import shlex
import sys
from itertools import pairwise
from pathlib import Path

from ravn.result import Result

DISTINCT = (
    *("--bits", "--bytes", "--ratio", "--epochs", "--preset", "--allocator"),
    *("--evaluations", "--teacher", "--unlabeled", "--seed"),
)
HEAD = (
    "| network | allocator | epochs | file bytes | bits per weight | ratio | test accuracy % | against float"
    " | `ravn compress ...` with |"
)
OPEN, CLOSE = "<!-- results -->", "<!-- /results -->"


def row(result: Result) -> str:
    """One line of the table: the file, what it predicts, and the command that made it."""
    cells = (
        result.model,
        result.allocator,
        str(result.epochs),
        f"{result.file_bytes:,}",
        f"{result.bits_per_weight:.3f}",
        f"{result.float_bytes / result.file_bytes:.1f}x",
        f"{result.test_accuracy:.2f}",
        f"{result.test_accuracy - result.float_test_accuracy:+.2f}",
        f"`{options(result)}`",
    )
    return f"| {' | '.join(cells)} |"


def options(result: Result) -> str:
    """What tells the command of a run from others, in one order: budget, training, search, images, seed."""
    words = [pair for pair in pairwise(shlex.split(result.command)) if pair[0] in DISTINCT]
    kept = [f"{word} {told(word, value)}" for word, value in words if (word, value) != ("--seed", "0")]
    return " ".join(sorted(kept, key=lambda pair: DISTINCT.index(pair.split()[0])))


def told(option: str, value: str) -> str:
    """A value without folders."""
    if option == "--unlabeled":
        name, colon, _ = value.partition(":")
        return f"{name}{colon}DIR" if colon else name
    parts = [part.partition("=") for part in value.split(",")]
    return ",".join(f"{name}{equals}{Path(file).name}" for name, equals, file in parts)


def order(line: str) -> tuple[str, int, int]:
    """Where a line stands: by network, then by size, then by epochs."""
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    return cells[0], -int(cells[3].replace(",", "")), int(cells[2])


def merged(former: list[str], new: list[str]) -> str:
    """The whole table in markdown."""
    told = {(line.split("|")[1], line.split("|")[-2]): line for line in [*former, *new]}
    return "\n".join([HEAD, "|---" * HEAD.count(" | ") + "|---|", *sorted(told.values(), key=order)])


def main() -> None:
    """Read the runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--into", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    new = [row(Result.from_json((run / "result.json").read_text())) for run in arguments.runs]
    for document in arguments.into:
        text = document.read_text()
        if OPEN not in text or CLOSE not in text:
            sys.exit(f"{document} has no {OPEN} ... {CLOSE} to write between")
        before, rest = text.split(OPEN, 1)
        table, after = rest.split(CLOSE, 1)
        former = [line for line in table.splitlines() if line.startswith("| ") and line != HEAD]
        document.write_text(f"{before}{OPEN}\n{merged(former, new)}\n{CLOSE}{after}")
    if not arguments.into:
        print(merged([], new))


if __name__ == "__main__":
    main()
