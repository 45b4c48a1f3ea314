"""``train``: from a table to a run's folder with a model in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option

from glasslstm._console import say
from glasslstm._files import check_writable
from glasslstm.cli.choices import by_class, found_task, is_first_process, parts_of, seed_of
from glasslstm.cli.job import Job
from glasslstm.cli.runs import Run
from glasslstm.cli.settings import (
    FORECAST,
    SETTINGS,
    TASKS,
    check_settings,
    with_settings,
)
from glasslstm.cli.shared import Quiet
from glasslstm.cli.tables import read_job
from glasslstm.cli.training import fill
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError
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
    target: Annotated[
        Names, Option(help="The column with the target, or several as a,b. [forecast: y]")
    ] = None,
    id_: Annotated[
        Names,
        Option("--id", help="The column that says which series a row belongs to. [forecast: unique_id]"),
    ] = None,
    time: Annotated[
        Names, Option(help="The column that says when: numbers, dates or times. [forecast: ds]")
    ] = None,
    out: Annotated[Path | None, Option(help="The folder for the run.")] = None,
    task: Annotated[
        Names,
        Option(
            metavar="auto|classify|regress|tag|forecast",
            help="What to learn; auto: tag where the target changes within a series, classify text, true and false, "
            "and few whole numbers, regress other numbers, and never forecast. [default: auto]",
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
    backtest: Annotated[
        int | None,
        Option(
            min=0,
            help="(forecast) First train without so many windows at the end of each series, and say how that does on "
            "them. [default: 0]",
        ),
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
    """Train a classifier, regressor, tagger or forecaster, and leave a folder with all that there is to know of it.

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
        "backtest": backtest,
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
    fill(run, job, estimator, series, parts)


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
    if task == FORECAST:
        parameters["target"] = job.target[0]
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
    if task == FORECAST:
        return
    some = series[np.unique(np.linspace(0, len(series) - 1, _LOOKED_AT).astype(np.int64))]
    intervals = some.intervals()
    if intervals and intervals.irregular and not job.settings.get("step_duration"):
        say(
            f"the time stamps are irregular: {intervals}; --step-duration tells the network how long each step is"
        )


_LOOKED_AT = 10_000  # series whose time stamps are looked at
