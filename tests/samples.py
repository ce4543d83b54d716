"""Made-up results of any size, and a reader of the pages that are drawn from them."""

import math
import random
from html.parser import HTMLParser

from ravn.result import Histogram, LayerReport, Measurement, Result

VOID = {"meta", "link", "br", "hr", "img", "input"}


def layer(number, clusters, rng):
    shape = (16 * (1 + number % 4), 16, 3, 3)
    weights = math.prod(shape)
    raw = [rng.uniform(0.05, 1.0) for _ in range(clusters)]
    shares = tuple(value / sum(raw) for value in raw)
    size = int(weights * rng.uniform(1.2, 4.5) / 8)
    rate = 8 * size / weights
    bits = tuple(float(rng.randint(0, 8)) for _ in range(clusters)) if clusters > 1 else (rate,)
    codec = "cluster" if clusters > 1 else "entropy"
    name = f"stage{number // 6}.{number % 6}.conv{number}.weight"
    return LayerReport(name, "Conv2d", shape, codec, bits, shares, size, rate, -6.02 * rate)


def measured(method, accuracy, size, parameters, evaluations, seconds):
    return Measurement(method, accuracy, size, 8 * size / parameters, 4 * parameters / size, evaluations, seconds)


def made_result(layers=6, clusters=1, seed=0, **changes):
    rng = random.Random(seed)
    reports = tuple(layer(number, clusters, rng) for number in range(layers))
    parameters = sum(math.prod(report.shape) for report in reports) + 100
    size = sum(report.size_bytes for report in reports) + 700
    values = {
        "model": "cifar:resnet20",
        "data": "cifar10",
        "parameters": parameters,
        "float_bytes": 4 * parameters,
        "budget_bytes": size + 5,
        "file_bytes": size,
        "bits_per_weight": 8 * size / parameters,
        "float_test_accuracy": 91.66,
        "test_accuracy": 90.83,
        "allocator": "ppo",
        "evaluations": 120,
        "seed": seed,
        "epochs": 3,
        "trained": True,
        "outdone": False,
        "preset": "default",
        "splits": {"train": 45000, "calibration": 512, "validation": 5000, "test": 10000},
        "rows": (
            measured("float32", 91.66, 4 * parameters, parameters, 0, 0.0),
            measured("uniform 4-bit", 90.4, 2 * size, parameters, 0, 2.6),
            measured("RAVN + fine-tuning", 90.83, size, parameters, 120, 1488.0),
        ),
        "layers": reports,
        "search_curve": ((1, 0.31), (7, 0.12), (40, 0.08)),
        "training_curve": ((1.0, 0.9, 85.0), (2.0, 0.5, 88.5), (3.0, 0.4, 90.1)),
        "histogram": Histogram(reports[0].name, (-0.2, -0.1, 0.0, 0.1, 0.2), (3, 900, 850, 0), (0, 903, 850, 0)),
        "seconds": {"search": 171.2, "training": 1299.7},
        "versions": {"ravn": "0.1.0", "torch": "2.7.1"},
        "command": "ravn compress --model cifar:resnet20",
    }
    return Result(**(values | changes))


class Page(HTMLParser):
    """The elements of a page, in order: (tag, attributes, text directly inside); and whether tags nest."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        started = self.open.pop()[0] if self.open else None
        if started != tag:
            raise ValueError(f"<{started}> is closed by </{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def all(self, tag):
        return [element for element in self.elements if element[0] == tag]

    def texts(self, tag):
        return [" ".join(text.split()) for _, _, text in self.all(tag)]

    def text(self):
        inner = (text for tag, _, text in self.elements if tag not in ("style", "script"))
        return " ".join(" ".join(inner).split())
