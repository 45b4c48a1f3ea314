"""What a training's data and options come to: task, seed, weights by class, and what to judge by."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from glasslstm.cli.job import Job, read_config
from glasslstm.cli.runs import Run
from glasslstm.cli.settings import task_of
from glasslstm.cli.tables import groups_of, read_job, truth_of, with_labels
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["Parts", "by_class", "found_task", "is_first_process", "parts_of", "seed_of"]

Parts = tuple[Sequences, Sequences | None]


def found_task(series: Sequences) -> str:
    """Return what the target asks for; docs/cli.md has the rule."""
    if series.step_targets is not None:
        return "tag"
    targets = series.targets
    if targets is None:
        raise ArgumentError(
            "--target: there is nothing to learn in the data; expected a class or a number for each series"
        )
    distinct = np.unique(targets)
    if targets.ndim == 2:
        return "classify" if np.isin(distinct, (0, 1)).all() else "regress"
    if distinct.dtype.kind == "f" and (distinct != distinct.round()).any():
        return "regress"
    few = len(distinct) <= _MOST_CLASSES and 2 * len(distinct) <= len(targets)
    return "classify" if few or distinct.dtype.kind not in "iuf" else "regress"


# Whole numbers are classes where there are at most so many, and two series or more for each of them on average.
_MOST_CLASSES = 20


def seed_of(job: Job, run: Run) -> int:
    """Return the seed that was given; else that of the same run before it was stopped; else draw one."""
    given = job.settings.get("seed")
    if given is not None:
        if not isinstance(given, int) or isinstance(given, bool):
            raise ArgumentError(f"seed: expected a whole number, got {given!r}")
        return given
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ArgumentError("--seed: several processes need the same one; give it")
    if job.settings.get("checkpoint") and run.config.exists() and not run.finished:
        return int(read_config(run.config)["seed"])
    return secrets.randbelow(2**31)


def is_first_process() -> bool:
    """Return whether this is the process that speaks and writes, of those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def by_class(weights: Mapping[str, float], task: str, series: Sequences) -> dict[Any, float]:
    """Return weights by class, where the command line has them by the text of a class."""
    if task == "classify" and series.targets is not None and series.targets.ndim == 2:
        known: dict[str, Any] = {name: name for name in series.target_names}
    else:
        labels = series.step_targets if task == "tag" else series.targets
        known = {str(label): label for label in np.unique(labels if labels is not None else []).tolist()}
    for name in weights:
        if name not in known:
            raise ArgumentError(f"--class-weight: {name!r} is no class; expected some of {', '.join(known)}")
    return {known[name]: weight for name, weight in weights.items()}


def parts_of(job: Job, estimator: LSTMEstimator, series: Sequences) -> Parts:
    """Return what to train on, and what to judge the search by if the estimator is not to choose it."""
    if job.validation is not None:
        held_out = read_job(job, job.validation, estimator.per_step)
        labels = truth_of(estimator, series)
        if labels is None or labels.ndim > 1 or task_of(estimator) == "regress" or labels.dtype.kind == "f":
            return series, held_out
        return series, with_labels(held_out, np.unique(labels))
    if job.group is None:
        return series, None
    if not estimator.validation_fraction:
        raise ArgumentError(
            "--group says how to cut a validation part, and --validation-fraction 0 asks for none; leave out one"
        )
    return series.split(
        estimator.validation_fraction, groups=groups_of(job, series), random_state=estimator.random_state
    )
