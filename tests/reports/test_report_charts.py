"""The pictures against their numbers: the geometry is read back from the SVG."""

import re
from itertools import pairwise

import pytest

from ravn.reports import charts
from samples import Page, made_result


def boxes(svg, fill=r"#[0-9a-f]{6}"):
    """(left, width, top, fill) of every filled rectangle without a viewport of its own."""
    found = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: ({fill})', svg)
    corners = [(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), color) for path, color in found]
    return [(float(p[0][0]), float(p[1][0]) - float(p[0][0]), float(p[2][1]), c) for p, c in corners if len(p) == 4]


def test_bars_of_bytes_are_as_long_as_the_bytes_and_sum_to_the_file():
    result = made_result(layers=9)
    svg = charts.bytes_by_layer(result.layers, result.file_bytes)
    sizes = [layer.size_bytes for layer in result.layers]
    widths = [width for _, width, _, _ in boxes(svg, charts.ACCENT)]
    (rest,) = [width for _, width, _, _ in boxes(svg, charts.BEFORE)]
    point = sum(sizes) / sum(widths)
    assert [width * point for width in widths] == pytest.approx(sizes, rel=1e-3)
    assert (sum(widths) + rest) * point == pytest.approx(result.file_bytes, rel=1e-3)


def test_bars_of_bits_are_as_long_as_the_true_rate():
    result = made_result(layers=9, clusters=3)
    rates = [layer.bits_per_weight for layer in result.layers]
    widths = [w for _, w, _, _ in boxes(charts.bits_by_layer(result.layers, result.bits_per_weight), charts.ACCENT)]
    assert [width / widths[0] for width in widths] == pytest.approx([rate / rates[0] for rate in rates], rel=1e-3)


def test_strips_are_as_wide_as_the_shares_and_darker_with_more_bits():
    result = made_result(layers=5, clusters=4)
    svg = charts.bits_by_layer(result.layers, result.bits_per_weight)
    strips = [box for box in boxes(svg) if box[3] != charts.ACCENT]
    shares = [share for layer in result.layers for share in layer.cluster_shares]
    bits = [b for layer in result.layers for b in layer.cluster_bits]
    full = sum(width for _, width, _, _ in strips) / len(result.layers)
    assert [width / full for _, width, _, _ in strips] == pytest.approx(shares, rel=1e-3, abs=1e-5)
    for start in range(0, len(strips), 4):
        ends = [left + width for left, width, _, _ in strips[start : start + 4]]
        assert ends[:-1] == pytest.approx([left for left, _, _, _ in strips[start + 1 : start + 4]], abs=1e-3)
    light = [sum(bytes.fromhex(color[1:])) for _, _, _, color in strips]
    assert all((b < c) == (p > q) for b, p in zip(bits, light, strict=True) for c, q in zip(bits, light, strict=True))


def test_entropy_coded_layers_have_no_strips():
    result = made_result(layers=5, clusters=1)
    svg = charts.bits_by_layer(result.layers, result.bits_per_weight)
    assert {color for _, _, _, color in boxes(svg)} == {charts.ACCENT}


@pytest.mark.parametrize("count", [1, 20, 90, 160])
def test_rows_stay_apart_and_text_legible_for_any_number_of_layers(count):
    result = made_result(layers=count, clusters=2)
    bits = charts.bits_by_layer(result.layers, result.bits_per_weight)
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", bits)]
    assert min(sizes) >= 6.5
    tops = sorted(top for _, _, top, _ in boxes(bits, charts.ACCENT))
    assert len(tops) == count
    assert all(after - before > 1.1 * sizes[1] for before, after in pairwise(tops))


def test_the_rows_of_both_pictures_are_at_the_same_height():
    result = made_result(layers=90)
    pictures = (
        charts.bits_by_layer(result.layers, result.bits_per_weight),
        charts.bytes_by_layer(result.layers, result.file_bytes),
    )
    tops = [[top for _, _, top, _ in boxes(svg, charts.ACCENT)] for svg in pictures]
    assert tops[0] == pytest.approx(tops[1], abs=0.01)


def test_long_names_keep_their_end_and_stay_inside_the_picture():
    names = [f"vision_model.encoder.layer.{n}.attention.attention.query.weight" for n in range(12)]
    names.append("x" * 200 + ".weight")
    layers = [
        type(layer)(**{**vars(layer), "name": name})
        for layer, name in zip(made_result(layers=13).layers, names, strict=True)
    ]
    texts = Page(charts.bytes_by_layer(layers, 10**6)).texts("text")
    assert [t for t in texts if t.endswith("attention.query")] == [f"…{n}.attention.attention.query" for n in range(12)]
    assert max(map(len, texts)) <= charts.NAME_CHARACTERS


@pytest.mark.parametrize("evaluations", [40, 400])
def test_the_search_curve_steps_down_where_the_loss_fell_and_reaches_the_last_evaluation(evaluations):
    curve = ((1, 0.31), (7, 0.12), (40, 0.08))
    svg = charts.search_curve(curve, evaluations)
    (steps,) = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: {charts.ACCENT}', svg)
    points = [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", steps)]
    (first, top), (last, bottom) = points[0], points[-1]
    shown = {
        (
            round(1 + (evaluations - 1) * (x - first) / (last - first)),
            round(0.31 - 0.23 * (y - top) / (bottom - top), 4),
        )
        for x, y in points
    }
    assert shown == {*curve, (7, 0.31), (40, 0.12), (evaluations, 0.08)}


def test_the_histogram_draws_both_counts_on_a_logarithmic_scale():
    histogram = made_result().histogram
    svg = charts.weight_histogram(histogram)
    texts = Page(svg).texts("text")
    assert {"before", "in the file", "1", "10", "100"} <= set(texts)
    assert svg != charts.weight_histogram(type(histogram)(**{**vars(histogram), "after": histogram.before}))


def test_a_scatter_shows_every_point_and_is_the_same_for_the_same_points():
    points = [(0.0, 1.0), (2.0, -1.0), (0.5, 0.5)]
    svg = charts.scatter(points, [0, 1, 1], "kernels <of> a layer")
    assert svg == charts.scatter(points, [0, 1, 1], "kernels <of> a layer")
    assert svg.count("<use ") == len(points)
    assert "kernels &lt;of&gt; a layer" in svg
