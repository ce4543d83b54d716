"""The options of `ravn compress`: what each takes, and in which panel of the help it stands."""

from pathlib import Path
from typing import Annotated

import typer

from ravn.allocators import ALLOCATORS
from ravn.arms import ARMS
from ravn.cli.options import TRAINING

TARGETS = ("file", "export")
BUDGET, DECISION = "Budget (exactly one of bits, bytes, ratio)", "Decision"
"""Panels of the help."""

Model = Annotated[
    str, typer.Option(help="cifar:resnet20 | timm:NAME | hf:NAME | python:package.module:factory", metavar="NAME")
]
Out = Annotated[Path, typer.Option(help="Run folder: model.ravn, plan.json, result.json, report.html, ...")]
Bits = Annotated[
    str | None,
    typer.Option(
        help="Budget: bits of the whole file per parameter; several, as in 1.0,2.0, make one file each.",
        metavar="X[,...]",
        rich_help_panel=BUDGET,
    ),
]
Bytes = Annotated[
    str | None, typer.Option("--bytes", help="Budget: bytes of the file.", metavar="N[,...]", rich_help_panel=BUDGET)
]
Ratio = Annotated[
    str | None,
    typer.Option(help="Budget: float32 bytes over bytes of the file.", metavar="X[,...]", rich_help_panel=BUDGET),
]
Target = Annotated[
    str,
    typer.Option(
        help="file | export: what the budget counts, an entropy-coded file or codes of fixed length.",
        rich_help_panel=BUDGET,
    ),
]
AllocatorName = Annotated[str, typer.Option(help=" | ".join(ALLOCATORS), metavar="NAME", rich_help_panel=DECISION)]
Arm = Annotated[
    str | None, typer.Option(help=f"Ablation (Table 6): {' | '.join(ARMS)}", metavar="NAME", rich_help_panel=DECISION)
]
Policy = Annotated[
    Path | None,
    typer.Option(
        help="Begin with the policy.safetensors of another run; --evaluations 0 trains it no further.",
        metavar="FILE",
        rich_help_panel=DECISION,
    ),
]
Evaluations = Annotated[
    int | None, typer.Option(help="Plans that the search may score.", min=0, rich_help_panel=DECISION)
]
Workers = Annotated[
    str | None,
    typer.Option(
        help="Score plans on Ray: N processes here, or a cluster's address.",
        metavar="N|ADDRESS",
        rich_help_panel=DECISION,
    ),
]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of fine-tuning; 0 looks at no label.", min=0, rich_help_panel=TRAINING)
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="Larger network that training imitates, with its weights; of several, the mean.",
        metavar="NAME[=FILE][,...]",
        rich_help_panel=TRAINING,
    ),
]
Unlabeled = Annotated[
    str | None,
    typer.Option(
        help="More images, without labels, that training learns the outputs on: named as --data, or any folder.",
        metavar="DATA",
        rich_help_panel=TRAINING,
    ),
]
Preset = Annotated[str, typer.Option(help="default | long (twenty epochs and more) | paper (Sec. 4.2)")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in OUT.")]
Baselines = Annotated[bool, typer.Option("--baselines", help="Also measure fixed-rate baselines.")]
