"""The pictures of the report: numbers -> SVG, the same bytes for the same numbers."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import colormaps, rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ravn.result import Histogram, LayerReport

P = ParamSpec("P")

POINTS = 72
WIDTH = 340
CURVE_WIDTH, CURVE_HEIGHT = 260, 188
CURVE = (36, 28, 218, 138)
"""Left, bottom, width and height of a curve's axes, in points."""

INK, MUTED, RULE, BEFORE, ACCENT = "#1b2530", "#5f6b76", "#d5dbe1", "#c3cad2", "#1f5a96"
"""The colours of the page; report.html.jinja has them too."""

STYLE: dict[Any, Any] = {
    # Text stays text, laid out with the font that matplotlib brings: searchable, small, alike on all machines.
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "grid.color": "#eceff2",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}

ROW_POINTS = (10.5, 15.0)
"""Least and largest height of a row; the names stay legible in both."""

COMFORTABLE_HEIGHT = 1200
HEAD = 24
SCATTER = 420
GAP = 12
NAME_CHARACTERS = 30
GLYPH = 0.56
"""Width of a letter or digit, in sizes of the text."""

BAR_SHARE = 0.45
KILO = 1000


def _picture(draw: Callable[P, Figure]) -> Callable[P, str]:
    """Make a function that draws a figure return SVG, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def svg(*args: P.args, **kwargs: P.kwargs) -> str:
        """Draw as SVG."""
        with rc_context(), warnings.catch_warnings():
            # The text is text: a reader's font draws the letters that matplotlib's own lacks.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            rcdefaults()
            rcParams.update(STYLE | {"svg.hashsalt": draw.__name__})
            return _svg(draw(*args, **kwargs))

    return svg


def _svg(figure: Figure) -> str:
    """The bare <svg> element; groups lose their ids, which several pictures on a page would share."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    return re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width / POINTS, height / POINTS), facecolor="none")


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in points from the lower left corner."""
    across, up = (POINTS * inches for inches in figure.get_size_inches())
    return figure.add_axes((left / across, bottom / up, width / across, height / up), facecolor="none")


@_picture
def bits_by_layer(layers: Sequence[LayerReport], file_bits: float) -> Figure:
    """Bars of every layer's true rate and, where layers have clusters, strips of the clusters' bits.

    Args:
        layers: at least one.
        file_bits: bits per weight of the whole file, drawn as a line.
    """
    rates = [layer.bits_per_weight for layer in layers]
    rows = _Rows(layers, [f"{rate:.2f}" for rate in rates])
    clustered = any(len(layer.cluster_bits) > 1 for layer in layers)
    width = BAR_SHARE * rows.room if clustered else rows.room
    bars = rows.axes("bits per weight", 0, width)
    bars.barh(range(len(rates)), rates, height=0.7, color=ACCENT)
    bars.set_xlim(0, max(*rates, file_bits, 1e-9))
    bars.axvline(file_bits, color=INK, linewidth=0.8, dashes=(3, 2), clip_on=False)
    if clustered:
        rest = rows.room - width - GAP
        _strips(rows.axes("bits of each cluster", width + GAP, rest), layers, rest, rows.size)
    return rows.figure


@_picture
def bytes_by_layer(layers: Sequence[LayerReport], file_bytes: int) -> Figure:
    """Bars of every layer's stored bytes, and of the bytes of the file that belong to no layer.

    Args:
        layers: at least one.
        file_bytes: bytes of the whole file.
    """
    sizes = [layer.size_bytes for layer in layers]
    sizes.append(max(file_bytes - sum(sizes), 0))
    rows = _Rows(layers, [f"{size:,}" for size in sizes], "all else")
    axes = rows.axes("bytes", 0, rows.room)
    axes.barh(range(len(sizes)), sizes, height=0.7, color=[*[ACCENT] * len(layers), BEFORE])
    axes.set_xlim(0, max(*sizes, 1))
    return rows.figure


@_picture
def scatter(points: Sequence[tuple[float, float]], groups: Sequence[int], title: str) -> Figure:
    """Points in the plane, coloured by their group; the axes of a layout mean nothing and are left out.

    Args:
        points: at least one.
        groups: number of each point's group.
        title: stands above.
    """
    figure = _figure(SCATTER, SCATTER + HEAD)
    axes = _axes(figure, 0, 0, SCATTER, SCATTER)
    axes.set_axis_off()
    across, up = zip(*points, strict=True)
    axes.scatter(across, up, c=groups, cmap=colormaps["tab10"], vmin=0, vmax=9, s=3, linewidths=0)
    figure.text(0.5, 1 - HEAD / 2 / (SCATTER + HEAD), title, ha="center", va="center", color=MUTED)
    return figure


@_picture
def front(points: Sequence[tuple[int, float]], float_accuracy: float) -> Figure:
    """Accuracy by size of several files, and the float network's as a dashed line.

    Args:
        points: (bytes, accuracy in percent) of every file, at least one.
        float_accuracy: in percent.
    """
    figure = _figure(CURVE_WIDTH, CURVE_HEIGHT)
    axes = _axes(figure, *CURVE)
    sizes, accuracies = zip(*sorted(points), strict=True)
    axes.plot([size / KILO for size in sizes], accuracies, "o-", color=ACCENT, markersize=3.2)
    axes.axhline(float_accuracy, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    _plain(axes, "accuracy, %", "kilobytes of the file", whole=False)
    return figure


@_picture
def search_curve(curve: Sequence[tuple[int, float]], evaluations: int) -> Figure:
    """Steps of the best loss so far.

    Args:
        curve: (evaluation number, loss) of every improvement, at least one.
        evaluations: how many were made; the last step reaches there.
    """
    numbers, losses = zip(*curve, strict=True)
    figure = _figure(CURVE_WIDTH, CURVE_HEIGHT)
    axes = _axes(figure, *CURVE)
    axes.step([*numbers, max(evaluations, numbers[-1])], [*losses, losses[-1]], where="post", color=ACCENT)
    axes.plot(numbers, losses, "o", color=ACCENT, markersize=3.2)
    fall = max(losses) / min(losses) if min(losses) > 0 else 1.0
    if fall > 8:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if fall < 100 else (1.0,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _plain(axes, "best loss so far (L_RAVN)", "evaluations")
    return figure


@_picture
def training_curve(curve: Sequence[tuple[float, float, float]]) -> Figure:
    """Training loss and validation accuracy, one above the other.

    Args:
        curve: (epoch, loss, accuracy in percent), at least one.
    """
    epochs, losses, accuracies = zip(*curve, strict=True)
    figure = _figure(CURVE_WIDTH, CURVE_HEIGHT)
    marker = "o" if len(epochs) <= 40 else ""
    left, bottom, width, height = CURVE
    loss = _axes(figure, left, bottom + 82, width, height - 82)
    accuracy = _axes(figure, left, bottom, width, height - 82)
    for axes, values in ((loss, losses), (accuracy, accuracies)):
        axes.plot(epochs, values, marker=marker, markersize=2.8, color=ACCENT)
    _plain(loss, "training loss", "")
    _plain(accuracy, "validation accuracy, %", "epoch")
    loss.tick_params(labelbottom=False)
    return figure


@_picture
def weight_histogram(histogram: Histogram) -> Figure:
    """Weights before and after, on a logarithmic scale of counts.

    Args:
        histogram: counts in equal bins.
    """
    figure = _figure(CURVE_WIDTH, CURVE_HEIGHT)
    axes = _axes(figure, *CURVE)
    low = 0.7
    before, after = ([max(count, low) for count in counts] for counts in (histogram.before, histogram.after))
    axes.stairs(before, histogram.edges, baseline=low, fill=True, color=BEFORE, label="before")
    axes.stairs(after, histogram.edges, baseline=low, fill=True, color=ACCENT, label="in the file")
    axes.stairs(before, histogram.edges, baseline=low, color=MUTED, linewidth=0.7)
    axes.set_yscale("log")
    axes.set_ylim(bottom=low)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _plain(axes, "number of weights", "weight", whole=False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=2, borderaxespad=0.3, handlelength=1.0)
    return figure


def _names(layers: Sequence[LayerReport]) -> list[str]:
    """Names short enough for a picture: without the ending that all share, and without the first parts of long ones."""
    suffix = ".weight" if all(layer.name.endswith(".weight") for layer in layers) else ""
    return [_short(layer.name.removesuffix(suffix)) for layer in layers]


def _short(name: str) -> str:
    if len(name) <= NAME_CHARACTERS:
        return name
    tail = name[1 - NAME_CHARACTERS :]
    whole_parts = tail.partition(".")[2] if name[-NAME_CHARACTERS] != "." else tail
    return f"…{whole_parts or tail}"


class _Rows:
    """A figure with one row per layer: its name, a number, and room for bars.

    Args:
        layers: layers from top to bottom.
        numbers: a number for every row, as text.
        extra: names of rows below the layers.
    """

    def __init__(self, layers: Sequence[LayerReport], numbers: Sequence[str], *extra: str) -> None:
        names = [*_names(layers), *extra]
        least, most = ROW_POINTS
        row = min(max(COMFORTABLE_HEIGHT / len(layers), least), most)
        self.size = min(0.72 * row, 8.5)
        self.names, self.numbers = names, numbers
        self.numbers_width = GLYPH * self.size * max(map(len, numbers)) + 6
        self.left = GLYPH * self.size * max(map(len, names)) + 8 + self.numbers_width
        self.room = WIDTH - self.left
        self.height = row * len(names)
        self.figure = _figure(WIDTH, self.height + HEAD)

    def axes(self, title: str, left: float, width: float) -> Axes:
        """Axes under a heading, `left` points into the room; the first ones carry names and numbers."""
        axes = _axes(self.figure, self.left + left, 0, width, self.height)
        axes.set_ylim(len(self.names) - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        _heading(axes, title)
        if left == 0:
            self._write(axes, self.numbers, -4)
            self._write(axes, self.names, -self.numbers_width - 6)
        return axes

    def _write(self, axes: Axes, texts: Sequence[str], offset: float) -> None:
        """A column of texts that ends so many points beside the axes."""
        place = axes.get_yaxis_transform()
        style: dict[str, Any] = {"size": self.size, "ha": "right", "va": "center_baseline"}
        for row, text in enumerate(texts):
            axes.annotate(text, (0, row), (offset, 0), place, "offset points", **style)


def _strips(axes: Axes, layers: Sequence[LayerReport], width: float, size: float) -> None:
    """A strip per layer: a cluster is as wide as its share of the weights and as dark as its bits."""
    blues = colormaps["Blues"]
    most = max(4.0, *(bits for layer in layers for bits in layer.cluster_bits))
    axes.set_xlim(0, 1)
    for number, layer in enumerate(layers):
        start = 0.0
        for bits, share in zip(layer.cluster_bits, layer.cluster_shares, strict=True):
            darkness = 0.05 + 0.8 * bits / most
            patch = Rectangle((start, number - 0.4), share, 0.8, facecolor=blues(darkness), edgecolor="white")
            patch.set_linewidth(min(0.6, 0.15 * share * width))
            axes.add_patch(patch)
            label = f"{bits:.3g}"
            if share * width > GLYPH * size * len(label) + 3:
                color = "white" if darkness > 0.55 else INK
                axes.text(
                    start + share / 2, number, label, size=size - 1, ha="center", va="center_baseline", color=color
                )
            start += share


def _plain(axes: Axes, title: str, label: str, *, whole: bool = True) -> None:
    """Heading, axis label and light grid of a curve."""
    axes.grid(axis="y")
    axes.margins(x=0.03, y=0.1)
    axes.tick_params(which="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(6 if whole else 4, integer=whole, min_n_ticks=1))
    _heading(axes, title)


def _heading(axes: Axes, title: str) -> None:
    axes.annotate(title, (0, 1), (0, 8), "axes fraction", "offset points", color=MUTED, ha="left", va="bottom")
