"""The paper's tables, computed from records: our rows beside the paper's, and a sentence where they differ."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ravn.arms import ARMS
from ravn.reproduce.archive import Archive, setting_of
from ravn.reproduce.catalogue import DATASETS, LARGE, NETWORKS
from ravn.reproduce.cells import FLOAT, FOUR_BIT, PROPOSED, SAME_BYTES, Record
from ravn.reproduce.paper import FLOAT_BYTES, MEGABYTE, PAPER
from ravn.reproduce.running import INFERENCES

NONE = "-"
SIDE_BY_SIDE = (FLOAT, FOUR_BIT, SAME_BYTES, PROPOSED)
BY_METHOD = ("float", "4-bit", "4-bit, our bytes", "proposed")
MEBI = 1 << 20


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        cells: text of each column.
        ours: whether we measured it.
    """

    cells: tuple[str, ...]
    ours: bool


@dataclass(frozen=True)
class Table:
    """One table, ready to be drawn.

    Args:
        number: the paper's.
        title: the paper's, shortened.
        columns: headings.
        rows: the paper's and ours.
        sentences: where the two differ, and what a figure means.
        not_run: rows of the paper's that have none of ours.
        records: what our rows were computed from.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]
    not_run: tuple[str, ...]
    records: tuple[Record, ...]


def accuracy(archive: Archive) -> Table:
    """Table 1: top-1 accuracy and macro average precision."""
    rows: list[Row] = []
    sentences: list[str] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        name = (NETWORKS[network].title, DATASETS[dataset])
        rows += _paper_row(1, name, PAPER.row(1, network, dataset), "paper")
        for proposed in archive.of(network, dataset, PROPOSED):
            found = archive.rivals(proposed)
            used += found.values()
            for label, measure in (("top-1", _top1), ("AP", _precision)):
                cells = [f"{measure(found[m]):.2f}" if m in found else NONE for m in SIDE_BY_SIDE]
                rows.append(Row((*name, f"ours, {_settings(proposed)}: {label}", *cells), ours=True))
            sentences.append(_accuracy_sentence(found))
            sentences += _about_imagenet(network, proposed) if dataset in LARGE else []
    columns = ("network", "data", "whose", *BY_METHOD)
    missing = _missing(archive, [(d, n) for n, row in PAPER.tables["1"]["rows"].items() for d in row])
    note = "AP is the macro average precision, which the paper says it calls accuracy; its figures look like top-1."
    return Table(1, "accuracy, %", columns, tuple(rows), (*sentences, note), missing, tuple(used))


def _about_imagenet(network: str, record: Record) -> list[str]:
    title, note = NETWORKS[network].title, NETWORKS[network].note
    images = f"{record.test_images:,} test images; the paper's 10,000 of 100 classes would be 5,000"
    return [
        *([f"{title}: {note}."] if note else []),
        f"{title} on {DATASETS[record.cell.dataset]}: {images}.",
    ]


def _accuracy_sentence(found: dict[str, Record]) -> str:
    proposed = found[PROPOSED]
    network, dataset = proposed.cell.network, proposed.cell.dataset
    paper = PAPER.row(1, network, dataset)
    error = 100 * math.sqrt(max(proposed.top1 / 100 * (1 - proposed.top1 / 100), 0.0) / proposed.test_images)
    text = (
        f"{NETWORKS[network].title} on {DATASETS[dataset]}: ours moves by {proposed.top1 - proposed.float_top1:+.2f}"
        f" points from float at {proposed.true_bits:.2f} true bits ({proposed.test_images:,} test images,"
        f" standard error {error:.2f})"
    )
    text += f", the paper's by {paper[2] - paper[0]:+.2f}" if paper else ""
    if SAME_BYTES in found:
        gain = proposed.top1 - found[SAME_BYTES].top1
        text += f"; it stands {gain:+.2f} points from 4-bit at our bytes, the comparison that the paper lacks"
    return text + "."


def sizes(archive: Archive) -> Table:
    """Table 2: bytes of files."""
    rows: list[Row] = []
    sentences: list[str] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        name = (NETWORKS[network].title, DATASETS[dataset])
        rows += _paper_row(2, name, PAPER.row(2, network), "paper, MB")
        for proposed in archive.of(network, dataset, PROPOSED):
            found = archive.rivals(proposed)
            used += found.values()
            cells = [_size(found.get(m)) for m in SIDE_BY_SIDE]
            rows.append(Row((*name, f"ours, {_settings(proposed)}: bytes", *cells), ours=True))
    for network in PAPER.tables["2"]["rows"]:
        sentences.append(_size_sentence(network))
    columns = ("network", "data", "whose", *BY_METHOD)
    missing = _missing(archive, [("any data", n) for n in PAPER.tables["2"]["rows"]])
    return Table(2, "size of the files", columns, tuple(rows), tuple(sentences), missing, tuple(used))


def _size_sentence(network: str) -> str:
    """Why the paper's sizes can't be: computed from the published number of parameters."""
    floats, _, proposed = PAPER.row(2, network)
    parameters = PAPER.parameters[network]
    (told,) = PAPER.row(3, network)
    return (
        f"{NETWORKS[network].title} has {parameters:,} parameters, {FLOAT_BYTES * parameters / MEGABYTE:.2f} MB in"
        f" float32, where the paper's Table 2 says {floats:g} MB; by its own ratio {proposed:g} of {floats:g} MB are"
        f" {32 * proposed / floats:.1f} bits per weight, where its Table 3 says {told:g}."
    )


def bit_widths(archive: Archive) -> Table:
    """Table 3: average bit-width, of codes alone and of all bytes."""
    rows: list[Row] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        paper = PAPER.row(3, network)
        for proposed in archive.of(network, dataset, PROPOSED):
            used.append(proposed)
            told = f"{paper[0]:g}" if paper else NONE
            cells = (told, f"{proposed.nominal_bits:.3f}", f"{proposed.true_bits:.3f}")
            name = (NETWORKS[network].title, DATASETS[dataset], _settings(proposed))
            rows.append(Row((*name, *cells), ours=True))
    columns = ("network", "data", "run", "paper", "ours, codes alone", "ours, whole file")
    sentence = (
        "The paper counts no cluster index, no codebook and no batch norm; true bits are those of the whole file"
        " divided by the number of parameters."
    )
    missing = _missing(archive, [("any data", n) for n in PAPER.tables["3"]["rows"]])
    return Table(3, "average bit-width", columns, tuple(rows), (sentence,), missing, tuple(used))


def energies(archive: Archive) -> Table:
    """Table 4: energy and CO2 of search, training and 10,000 inferences."""
    rows: list[Row] = []
    sentences: list[str] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        name = (NETWORKS[network].title, DATASETS[dataset])
        rows += _paper_row(4, name, PAPER.row(4, network), "paper, kg CO2", same_bytes=False)
        for proposed in archive.of(network, dataset, PROPOSED):
            found = archive.rivals(proposed)
            used += [r for r in (proposed, found.get(FOUR_BIT)) if r is not None]
            for label, part in (("search", "search"), ("training", "training")):
                cells = [NONE, *(_energy(found.get(m), part) for m in (FOUR_BIT, PROPOSED))]
                rows.append(Row((*name, f"ours: {label}", *cells), ours=True))
            cells = [_energy(proposed, "inferences_float")]
            cells += [_energy(found.get(m), "inferences_packed") for m in (FOUR_BIT, PROPOSED)]
            rows.append(Row((*name, f"ours: {INFERENCES:,} inferences", *cells), ours=True))
            if proposed.energy:
                sentences.append(
                    f"{NETWORKS[network].title} on {DATASETS[dataset]}: energy is {proposed.energy.get('source', NONE)}"
                    f" (codecarbon), CO2 at the mean grid factor of {proposed.energy.get('country', NONE)}."
                )
    sentences.append(
        "The paper doesn't say what its kilograms are of; its float ResNet-50 emits more than its three times deeper"
        " ResNet-152. Compressed networks run from packed weights, which are unpacked layer by layer: that saves"
        " memory, not energy."
    )
    columns = ("network", "data", "whose", "float", "4-bit", "proposed")
    missing = _missing(archive, [("any data", n) for n in PAPER.tables["4"]["rows"]])
    return Table(4, "energy and CO2", columns, tuple(rows), tuple(dict.fromkeys(sentences)), missing, tuple(used))


def memories(archive: Archive) -> Table:
    """Table 5: resident weights, and the growth of the process at the peak of a batch."""
    rows: list[Row] = []
    sentences: list[str] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        name = (NETWORKS[network].title, DATASETS[dataset])
        rows += _paper_row(5, name, PAPER.row(5, network), "paper, GB", same_bytes=False)
        for proposed in archive.of(network, dataset, PROPOSED):
            if not proposed.memory:
                continue
            found = archive.rivals(proposed)
            four = found.get(FOUR_BIT)
            used += [r for r in (proposed, four) if r is not None]
            for label, key in (("weights", "weight_bytes"), ("peak of a batch", "peak_bytes")):
                cells = [
                    _memory(proposed, "float", key),
                    _memory(four, "packed", key),
                    _memory(proposed, "packed", key),
                ]
                rows.append(Row((*name, f"ours, MiB: {label}", *cells), ours=True))
            sentences.append(_resident_sentence(proposed))
    sentences.append(
        "Every figure is that of a process of its own. Weights of compressed networks stay packed, in codes of fixed"
        " length, and are unpacked layer by layer; activations are float32 in all three. The peak is what the first"
        " batch adds to the process. Weights that are quantized but lie in float32 arrays would save nothing."
    )
    columns = ("network", "data", "whose", "float", "4-bit, packed", "proposed, packed")
    missing = _missing(archive, [("any data", n) for n in PAPER.tables["5"]["rows"]])
    return Table(5, "memory", columns, tuple(rows), tuple(sentences), missing, tuple(used))


def _resident_sentence(record: Record) -> str:
    title = f"{NETWORKS[record.cell.network].title} on {DATASETS[record.cell.dataset]}"
    sizes = (_memory(record, runtime, "process_resident_bytes") for runtime in ("float", "packed"))
    return (
        f"{title}: batches of {record.memory.get('batch', NONE)}; resident MiB of the whole process, PyTorch included:"
        f" {' with float weights, '.join(sizes)} with packed ones."
    )


def arms(archive: Archive) -> Table:
    """Table 6: the ablation at equal bytes."""
    rows: list[Row] = []
    sentences: list[str] = []
    used: list[Record] = []
    for dataset, network in archive.pairs():
        found = {name: archive.of(network, dataset, name) for name in ARMS}
        settings = {setting_of(r.cell) for records in found.values() for r in records}
        for setting in sorted(settings, reverse=True):
            chosen = {name: [r for r in found[name] if setting_of(r.cell) == setting] for name in ARMS}
            used += [r for records in chosen.values() for r in records]
            rows += [_arm_row(network, dataset, name, chosen[name]) for name in ARMS if chosen[name]]
            sentences += _arm_sentence(network, dataset, chosen)
    for dataset in PAPER.tables["6"]["rows"]:
        for name in ARMS:
            top1, size = PAPER.row(6, dataset, name)
            cells = ("ResNet-50", DATASETS[dataset], "paper", name, f"{top1:.2f}", f"{size:g} MB", NONE)
            rows.append(Row(cells, ours=False))
    sentences.append(
        "The paper's arms differ in size as well as in accuracy, so that neither tells anything of the parts alone;"
        " and its RL+AQ is less accurate than its AQ on both CIFAR sets."
    )
    sentences += [f"{name}: {about.title}." for name, about in ARMS.items()]
    columns = ("network", "data", "whose", "arm", "top-1", "bytes", "AP")
    missing = tuple(
        f"ResNet-50 on {DATASETS[d]}" for d in PAPER.tables["6"]["rows"] if not archive.of("resnet50", d, "full")
    )
    return Table(6, "ablation at equal bytes", columns, tuple(rows), tuple(sentences), missing, tuple(used))


def _arm_row(network: str, dataset: str, name: str, records: Sequence[Record]) -> Row:
    seeds = len(records)
    bytes_of = sorted({r.file_bytes for r in records})
    size = " to ".join(f"{b:,}" for b in dict.fromkeys((bytes_of[0], bytes_of[-1])))
    whose = f"ours, {_epochs(records[0])}, {seeds} seed{'s' * (seeds > 1)}"
    top1, precision = (_spread([measure(r) for r in records]) for measure in (_top1, _precision))
    return Row((NETWORKS[network].title, DATASETS[dataset], whose, name, top1, size, precision), ours=True)


def _top1(record: Record) -> float:
    return record.top1


def _precision(record: Record) -> float:
    return record.average_precision


def _spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def _arm_sentence(network: str, dataset: str, chosen: dict[str, list[Record]]) -> list[str]:
    """Whether every part pays, beyond twice the standard error of the difference."""
    if not all(chosen.values()):
        return []
    means = {name: statistics.fmean(r.top1 for r in records) for name, records in chosen.items()}
    steps = []
    for lower, upper in zip(list(ARMS)[:-1], list(ARMS)[1:], strict=True):
        gain, noise = means[upper] - means[lower], 2 * _noise(chosen[lower], chosen[upper])
        verdict = "above" if gain > noise else "below" if gain < -noise else "within noise of"
        steps.append(f"{upper} is {verdict} {lower} ({gain:+.2f}, noise {noise:.2f})")
    return [f"{NETWORKS[network].title} on {DATASETS[dataset]}: {'; '.join(steps)}."]


def _noise(lower: Sequence[Record], upper: Sequence[Record]) -> float:
    """Standard error, in points, of the difference of two means: over the seeds, and over the images that were drawn.

    The images are the same for both and for all seeds, which makes the true error smaller: this is an upper bound.
    """
    seeds = sum(statistics.variance([r.top1 for r in group]) / len(group) for group in (lower, upper) if len(group) > 1)
    shares = [statistics.fmean(r.top1 for r in group) / 100 for group in (lower, upper)]
    images = 1e4 * sum(share * (1 - share) for share in shares) / upper[0].test_images
    return math.sqrt(seeds + images)


def _paper_row(
    table: int, name: tuple[str, str], figures: Sequence[float], whose: str, *, same_bytes: bool = True
) -> list[Row]:
    if not figures:
        return []
    text = [f"{figure:.2f}" if table == 1 else f"{figure:g}" for figure in figures]
    between = [NONE] if same_bytes else []
    return [Row((*name, whose, *text[:2], *between, text[2]), ours=False)]


def _settings(record: Record) -> str:
    cell = record.cell
    preset = "" if cell.preset == "default" else f", preset {cell.preset}"
    return f"{cell.bits:g} bits, {cell.evaluations} evaluations, {_epochs(record)}, seed {cell.seed}{preset}"


def _epochs(record: Record) -> str:
    return "1 epoch" if record.cell.epochs == 1 else f"{record.cell.epochs} epochs"


def _size(record: Record | None) -> str:
    return NONE if record is None else f"{record.file_bytes:,}"


def _energy(record: Record | None, part: str) -> str:
    grams, joules = (None if record is None else _number(record.energy, part, key) for key in ("co2_grams", "joules"))
    return NONE if grams is None or joules is None else f"{grams:.3g} g ({joules / 1000:.3g} kJ)"


def _memory(record: Record | None, runtime: str, key: str) -> str:
    found = None if record is None else _number(record.memory, runtime, key)
    return NONE if found is None else f"{found / MEBI:.2f}"


def _number(told: Any, *path: str) -> float | None:  # noqa: ANN401 - any JSON value
    """A number in what a record tells of energy or memory; None where it tells none, or a hand has changed it."""
    for key in path:
        told = told.get(key) if isinstance(told, dict) else None
    return float(told) if type(told) in (int, float) and abs(told) < 1 << 53 else None


def _missing(archive: Archive, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Names of the paper's rows that no proposed record stands beside."""

    def has(dataset: str, network: str) -> bool:
        """Whether there is one."""
        datasets = [dataset] if dataset in DATASETS else list(DATASETS)
        return any(archive.of(network, d, PROPOSED) for d in datasets)

    def named(dataset: str, network: str) -> str:
        """The row in words."""
        return NETWORKS[network].title + (f" on {DATASETS[dataset]}" if dataset in DATASETS else "")

    return tuple(named(d, n) for d, n in pairs if not has(d, n))


Maker = Callable[[Archive], Table]
MAKERS: dict[str, Maker] = {
    "table1": accuracy,
    "table2": sizes,
    "table3": bit_widths,
    "table4": energies,
    "table5": memories,
    "table6": arms,
}
