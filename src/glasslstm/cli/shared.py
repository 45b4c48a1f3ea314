"""What several commands share: arguments and options, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

__all__ = [
    "AsJson",
    "Channels",
    "Data",
    "Id",
    "Model",
    "Quiet",
    "Sort",
    "Time",
    "print_json",
]

Data = Annotated[
    Path,
    Argument(
        help="A long table, where a row is one step of one series (.csv, .parquet, or a folder of Parquet parts), or a "
        ".ts file."
    ),
]
Model = Annotated[Path, Argument(help="The folder of a run, or of a model.")]
Id = Annotated[str | None, Option("--id", help="The column that names the series; default: the model's.")]
Time = Annotated[str | None, Option(help="The column that says when; default: the model's.")]
Channels = Annotated[str | None, Option(help="The columns with the values, as a,b,c; default: the model's.")]
Sort = Annotated[bool, Option("--sort", help="Sort each series by time; without it, it must be sorted.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]


def print_json(result: object) -> None:
    """Print what JSON can hold."""
    typer.echo(json.dumps(result, indent=2))
