"""Tables read for a model, which knows the columns that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from glasslstm.cli.settings import FORECAST_COLUMNS, is_forecaster
from glasslstm.cli.shared import names_in
from glasslstm.data import Sequences, iter_series, read_series, read_ts
from glasslstm.data.opened import open_source
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["Asked", "Blocks", "blocks_for", "columns_of", "read_for", "read_future", "without_target"]


class Asked(NamedTuple):
    """What the command line says of a table that is read for a model; what it does not say, the model knows."""

    id: str | None = None
    time: str | None = None
    target: str | None = None
    channels: str | None = None
    sort: bool = False


def read_for(
    estimator: LSTMEstimator, data: Path, asked: Asked, *, target: bool = False, per_step: bool | None = None
) -> Sequences:
    """Read the series in `data` for a model, with their targets if asked to: those of the model's kind by default.

    Raises
    ------
    ArgumentError, DataError
        For columns that nobody knows, and what cannot be read or does not fit the model.
    """
    if data.suffix.lower() == ".ts":
        series = _read_ts(estimator, data, asked)
        if target and series.targets is None:
            raise DataError(f"{data}: there are no classes or targets in it to compare with")
        return series
    request = _request(estimator, asked, target=target)
    if target and per_step is not None:
        request["per_step"] = per_step
    return _renamed(read_series(data, **request), _names(estimator))


class Blocks(NamedTuple):
    """Whole series, some at a time."""

    blocks: Iterator[Sequences]
    steps: int
    """Of all of them."""


def blocks_for(estimator: LSTMEstimator, data: Path, asked: Asked) -> Blocks:
    """Read the series in `data` for a model with bounded memory, where the kind of file allows it."""
    if data.suffix.lower() == ".ts":
        series = _read_ts(estimator, data, asked)
        return Blocks((series[rows] for rows, _ in series.blocks(_STEPS)), series.steps)
    request, names = _request(estimator, asked), _names(estimator)
    blocks = (_renamed(part, names) for part in iter_series(data, **request, steps=_STEPS))
    if data.is_dir() or data.suffix.lower() in (".parquet", ".pq"):
        return Blocks(blocks, open_source(data).rows)
    whole = list(blocks)  # views of what is in memory anyway
    return Blocks(iter(whole), sum(part.steps for part in whole))


_STEPS = 1 << 18  # about so many at a time


def read_future(estimator: LSTMEstimator, data: Path, asked: Asked, names: Sequence[str]) -> Sequences:
    """Read the channels of a model that are known of the steps to come."""
    request = _request(estimator, asked)
    columns = dict(zip(_names(estimator), request["channels"], strict=True))
    wanted = [columns[name] for name in names]
    categories = [name for name in request["categories"] if name in wanted]
    only = {"channels": wanted, "categories": categories, "static": (), "missing": "mask"}
    return _renamed(read_series(data, **request | only), names)


def columns_of(estimator: LSTMEstimator, asked: Asked) -> tuple[str, str]:
    """Return the columns of ids and time stamps.

    Raises
    ------
    ArgumentError
        Where neither the command line nor the model knows them.
    """
    return _column(estimator, asked, "id"), _column(estimator, asked, "time")


def without_target(asked: Asked) -> Asked:
    """Refuse a target for a forecaster.

    Raises
    ------
    ArgumentError
        With what to do.
    """
    if asked.target is not None:
        raise ArgumentError(
            "--target: what a forecaster forecasts is one of its channels; where columns have other names than in the "
            "training, name them all with --channels"
        )
    return asked


def _read_ts(estimator: LSTMEstimator, data: Path, asked: Asked) -> Sequences:
    given = [name for name, value in asked._asdict().items() if value]
    if given:
        raise ArgumentError(f"--{given[0]}: {data} is a .ts file, which has no columns; leave it out")
    return read_ts(data, missing=estimator.missing)


def _request(estimator: LSTMEstimator, asked: Asked, *, target: bool = False) -> dict[str, Any]:
    """Return the arguments to read a table with."""
    id_, time = columns_of(estimator, asked)
    columns: dict[str, Any] = {"id": id_, "time": time}
    if target and (asked.target or not is_forecaster(estimator)):  # whose target is a channel
        columns["target"] = _column(estimator, asked, "target")
    if asked.target and "," in asked.target:
        columns["target"] = list(names_in(asked.target))
    roles, old = _roles(estimator), _names(estimator)
    new = dict(zip(old, _channel_names(estimator, asked), strict=False))
    return columns | {
        "channels": _channel_names(estimator, asked),
        "categories": [new.get(name, name) for name in roles.get("categories", ())],
        "static": list(roles.get("static", ())),
        "per_step": target and estimator.per_step,
        "missing": estimator.missing,
        "sort": asked.sort,
    }


def _column(estimator: LSTMEstimator, asked: Asked, role: str) -> Any:
    found = getattr(asked, role) or _roles(estimator).get(role)
    if not found:
        raise ArgumentError(f"the model does not know the {role} column; name it with --{role}")
    return found


def _roles(estimator: LSTMEstimator) -> Mapping[str, Any]:
    """Return what the model knows of its table; what a forecaster's columns are called goes without saying."""
    return estimator.table_ or (FORECAST_COLUMNS if is_forecaster(estimator) else {})


def _names(estimator: LSTMEstimator) -> list[str]:
    return [str(name) for name in getattr(estimator, "feature_names_in_", ())]


def _channel_names(estimator: LSTMEstimator, asked: Asked) -> list[str]:
    known, count = _names(estimator), estimator.n_features_in_
    names = known if asked.channels is None else list(names_in(asked.channels))
    if not names:
        raise ArgumentError(
            f"the model does not know the names of its {count} channels; name their columns, in the order of the "
            "training, with --channels a,b,c"
        )
    if len(names) != count:
        raise ArgumentError(
            f"--channels: expected the {count} channels of the model{' (' * bool(known)}{', '.join(known)}"
            f"{')' * bool(known)}, in the order of the training; got {len(names)}: {', '.join(names)}"
        )
    return names


def _renamed(series: Sequences, names: Sequence[str]) -> Sequences:
    """Return the series with their channels called as in training."""
    names = tuple(names)
    if not names or names == series.channel_names:
        return series
    new = dict(zip(series.channel_names or (), names, strict=True))
    categories = {new.get(name, name): texts for name, texts in series.categories.items()}
    return replace(series, channel_names=names, categories=categories)
