"""What several commands share: arguments and options, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from glasslstm.errors import ArgumentTypeError

__all__ = [
    "AsJson",
    "Channels",
    "Data",
    "DataIfAny",
    "Id",
    "Model",
    "Quiet",
    "Sort",
    "Time",
    "names_in",
    "print_json",
]

_TABLE = (
    "A long table, where a row is one step of one series (.csv, .parquet, or a folder of Parquet parts), or a .ts "
    "file."
)
Data = Annotated[Path, Argument(help=_TABLE)]
DataIfAny = Annotated[
    Path | None,
    Argument(help=f"{_TABLE} A forecaster without it goes on from the series that it was trained on."),
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


def names_in(given: Any) -> tuple[str, ...]:
    """Return the names in ``a,b,c``, or in a list.

    Raises
    ------
    ArgumentTypeError
        For an empty name, and what is no text.
    """
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    if not all(isinstance(name, str) and name for name in names):
        raise ArgumentTypeError(f"expected names as a,b or a list, none of them empty; got {given!r}")
    return tuple(names)
