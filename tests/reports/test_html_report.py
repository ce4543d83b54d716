import hashlib
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from ravn.reports import render_html
from ravn.result import Result
from samples import Page, made_result, measured

EVIL = """<script>alert("a")</script> & 'b' $x_1$ {{ 7 * 7 }} </style> ]]>"""


def verdict(html):
    (text,) = re.findall(r'<p class="verdict">(.*?)</p>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", "", text).replace("&nbsp;", " ").split())


@pytest.mark.parametrize("clusters", [1, 5])
def test_a_result_read_back_from_json_gives_the_same_bytes(clusters):
    result = made_result(clusters=clusters)
    assert render_html(Result.from_json(result.to_json())) == render_html(result)


def test_another_process_gives_the_same_bytes_and_loads_matplotlib_only_to_draw():
    program = """
import hashlib, sys
from ravn.result import Result
from ravn.reports import headline_table, render_html
result = Result.from_json(sys.stdin.read())
headline_table(result)
print([name for name in ("matplotlib", "jinja2") if name in sys.modules])
print(hashlib.sha256(render_html(result).encode()).hexdigest())
print("matplotlib.pyplot" in sys.modules)
"""
    result = made_result(clusters=3)
    run = subprocess.run(
        [sys.executable, "-c", program], input=result.to_json(), capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:3] == ["[]", hashlib.sha256(render_html(result).encode()).hexdigest(), "False"]


def test_the_users_matplotlib_settings_are_neither_used_nor_changed():
    from matplotlib import rc_context, rcParams

    result = made_result(clusters=3)
    page = render_html(result)
    with rc_context({"font.size": 30.0, "svg.fonttype": "path", "lines.linewidth": 9.0, "axes.grid": True}):
        before = dict(rcParams)
        assert render_html(result) == page
        assert dict(rcParams) == before


@pytest.mark.parametrize("count", [1, 20, 160])
def test_every_method_and_every_layer_appears(count):
    result = made_result(layers=count, clusters=2)
    cells = Page(render_html(result)).texts("td")
    assert {row.method for row in result.rows} <= set(cells)
    assert [cell for cell in cells if cell.endswith(".weight")] == [layer.name for layer in result.layers]
    assert {f"{layer.size_bytes:,}" for layer in result.layers} <= set(cells)


def test_the_page_refers_to_nothing_outside_itself():
    html = render_html(made_result(clusters=4))
    assert "//" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "@import" not in html
    page = Page(html)
    assert not {"script", "iframe", "object", "embed", "image"} & {tag for tag, _, _ in page.elements}
    links = [v for _, a, _ in page.elements for k, v in a.items() if k in ("href", "src", "xlink:href", "srcset")]
    assert len(links) > 5
    assert all(link.startswith(("#", "data:")) for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_tags_nest_and_every_id_is_unique_and_every_reference_resolves():
    html = render_html(made_result(layers=12, clusters=4))
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', html)) <= set(ids)


def test_special_characters_are_shown_and_never_interpreted():
    plain = made_result()
    layers = (replace(plain.layers[0], name=EVIL, kind=EVIL, codec=EVIL), *plain.layers[1:])
    rows = (*plain.rows[:-1], replace(plain.rows[-1], method=EVIL))
    texts = dict.fromkeys(("model", "data", "allocator", "preset", "command"), EVIL)
    histogram = replace(plain.histogram, layer=EVIL)
    result = replace(plain, layers=layers, rows=rows, histogram=histogram, versions={EVIL: EVIL}, **texts)
    page, usual = Page(render_html(result)), Page(render_html(plain))
    assert page.text().count(EVIL) >= 10
    assert {tag for tag, _, _ in page.elements} == {tag for tag, _, _ in usual.elements}
    assert len(page.all("svg")) == 5
    assert EVIL in page.texts("pre")


def test_the_chart_shows_a_name_with_dollar_signs_as_it_is():
    plain = made_result()
    page = Page(render_html(replace(plain, layers=(replace(plain.layers[0], name="a$b_1$<c>"), *plain.layers[1:]))))
    assert page.texts("text").count("a$b_1$<c>") == 2


def test_the_sections_come_in_order():
    html = render_html(made_result(clusters=3))
    order = [
        "Bits per layer and per cluster",
        "Bytes by layer",
        "Search",
        "Fine-tuning",
        "Weights before and after",
        "Every layer",
        "How this was measured",
    ]
    page = Page(html)
    assert page.texts("h2") == order
    tags = [tag for tag, _, _ in page.elements]
    assert tags.index("h1") < tags.index("table") < tags.index("h2")
    assert len(page.all("svg")) == 5


def test_the_verdict_states_the_numbers():
    result = made_result(
        parameters=269722,
        float_bytes=1078888,
        file_bytes=67411,
        budget_bytes=67430,
        bits_per_weight=8 * 67411 / 269722,
        float_test_accuracy=91.66,
        test_accuracy=90.83,
    )
    html = render_html(result)
    assert verdict(html) == (
        "1,078,888 bytes of float32 became 67,411 bytes (16.0× smaller, 2.00 bits per weight): "  # noqa: RUF001
        "90.83 % instead of 91.66 % of the test images are classified correctly."
    )
    page = Page(html).text()
    assert "The budget was 67,430 bytes; the file uses 99.97 % of it, and 19 bytes are left." in page


def test_the_last_row_is_ours_and_the_rows_keep_their_order():
    result = made_result()
    first = [cells for cells in Page(render_html(result)).texts("td") if cells in {row.method for row in result.rows}]
    assert first == [row.method for row in result.rows]


@pytest.mark.parametrize(
    ("accuracy", "images", "error"), [(90.0, 900, "1.00"), (50.0, 10000, "0.50"), (80.0, 64, "5.00")]
)
def test_the_standard_error_is_that_of_a_binomial(accuracy, images, error):
    page = Page(render_html(made_result(test_accuracy=accuracy, splits={"test": images}))).text()
    assert f"The standard error of the last row's is {error} percentage points" in page


@pytest.mark.parametrize("splits", [{"validation": 100}, {"validation": 100, "test": 0}])
def test_without_test_images_the_page_says_whose_accuracy_it_shows(splits):
    html = render_html(made_result(splits=splits))
    assert "of the validation images are classified correctly" in verdict(html)
    assert "standard error" not in html
    assert "neither the search nor the training saw" not in html.split("</table>")[0]


def test_what_was_not_recorded_is_said_in_a_sentence():
    html = render_html(
        made_result(search_curve=(), training_curve=(), histogram=None, epochs=0, seconds={}, versions={}, command="")
    )
    text = Page(html).text()
    assert "The search recorded no curve" in text
    assert "No training" in text
    assert "No histogram" in text
    assert len(Page(html).all("svg")) == 2
    assert Page(html).texts("h3") == ["Run"]


@pytest.mark.parametrize("curve", [((1, 0.5),), ((1, math.inf), (2, 3.0)), ((1, 3.0), (2, 0.001)), ((3, 0.0),)])
def test_any_search_curve_can_be_drawn(curve):
    assert len(Page(render_html(made_result(search_curve=curve))).all("svg")) == 5


def test_one_epoch_of_training_can_be_drawn():
    assert len(Page(render_html(made_result(training_curve=((1.0, 0.5, 90.0),)))).all("svg")) == 5


def test_no_number_on_the_page_is_nan_or_infinite():
    plain = made_result()
    broken = replace(plain.layers[0], error_db=-math.inf)
    odd = measured("odd", math.nan, 10, 10, 0, math.inf)
    result = replace(
        plain,
        rows=(odd, *plain.rows),
        layers=(broken, *plain.layers[1:]),
        search_curve=((1, math.inf),),
        training_curve=((1.0, math.nan, 50.0),),
    )
    assert not re.search(r"\b(nan|inf|infinity|none)\b", Page(render_html(result)).text(), re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_opens_the_page_and_draws_its_pictures(tmp_path, width):
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    browser = next(filter(None, found), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome to open the page in")
    result = made_result(layers=20, clusters=4)
    page, picture = tmp_path / "report.html", tmp_path / "page.png"
    page.write_text(render_html(result), encoding="utf-8")
    profile = tmp_path / "profile"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]

    def browse(*options):
        command = [browser, *flags, f"--window-size={width},3500", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    document = Page(browse("--dump-dom"))
    assert document.texts("title")[0].startswith("cifar:resnet20 on cifar10")
    assert len(document.all("svg")) == 5
    browse("--hide-scrollbars", f"--screenshot={picture}")
    assert blue_pixels(picture) > 0.01 * width * 3500


def blue_pixels(picture):
    """Pixels in the colour of the bars: text of that colour has few."""
    from matplotlib.image import imread

    red, green, blue = (imread(picture)[..., :3] * 255).round().T
    return int(((red == 0x1F) & (green == 0x5A) & (blue == 0x96)).sum())
