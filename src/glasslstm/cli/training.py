"""What ``train`` does once all is read and checked: it fits, and fills the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from glasslstm._console import say
from glasslstm._extras import require
from glasslstm.cli.choices import Parts, is_first_process
from glasslstm.cli.forecasts import backtest_without_the_end, figures, show
from glasslstm.cli.job import Job
from glasslstm.cli.runs import EpochLog, Run
from glasslstm.cli.settings import FORECAST, SETTINGS, is_forecaster, task_of
from glasslstm.cli.tables import roles_of, truth_of
from glasslstm.data import Sequences
from glasslstm.doctor import versions
from glasslstm.errors import MissingExtraError
from glasslstm.estimators.base import LSTMEstimator

if TYPE_CHECKING:
    from glasslstm.forecasting import Backtest

__all__ = ["fill"]


def fill(run: Run, job: Job, estimator: LSTMEstimator, series: Sequences, parts: Parts) -> None:
    """Train, and leave in the run's folder all that there is to know of it.

    Raises
    ------
    KeyboardInterrupt
        After a Ctrl-C, when the best model until then is there.
    """
    task, parameters = task_of(estimator), estimator.get_params()
    settings = {name: parameters[one.name] for name, one in SETTINGS.items() if task in one.tasks}
    known = replace(job, task=task, channels=series.channel_names, categories=tuple(series.categories))
    first = is_first_process()
    if first and not run.finished:  # what is there stays together until the new model is
        known.write(run.config, settings)
    found = _backtest(job, run if first else None, estimator, series)
    start = perf_counter()
    _fit(estimator, parts, run if first else None, record=job.record)
    estimator.table_ = roles_of(known, series)
    if first:
        metrics = _metrics(estimator, series, perf_counter() - start)
        if found is not None:
            metrics["backtest"] = figures(found)
            estimator._backtest = found  # for the report
        run.keep(estimator, metrics, lambda path: known.write(path, settings))
        _say_how_it_went(run, metrics)
        if job.report and not estimator.interrupted_:
            _write_report(run, estimator, parts[1] or parts[0])
    if estimator.interrupted_:  # the model is the best one until then
        raise KeyboardInterrupt


def _backtest(job: Job, run: Run | None, estimator: LSTMEstimator, series: Sequences) -> Backtest | None:
    """Return how a model does that is trained without the end of each series, if that is asked for."""
    if not job.backtest or not is_forecaster(estimator):
        return None
    if run is not None:
        run.say(
            f"backtest: training without the last {job.backtest * estimator.horizon} steps of each series"
        )
    found = backtest_without_the_end(estimator, series, job.backtest)
    if run is not None:
        show(found)
    return found


def _fit(estimator: LSTMEstimator, parts: Parts, run: Run | None, *, record: bool) -> None:
    """Train, and write into the run's log how it goes."""
    training, validation = parts
    # A forecaster takes none.
    judged: dict[str, Any] = {} if validation is None else {"validation": validation}
    if run is None:
        estimator.fit(training, record=record, **judged)
        return
    run.say(
        f"{task_of(estimator)}: {len(training)} series, {training.steps} steps, seed {estimator.random_state}"
    )
    try:
        estimator.fit(training, record=record, loggers=[EpochLog(run)], **judged)
    except BaseException as error:
        run.say(f"ended without a model: {error or type(error).__name__}")
        raise
    run.say("interrupted" if estimator.interrupted_ else "ended")


def _metrics(estimator: LSTMEstimator, series: Sequences, seconds: float) -> dict[str, Any]:
    return {
        "task": task_of(estimator),
        "n_series": len(series),
        "n_steps": series.steps,
        "epochs": estimator.n_iter_,
        "best": estimator.history_[estimator.best_epoch_ - 1],
        "interrupted": estimator.interrupted_,
        "fit_seconds": round(seconds, 2),
        "seed": estimator.random_state,
        "versions": versions(),
    }


def _say_how_it_went(run: Run, metrics: Mapping[str, Any]) -> None:
    say(f"best epoch {metrics['best']['epoch']} of {metrics['epochs']}: {_in_words(metrics['best'])}")
    answers = "--out forecast.csv" if metrics["task"] == FORECAST else "DATA --out predictions.csv"
    say(f"the run is in {run.folder}: glasslstm predict {run.folder} {answers}")


def _in_words(epoch: Mapping[str, float]) -> str:
    """Return the validation's figures, then the training's."""
    words = {"valid": "validation", "train": "training"}
    return ", ".join(
        f"{word} {name.partition('_')[2].replace('_', ' ')} {value:.4f}"
        for start, word in words.items()
        for name, value in sorted(epoch.items())
        if name.startswith(start)
    )


def _write_report(run: Run, estimator: LSTMEstimator, series: Sequences) -> None:
    """Write a page about some of the series that the search was judged by, or else trained on."""
    try:
        require("plotly", extra="report")
        from glasslstm.insight.report import report  # noqa: PLC0415 - it needs an extra
    except MissingExtraError as error:
        say(f"no report: {error}")
        return
    some = series[np.unique(np.linspace(0, len(series) - 1, _REPORTED).astype(np.int64))]
    report(estimator, some, truth_of(estimator, some), path=run.report, sequence_names=some.ids.tolist())
    say(f"the report is in {run.report}: open it in a browser")


_REPORTED = 200  # series in a report: it takes some seconds
