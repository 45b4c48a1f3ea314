"""``train``: from a table to a run's folder with a model in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option

from glasslstm._console import say
from glasslstm._extras import require
from glasslstm._files import check_writable
from glasslstm.cli.choices import Parts, by_class, found_task, is_first_process, parts_of, seed_of
from glasslstm.cli.job import Job
from glasslstm.cli.runs import EpochLog, Run
from glasslstm.cli.settings import SETTINGS, TASKS, check_settings, task_of, with_settings
from glasslstm.cli.shared import Quiet
from glasslstm.cli.tables import read_job, roles_of, truth_of
from glasslstm.data import Sequences
from glasslstm.doctor import versions
from glasslstm.errors import ArgumentError, MissingExtraError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.settings import FOLDER, check_parameters

__all__ = ["train"]

Names = str | None


@with_settings
def train(
    data: Annotated[
        Path | None,
        Argument(
            help="A long table, where a row is one step of one series (.csv, .parquet, or a folder of Parquet parts "
            "whose series stand together), or a .ts file, which needs no --target, --id and --time."
        ),
    ] = None,
    target: Annotated[Names, Option(help="The column with the target, or several as a,b.")] = None,
    id_: Annotated[Names, Option("--id", help="The column that says which series a row belongs to.")] = None,
    time: Annotated[Names, Option(help="The column that says when: numbers, dates or times.")] = None,
    out: Annotated[Path | None, Option(help="The folder for the run.")] = None,
    task: Annotated[
        Names,
        Option(
            metavar="auto|classify|regress|tag",
            help="What to learn; auto: tag where the target changes within a series, classify text, true and false, "
            "and few whole numbers, regress other numbers. [default: auto]",
        ),
    ] = None,
    channels: Annotated[
        Names, Option(help="The columns with the values, as a,b,c; default: all others.")
    ] = None,
    categories: Annotated[
        Names, Option(help="The columns that hold categories, as a,b: text or whole numbers.")
    ] = None,
    static: Annotated[
        Names,
        Option(
            help="The columns that never change within a series, as a,b; those of text in --categories too."
        ),
    ] = None,
    sort: Annotated[
        bool | None, Option("--sort/--no-sort", help="Sort each series by time; otherwise it must be sorted.")
    ] = None,
    validation: Annotated[
        Path | None, Option(help="A table to judge the search by, in place of a part of DATA.")
    ] = None,
    group: Annotated[
        Names,
        Option(help="A column: series of the same value are never on both sides of the validation split."),
    ] = None,
    config: Annotated[
        Path | None, Option(help="A TOML file with options under their names here; flags win over it.")
    ] = None,
    from_: Annotated[
        Path | None, Option("--from", help="The folder of a run to repeat; flags win over what it was.")
    ] = None,
    record: Annotated[
        bool | None,
        Option("--record/--no-record", help="Keep how gates, memory and gradients do, epoch by epoch."),
    ] = None,
    report: Annotated[
        bool | None, Option("--report/--no-report", help="Write report.html. [default: yes]")
    ] = None,
    force: Annotated[bool, Option("--force", help="Replace the run that is there.")] = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a classifier, a regressor or a tagger, and leave a folder with all that there is to know of it.

    The folder holds the model, config.toml (what repeats the run), metrics.json, history.csv, log.txt and report.html.
    """
    given = {
        "data": data,
        "target": target,
        "id": id_,
        "time": time,
        "out": out,
        "task": task,
        "channels": channels,
        "categories": categories,
        "static": static,
        "sort": sort,
        "validation": validation,
        "group": group,
        "record": record,
        "report": report,
        **settings,
    }
    job = Job.of({name: value for name, value in given.items() if value is not None}, _file(config, from_))
    run = Run(job.out)
    run.check(force=force)
    folder = job.settings.get("checkpoint")
    if folder is not None:
        if not FOLDER.fits(folder):
            raise ArgumentError(f"checkpoint: expected {FOLDER.allowed}, got {folder!r}")
        check_writable(Path(folder) / "search.ckpt")
    if job.task != "auto":  # what is wrong with the settings is said before the data are read
        _estimator(job, job.task)
    series = read_job(job, job.data, job.per_step)
    found = job.task if job.task != "auto" else found_task(series)
    more: dict[str, Any] = {"random_state": seed_of(job, run), "verbose": not quiet}
    if isinstance(job.settings.get("class_weight"), Mapping):
        more["class_weight"] = by_class(job.settings["class_weight"], found, series)
    estimator = _estimator(job, found, **more)
    parts = parts_of(job, estimator, series)
    _say_what_is_there(job, found, series)
    _train(job, run, estimator, series, parts)


def _file(config: Path | None, from_: Path | None) -> Path | None:
    """Return the file with options, if any."""
    if config and from_:
        raise ArgumentError("--config and --from are both files with options; give one of them")
    if from_ and not Run(from_).config.exists():
        raise ArgumentError(f"--from {from_}: there is no run here; expected a folder with a config.toml")
    return Run(from_).config if from_ else config


def _estimator(job: Job, task: str, **more: Any) -> LSTMEstimator:
    check_settings(task, job.settings)
    parameters = {SETTINGS[name].name: value for name, value in job.settings.items()}
    estimator = TASKS[task](**parameters | more)
    check_parameters(estimator)
    return estimator


def _say_what_is_there(job: Job, task: str, series: Sequences) -> None:
    if not is_first_process():
        return
    how = "" if job.task != "auto" else " (found from the target; another one with --task)"
    names = series.channel_names
    listed = f"{series.channels}" if names is None else ", ".join(names[:10]) + ", ..." * (len(names) > 10)
    say(f"{len(series)} series, {series.steps} steps, channels {listed}")
    say(f"task: {task}{how}")
    some = series[np.unique(np.linspace(0, len(series) - 1, _LOOKED_AT).astype(np.int64))]
    intervals = some.intervals()
    if intervals and intervals.irregular and not job.settings.get("step_duration"):
        say(
            f"the time stamps are irregular: {intervals}; --step-duration tells the network how long each step is"
        )


_LOOKED_AT = 10_000  # series whose time stamps are looked at


def _train(job: Job, run: Run, estimator: LSTMEstimator, series: Sequences, parts: Parts) -> None:
    task, parameters = task_of(estimator), estimator.get_params()
    settings = {name: parameters[one.name] for name, one in SETTINGS.items() if task in one.tasks}
    known = replace(job, task=task, channels=series.channel_names, categories=tuple(series.categories))
    first = is_first_process()
    if first and not run.finished:  # what is there stays together until the new model is
        known.write(run.config, settings)
    start = perf_counter()
    _fit(estimator, parts, run if first else None, record=job.record)
    estimator.table_ = roles_of(known, series)
    if first:
        metrics = _metrics(estimator, series, perf_counter() - start)
        run.keep(estimator, metrics, lambda path: known.write(path, settings))
        _say_how_it_went(run, metrics)
        if job.report and not estimator.interrupted_:
            _write_report(run, estimator, parts[1] or parts[0])
    if estimator.interrupted_:  # the model is the best one until then
        raise KeyboardInterrupt


def _fit(estimator: LSTMEstimator, parts: Parts, run: Run | None, *, record: bool) -> None:
    """Train, and write into the run's log how it goes."""
    training, validation = parts
    if run is None:
        estimator.fit(training, validation=validation, record=record)
        return
    run.say(
        f"{task_of(estimator)}: {len(training)} series, {training.steps} steps, seed {estimator.random_state}"
    )
    try:
        estimator.fit(training, validation=validation, record=record, loggers=[EpochLog(run)])
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
    say(f"the run is in {run.folder}: glasslstm predict {run.folder} DATA --out predictions.csv")


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
