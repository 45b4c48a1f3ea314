"""Tables read for a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm.cli.job import Job
from glasslstm.cli.settings import FORECAST, SETTINGS
from glasslstm.data import Sequences, read_series, read_ts
from glasslstm.data.table import column_names
from glasslstm.errors import DataError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["groups_of", "read_job", "roles_of", "truth_of", "with_labels"]


def read_job(job: Job, data: Path, per_step: bool | None) -> Sequences:
    """Read the series of a training, or those that it is validated with."""
    missing = job.settings.get("missing", _default_of("missing", job.task))
    if not job.is_table:
        return read_ts(data, missing=missing)
    assert job.id is not None
    assert job.time is not None
    several = len(job.target) > 1
    if job.task == FORECAST:  # its target is a channel
        target: str | list[str] | None = None
    else:
        target = list(job.target) if several else job.target[0]
    return read_series(
        data,
        id=job.id,
        time=job.time,
        target=target,
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


def _default_of(setting: str, task: str) -> Any:
    """Return a default that is known before there is an estimator; tasks to be found from the data have one alike."""
    defaults = SETTINGS[setting].defaults
    return defaults[task] if task in defaults else next(iter(defaults.values()))


def _channels(job: Job) -> list[str] | None:
    """Return the channels, without the column of groups; those of a forecast with its target."""
    if job.task == FORECAST and job.channels is not None:
        return list(dict.fromkeys([*job.target, *job.channels, *job.settings.get("future_covariates", ())]))
    if job.channels is not None or job.group is None:
        return None if job.channels is None else list(job.channels)
    others = {job.id, job.time, job.group, *job.target, *job.static}
    return [name for name in column_names(job.data) if name not in others]


def _value(label: object) -> float | str:
    try:
        return float(str(label))
    except ValueError:
        return str(label).casefold()
