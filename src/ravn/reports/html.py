"""The report: a result as one HTML page that needs no network, no script and no other file."""

import math
from collections.abc import Sequence

from ravn.reports.formats import HEADINGS, duration, fixed, headline_cells, thousands
from ravn.result import Result

TEMPLATE = "report.html.jinja"
MOST_DRAWN = 1e30
"""Losses beyond are left out of charts, as infinite ones and NaN are."""

PURPOSES = {
    "train": "fine-tuning",
    "calibration": "error compensation while rounding; no labels; drawn from the training images",
    "search": "scoring plans; no labels; drawn from the training images",
    "holdout": "choosing between the search's finalists; no labels; drawn from the training images",
    "test": "the accuracies of this page; neither the search nor the training saw them",
}
"""What the images of each split were used for; `_validation_purpose` adds the validation images."""


def render_html(result: Result, *, front: Sequence[tuple[int, float]] = ()) -> str:
    """Draw a result as a self-contained page; the same result gives the same bytes.

    Args:
        result: what was measured.
        front: bytes and accuracy in percent of all files, where the result is the last of several budgets.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ravn.reports", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    test_images = result.splits.get("test", 0)
    environment.filters |= {"thousands": thousands, "fixed": fixed, "duration": duration}
    return environment.get_template(TEMPLATE).render(
        result=result,
        headings=HEADINGS,
        rows=[headline_cells(row) for row in result.rows],
        pictures=_pictures(result, front),
        measured="test" if test_images else "validation",
        standard_error=_standard_error(result.test_accuracy, test_images),
        purposes=PURPOSES | {"validation": _validation_purpose(result)},
        layers=[(layer, _shape(layer.shape), _bits(layer.cluster_bits)) for layer in result.layers],
        clustered=any(len(layer.cluster_bits) > 1 for layer in result.layers),
        rest_bytes=result.file_bytes - sum(layer.size_bytes for layer in result.layers),
    )


def _pictures(result: Result, front: Sequence[tuple[int, float]]) -> dict[str, str]:
    """All charts as SVG, by name; an empty string where nothing was recorded."""
    from ravn.reports import charts

    search = [point for point in result.search_curve if abs(point[1]) < MOST_DRAWN]
    training = [point for point in result.training_curve if all(abs(value) < MOST_DRAWN for value in point)]
    return {
        "front": charts.front(front, result.float_test_accuracy) if front else "",
        "bits": charts.bits_by_layer(result.layers, result.bits_per_weight) if result.layers else "",
        "bytes": charts.bytes_by_layer(result.layers, result.file_bytes) if result.layers else "",
        "search": charts.search_curve(search, result.evaluations) if search else "",
        "training": charts.training_curve(training) if training else "",
        "histogram": charts.weight_histogram(result.histogram) if result.histogram else "",
    }


def _validation_purpose(result: Result) -> str:
    uses = []
    if result.epochs:
        uses += ["watching the training", "choosing between plans and between trained and untrained weights; no labels"]
    if not result.splits.get("test"):
        uses.append("the accuracies of this page")
    return "; ".join(uses) or "not used"


def _standard_error(accuracy: float, images: int) -> float | None:
    """`100 sqrt(p (1 - p) / n)`: standard error in points of an accuracy p in percent of n images."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / images) if images else None


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))  # noqa: RUF001 - the sign, not the letter


def _bits(bits: Sequence[float]) -> str:
    return " ".join(f"{b:g}" for b in bits) if len(bits) > 1 else fixed(bits[0], 2)
