"""Tables read for a training, and for a model that knows what it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glasslstm.cli.job import Job, names_in
from glasslstm.data import Sequences, iter_series, read_series, read_ts
from glasslstm.data.opened import open_source
from glasslstm.data.table import column_names
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.base import LSTMEstimator

__all__ = [
    "Asked",
    "Blocks",
    "blocks_for",
    "groups_of",
    "read_for",
    "read_job",
    "roles_of",
    "truth_of",
    "with_labels",
]


class Asked(NamedTuple):
    """What the command line says of a table that is read for a model; what it does not say, the model knows."""

    id: str | None = None
    time: str | None = None
    target: str | None = None
    channels: str | None = None
    sort: bool = False


def read_job(job: Job, data: Path, per_step: bool | None) -> Sequences:
    """Read the series of a training, or those that it is validated with."""
    missing = job.settings.get("missing", "error")
    if not job.is_table:
        return read_ts(data, missing=missing)
    assert job.id is not None
    assert job.time is not None
    several = len(job.target) > 1
    return read_series(
        data,
        id=job.id,
        time=job.time,
        target=list(job.target) if several else job.target[0],
        channels=_channels(job),
        categories=job.categories,
        static=job.static,
        per_step=False if several else per_step,
        missing=missing,
        sort=job.sort,
    )


def groups_of(job: Job, series: Sequences) -> NDArray[Any]:
    """Return what the column of groups says of each series: it is read as labels are."""
    assert job.id is not None
    assert job.time is not None
    one = (series.channel_names or ())[:1]  # any will do
    try:
        found = read_series(
            job.data,
            id=job.id,
            time=job.time,
            target=job.group,
            channels=one,
            categories=[name for name in one if name in series.categories],
            missing="mask",
            sort=job.sort,
        )
    except DataError as error:
        raise DataError(f"--group {job.group}: {error}") from None
    assert found.targets is not None
    return found.targets


def roles_of(job: Job, series: Sequences) -> dict[str, Any] | None:
    """Return what a model keeps of its table, so that it can read another one."""
    if not job.is_table:
        return None
    roles = {
        "id": job.id,
        "time": job.time,
        "target": job.target[0] if len(job.target) == 1 else list(job.target),
        "categories": list(series.categories),
        "static": list(job.static),
    }
    return {role: names for role, names in roles.items() if names}


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
    return _renamed(read_series(data, **request), estimator)


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
    request = _request(estimator, asked)
    blocks = (_renamed(part, estimator) for part in iter_series(data, **request, steps=_STEPS))
    if data.is_dir() or data.suffix.lower() in (".parquet", ".pq"):
        return Blocks(blocks, open_source(data).rows)
    whole = list(blocks)  # views of what is in memory anyway
    return Blocks(iter(whole), sum(part.steps for part in whole))


def truth_of(estimator: LSTMEstimator, series: Sequences) -> NDArray[Any] | None:
    """Return the targets as the model takes them: of each series, or in step with the rows of their values."""
    return series.step_targets if estimator.per_step else series.targets


def with_labels(series: Sequences, classes: NDArray[Any]) -> Sequences:
    """Return the series with their labels as classes: 1, 1.0 and the text "1" are one, as are true and "True".

    Raises
    ------
    DataError
        For a label that is no class, with the series.
    """
    steps = series.step_targets is not None
    labels = series.step_targets if series.step_targets is not None else series.targets
    assert labels is not None
    distinct, places = np.unique(labels, return_inverse=True)
    both_text = labels.dtype.kind == classes.dtype.kind == "U"
    value = str if both_text else _value  # between two texts, "1" and "01" differ
    texts = {str(name): k for k, name in enumerate(classes)}
    values = {value(name): k for k, name in enumerate(classes)}
    found = np.array([texts.get(str(label), values.get(value(label), -1)) for label in distinct])[places]
    if (found < 0).any():
        row = int((found < 0).argmax())
        owner = int(np.searchsorted(series.starts, row, side="right")) - 1 if steps else row
        raise DataError(
            f"series {series.ids[owner]}: its label {str(labels[row])!r} is no class of the model; "
            f"expected one of {', '.join(map(repr, texts))}"
        )
    return replace(series, **{"step_targets" if steps else "targets": classes[found]})


_STEPS = 1 << 18  # about so many at a time


def _channels(job: Job) -> list[str] | None:
    """Return the channels, without the column of groups."""
    if job.channels is not None or job.group is None:
        return None if job.channels is None else list(job.channels)
    others = {job.id, job.time, job.group, *job.target, *job.static}
    return [name for name in column_names(job.data) if name not in others]


def _read_ts(estimator: LSTMEstimator, data: Path, asked: Asked) -> Sequences:
    given = [name for name, value in asked._asdict().items() if value]
    if given:
        raise ArgumentError(f"--{given[0]}: {data} is a .ts file, which has no columns; leave it out")
    return read_ts(data, missing=estimator.missing)


def _request(estimator: LSTMEstimator, asked: Asked, *, target: bool = False) -> dict[str, Any]:
    """Return the arguments to read a table with."""
    roles: Mapping[str, Any] = estimator.table_ or {}
    given = {"id": asked.id, "time": asked.time} | ({"target": asked.target} if target else {})
    columns = {role: name or roles.get(role) for role, name in given.items()}
    for role, name in columns.items():
        if not name:
            raise ArgumentError(f"the model does not know the {role} column; name it with --{role}")
    if asked.target and "," in asked.target:
        columns["target"] = list(names_in(asked.target))
    old = _names(estimator)
    new = dict(zip(old, _channel_names(estimator, asked), strict=False))
    return columns | {
        "channels": _channel_names(estimator, asked),
        "categories": [new.get(name, name) for name in roles.get("categories", ())],
        "static": list(roles.get("static", ())),
        "per_step": target and estimator.per_step,
        "missing": estimator.missing,
        "sort": asked.sort,
    }


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


def _renamed(series: Sequences, estimator: LSTMEstimator) -> Sequences:
    """Return the series with their channels called as in training."""
    names = tuple(_names(estimator))
    if not names or names == series.channel_names:
        return series
    new = dict(zip(series.channel_names or (), names, strict=True))
    categories = {new.get(name, name): texts for name, texts in series.categories.items()}
    return replace(series, channel_names=names, categories=categories)


def _value(label: object) -> float | str:
    try:
        return float(str(label))
    except ValueError:
        return str(label).casefold()
