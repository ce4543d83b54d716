"""Write the table of finished runs into the documentation.

    python benchmarks/results_table.py RUN [RUN ...] --into README.md docs/experiments.md

Every figure comes from the `result.json` of a run folder that `ravn compress` wrote. In each document the table takes
the place of what stands between `<!-- results -->` and `<!-- /results -->`; without `--into` it is printed.
"""

import argparse
import shlex
import sys
from itertools import pairwise
from pathlib import Path

from ravn.result import Result

DISTINCT = ("--bits", "--bytes", "--ratio", "--epochs", "--teacher")
OPEN, CLOSE = "<!-- results -->", "<!-- /results -->"


def row(result: Result) -> str:
    """One line of the table: the budget, the file, and what it predicts."""
    cells = (
        result.model,
        result.allocator,
        str(result.epochs),
        f"{result.file_bytes:,}",
        f"{result.bits_per_weight:.3f}",
        f"{result.float_bytes / result.file_bytes:.1f}x",
        f"{result.test_accuracy:.2f}",
        f"{result.test_accuracy - result.float_test_accuracy:+.2f}",
    )
    return f"| {' | '.join(cells)} |"


def options(result: Result) -> str:
    """What distinguishes the command of a run: its budget and its epochs."""
    words = shlex.split(result.command)
    kept = [f"{word} {value}" for word, value in pairwise(words) if word in DISTINCT]
    return " ".join(kept)


def table(results: list[Result]) -> str:
    """The whole table in markdown, with the commands below."""
    head = "| network | allocator | epochs | file bytes | bits per weight | ratio | test accuracy % | against float |"
    lines = [head, "|---|---|---|---|---|---|---|---|", *map(row, results)]
    commands = "; ".join(f"`{options(result)}`" for result in results)
    below = f"Commands, in this order: `ravn compress ...` with {commands}; seed {results[0].seed}."
    return "\n".join([*lines, "", below])


def main() -> None:
    """Read the runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--into", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    written = table([Result.from_json((run / "result.json").read_text()) for run in arguments.runs])
    for document in arguments.into:
        text = document.read_text()
        if OPEN not in text or CLOSE not in text:
            sys.exit(f"{document} has no {OPEN} ... {CLOSE} to write between")
        before, after = text.split(OPEN)[0], text.split(CLOSE)[1]
        document.write_text(f"{before}{OPEN}\n{written}\n{CLOSE}{after}")
    if not arguments.into:
        print(written)


if __name__ == "__main__":
    main()
