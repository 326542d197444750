"""Arguments and options that several verbs share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

# What a run is said to have taken counts from here, imports and all.
BEGAN = time.monotonic()

DATA, NETWORK, LEARNING, AUGMENTATION, OUTPUT = "Data", "Network", "Learning", "Augmentation", "Output"


def option(panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=False, **more)


Data = Annotated[
    str, typer.Argument(help="digits, mnist, fashion_mnist, cifar10, cifar100; or a folder, CSV, .npz, archive.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, as `train` prints it.")]
ModelPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or an exported model file.")]
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Never open a connection.")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for machines.")]
