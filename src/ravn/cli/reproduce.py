"""`ravn reproduce`: the paper's tables and figures, our figures beside the paper's."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from ravn.cli.options import Device, chosen_device
from ravn.cli.progress import Bars, output
from ravn.errors import InputError
from ravn.metrics.energy import energy_per_thousand
from ravn.plan import Budget
from ravn.reproduce.archive import Archive
from ravn.reproduce.catalogue import DATASETS, NETWORKS, Sources
from ravn.reproduce.cells import Record, Results
from ravn.reproduce.figures import FIGURES, draw_figures
from ravn.reproduce.rendering import html, markdown
from ravn.reproduce.running import Runner, Study
from ravn.reproduce.schedule import TABLES, NotRun, Options, cells_of, run_all
from ravn.reproduce.tables import MAKERS
from ravn.settings import preset as settings_of
from ravn.writing import write_atomic

DRAWN = "figures"
PAGES = "render"
PAGE = ".md"


def reproduce(  # noqa: PLR0913 - one option each
    what: Annotated[str, typer.Argument(help=f"{' | '.join(TABLES)} | figures | all | render", metavar="WHAT")],
    networks: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(NETWORKS)}")] = "resnet20",
    datasets: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(DATASETS)}")] = "cifar10",
    checkpoints: Annotated[
        Path, typer.Option(help="Folder of float weights DATASET_NETWORK.safetensors.", metavar="DIR")
    ] = Path("checkpoints"),
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of cifar10, cifar100, imagenet, imagenet100.", metavar="DIR")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the results; what is in it is not run again.")] = Path(
        "results"
    ),
    into: Annotated[Path, typer.Option(help="The page that `all` and `render` write, and its .html beside it.")] = Path(
        "docs/results.md"
    ),
    bits: Annotated[float, typer.Option(help="Bits per weight of the proposed files.")] = Options.bits,
    epochs: Annotated[int, typer.Option(help="Epochs of training of all files.", min=0)] = Options.epochs,
    ablation_bits: Annotated[
        float, typer.Option(help="Bits per weight that vq may take; its file decides the bytes of the other arms.")
    ] = Options.ablation_bits,
    seeds: Annotated[int, typer.Option(help="Seeds of the ablation.", min=1)] = Options.seeds,
    evaluations: Annotated[int, typer.Option(help="Plans that a search may score.", min=0)] = Options.evaluations,
    budget_minutes: Annotated[float | None, typer.Option(help="Begin no cell that would take longer.", min=0.0)] = None,
    country: Annotated[str, typer.Option(help="Grid factor of CO2, or nothing to measure no energy.")] = "DEU",
    batch: Annotated[int, typer.Option(help="Images of a call whose memory is measured.", min=1)] = Study.batch,
    preset: Annotated[str, typer.Option(help="default | long (twenty epochs and more) | paper (Sec. 4.2)")] = "default",
    device: Device = "auto",
) -> None:
    """Measure a table of the paper, cell by cell, and set our figures beside it; finished cells are kept."""
    _ensure_possible(into, preset, (bits, ablation_bits))
    options = Options(
        _names(networks, NETWORKS, "--networks"),
        _names(datasets, DATASETS, "--datasets"),
        bits=bits,
        epochs=epochs,
        ablation_bits=ablation_bits,
        seeds=seeds,
        evaluations=evaluations,
        preset=preset,
    )
    kept = Results(results)
    study = Study(Sources(checkpoints, data_root), kept, country=country, batch=batch, device=chosen_device(device))
    if what == DRAWN:
        draw_figures(kept, options, study, into.parent)
        output().print(f"{', '.join(str(into.parent / name) for name in FIGURES)}", soft_wrap=True)
        return
    if what == PAGES and not any(kept):
        raise InputError(f"--results {results} holds no results to render; `ravn reproduce all` makes some")
    cells = [] if what == PAGES else cells_of(what, options)
    if cells and study.measures_energy:
        energy_per_thousand(lambda: None, 1, country, seconds=0.1)  # an unknown country is told now, not in an hour
    done = list(run_all(cells, Runner(study, _command(what, options), Bars()).run, kept, minutes=budget_minutes))
    skipped = [item for item in done if isinstance(item, NotRun)]
    if what in TABLES:
        if skipped and not any(isinstance(item, Record) for item in done):
            raise InputError(skipped[0].reason)
        typer.echo(markdown([MAKERS[what](Archive(kept))], skipped))
        return
    _write_pages(kept, into, skipped)
    output().print(f"{into} and {into.with_suffix('.html')}: {len(list(kept))} results", soft_wrap=True)


def _ensure_possible(into: Path, preset: str, rates: Iterable[float]) -> None:
    """Tell now what would be told after hours, or never."""
    if into.suffix != PAGE:
        raise InputError(f"--into {into} has to end in {PAGE}; it would be written over")
    settings_of(preset)
    for rate in rates:
        Budget(bits_per_weight=rate)


def _write_pages(kept: Results, into: Path, skipped: list[NotRun]) -> None:
    tables = [make(Archive(kept)) for make in MAKERS.values()]
    into.parent.mkdir(parents=True, exist_ok=True)
    drawn = [(title, name) for name, title in FIGURES.items() if (into.parent / name).is_file()]
    pictures = [(title, (into.parent / name).read_text()) for title, name in drawn]
    write_atomic(into, markdown(tables, skipped, drawn).encode())
    write_atomic(into.with_suffix(".html"), html(tables, skipped, pictures).encode())


def _names(text: str, known: Iterable[str], option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    odd = [name for name in names if name not in known]
    if odd or not names:
        raise InputError(f"{option} {text!r}: there is no {(odd or ['name'])[0]!r}; there are {', '.join(known)}")
    return names


def _command(what: str, options: Options) -> str:
    """The command that runs it again, without the folders of this machine."""
    words = ["ravn reproduce", what]
    for field in fields(options):
        value, default = getattr(options, field.name), field.default
        if value != default:
            words.append(f"--{field.name.replace('_', '-')} {','.join(value) if isinstance(value, tuple) else value}")
    return " ".join(words)
