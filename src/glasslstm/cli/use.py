"""``predict`` and ``evaluate``: what a model answers, and how good its answers are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import BadParameter, Option

from glasslstm._console import print_table, say
from glasslstm._files import check_writable
from glasslstm.cli.answers import answers, known_targets, scores
from glasslstm.cli.asked import Asked, blocks_for, read_for
from glasslstm.cli.forecasts import backtest_for, figures, forecasts_for
from glasslstm.cli.forecasts import show as show_backtest
from glasslstm.cli.progress import counted
from glasslstm.cli.runs import load_model, write_json
from glasslstm.cli.settings import is_forecaster, task_of
from glasslstm.cli.shared import AsJson, Channels, Data, DataIfAny, Id, Model, Quiet, Sort, Time, print_json
from glasslstm.data import TableWriter
from glasslstm.data.files import check_table_path
from glasslstm.errors import ArgumentError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["evaluate", "predict"]


def predict(
    model: Model,
    data: DataIfAny = None,
    *,
    out: Annotated[Path, Option(help="The table to write (.csv, .parquet).")],
    horizon: Annotated[
        int | None, Option(help="(forecast) Steps to forecast; default: all that the model can.")
    ] = None,
    future: Annotated[
        Path | None,
        Option(help="(forecast) A table with the future covariates in the steps to forecast."),
    ] = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    quiet: Quiet = False,
) -> None:
    """Write a table of what a model answers, a row for each series; a tagger's has one for each step.

    The columns are id, class, and probability_ followed by its name for each class; or id and prediction, with _q10 and
    the like for quantiles; or id, time, label and probability_ of each step; of a forecaster id and time, which are
    called as in the training, and prediction. A folder of Parquet parts is read, answered and written piece by piece.
    """
    check_table_path(out)
    for table in (data, future):
        if table is not None and out.exists() and table.exists() and out.samefile(table):
            raise ArgumentError(f"--out {out} is the table to read; choose another name")
    estimator, asked = load_model(model), Asked(id_, time, None, channels, sort)
    if is_forecaster(estimator):
        (blocks, steps), answer = forecasts_for(estimator, data, asked, horizon, future)
    else:
        _refuse_of_forecasts(estimator, horizon=horizon, future=future)
        if data is None:
            raise BadParameter("needed; a forecaster alone goes on from its training", param_hint="DATA")
        (blocks, steps), answer = blocks_for(estimator, data, asked), partial(answers, estimator)
    count = 0
    with TableWriter(out) as written:
        for series in counted(blocks, steps, quiet=quiet):
            written.write(answer(series))
            count += len(series)
    say(f"{count} series: {out}")


def evaluate(
    model: Model,
    data: Data,
    target: Annotated[
        str | None, Option(help="The column with the target, or several as a,b; default: the model's.")
    ] = None,
    windows: Annotated[
        int | None,
        Option(help="(forecast) Windows at the end of each series that are forecast. [default: 1]"),
    ] = None,
    stride: Annotated[
        int | None,
        Option(help="(forecast) Steps from one window to the next; default: those of the horizon."),
    ] = None,
    overlap: Annotated[
        bool, Option("--overlap", help="(forecast) Accept windows that the model was trained on.")
    ] = False,
    out: Annotated[Path | None, Option(help="A file for the figures, as JSON.")] = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    as_json: AsJson = False,
) -> None:
    """Compare what a model answers with the targets in a table.

    Classes: accuracy, balanced accuracy and log loss, each class's precision, recall, F1 and support, and the confusion
    matrix. Numbers: the errors RMSE and MAE, and R squared; of quantiles the pinball loss and the coverage.

    Forecasts: a backtest on the end of each series, with the errors, MASE, RMSSE, sMAPE, weighted quantile loss and
    coverage beside those of the seasonal naive forecast and the theta method.
    """
    if out is not None:
        if out.is_dir():
            raise ArgumentError(f"--out {out} is a folder; expected the name of a file, such as metrics.json")
        check_writable(out)
    estimator, asked = load_model(model), Asked(id_, time, target, channels, sort)
    if is_forecaster(estimator):
        backtest = backtest_for(
            estimator, data, asked, 1 if windows is None else windows, stride, overlap=overlap
        )
        found, show = figures(backtest), partial(show_backtest, backtest)
    else:
        _refuse_of_forecasts(estimator, windows=windows, stride=stride, overlap=overlap)
        series = read_for(estimator, data, asked, target=True)
        found = scores(estimator, known_targets(estimator, series))
        show = partial(_show, found)
    if out is not None:
        write_json(out, found)
    if as_json:
        print_json(found)
    else:
        show()


def _refuse_of_forecasts(estimator: LSTMEstimator, **given: object) -> None:
    """Refuse options that other models than forecasters do not have."""
    for name, value in given.items():
        if value not in (None, False):
            raise ArgumentError(
                f"--{name} belongs to a forecaster, and the task of the model is {task_of(estimator)}; leave it out"
            )


def _show(found: dict[str, Any]) -> None:
    figures = [f"{name.replace('_', ' ')} {it:.4f}" for name, it in found.items() if isinstance(it, float)]
    steps = f", {found['n_steps']} steps" if "n_steps" in found else ""
    say(f"{', '.join(figures)} on {found['n_series']} series{steps}")
    for name in ("classes", "labels", "targets", "quantiles"):
        rows = found.get(name)
        if rows:
            cells = [[f"{it:.3f}" if isinstance(it, float) else it for it in row.values()] for row in rows]
            print_table(_TITLES[name], cells, header=list(rows[0]))
    if "confusion_matrix" in found:
        names = [str(row["class"]) for row in found["classes"]]
        rows = [[name, *row] for name, row in zip(names, found["confusion_matrix"], strict=True)]
        what = "steps" if steps else "series"
        print_table(f"how many {what} of the class on the left were taken for", rows, header=["", *names])


_TITLES = {
    "classes": "each class",
    "labels": "each label",
    "targets": "each target",
    "quantiles": "each quantile, and the share of the truth below it",
}
