"""What several commands share: arguments and options, and a table that is read for a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from typer import Argument, Option

from glasslstm.data import SeriesTable, read_series
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.classifier import LSTMClassifier

__all__ = [
    "AsJson",
    "Channels",
    "Data",
    "Id",
    "Model",
    "Quiet",
    "Sort",
    "Time",
    "as_classes",
    "print_json",
    "read_for",
    "split",
]

Data = Annotated[Path, Argument(help="A long table (.csv, .parquet): a row is one step of one series.")]
Model = Annotated[Path, Argument(help="The folder of a trained model.")]
Id = Annotated[str | None, Option("--id", help="The column that names the series; default: the model's.")]
Time = Annotated[str | None, Option(help="The column that says when; default: the model's.")]
Channels = Annotated[str | None, Option(help="The columns with the values, as a,b,c; default: the model's.")]
Sort = Annotated[bool, Option("--sort", help="Sort each series by time; without it, it must be sorted.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]


def read_for(
    clf: LSTMClassifier, data: Path, given: Mapping[str, str | None], channels: str | None, *, sort: bool
) -> SeriesTable:
    """Read a table for a model: what is not given, the model knows."""
    columns: dict[str, Any] = (clf.table_ or {}) | {role: name for role, name in given.items() if name}
    for role in given:
        if role not in columns:
            raise ArgumentError(f"the model does not know the {role} column; name it with --{role}")
    names = split(channels) or getattr(clf, "feature_names_in_", None)
    if names is None:
        raise ArgumentError(
            f"the model does not know the names of its {clf.n_features_in_} channels; name their columns, "
            "in the order of the training, with --channels a,b,c"
        )
    if len(names) != clf.n_features_in_:
        known = ", ".join(getattr(clf, "feature_names_in_", []))
        raise ArgumentError(
            f"--channels: expected the {clf.n_features_in_} channels of the model{known and f' ({known})'}, "
            f"in the order of the training; got {len(names)}: {', '.join(names)}"
        )
    return read_series(
        data, **{role: columns[role] for role in given}, channels=[str(name) for name in names], sort=sort
    )


def as_classes(series: SeriesTable, classes: NDArray[Any]) -> NDArray[Any]:
    """Return the labels as classes of the model: 1, 1.0 and the text "1" are one, as are true and "True"."""
    both_text = series.labels.dtype.kind == classes.dtype.kind == "U"
    value = str if both_text else _value  # between two texts, "1" and "01" differ
    texts = {str(name): k for k, name in enumerate(classes)}
    values = {value(name): k for k, name in enumerate(classes)}
    found = [texts.get(str(label), values.get(value(label), -1)) for label in series.labels]
    if -1 in found:
        first = found.index(-1)
        raise DataError(
            f"series {series.ids[first]}: its label {str(series.labels[first])!r} is no class of the model; "
            f"expected one of {', '.join(map(repr, texts))}"
        )
    return classes[found]


def _value(label: object) -> float | str:
    try:
        return float(str(label))
    except ValueError:
        return str(label).casefold()


def split(names: str | None) -> list[str] | None:
    """Return the names in ``a,b,c``."""
    return None if names is None else [name.strip() for name in names.split(",")]


def print_json(result: object) -> None:
    """Print what JSON can hold."""
    typer.echo(json.dumps(result, indent=2))
