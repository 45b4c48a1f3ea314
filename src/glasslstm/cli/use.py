"""``predict`` and ``evaluate``: what a model answers, and how good its answers are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from glasslstm._console import print_table, say
from glasslstm._files import check_writable
from glasslstm.cli.answers import answers, known_targets, scores
from glasslstm.cli.progress import counted
from glasslstm.cli.runs import load_model, write_json
from glasslstm.cli.shared import AsJson, Channels, Data, Id, Model, Quiet, Sort, Time, print_json
from glasslstm.cli.tables import Asked, blocks_for, read_for
from glasslstm.data import TableWriter
from glasslstm.data.files import check_table_path
from glasslstm.errors import ArgumentError

__all__ = ["evaluate", "predict"]


def predict(
    model: Model,
    data: Data,
    out: Annotated[Path, Option(help="The table to write (.csv, .parquet).")],
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    quiet: Quiet = False,
) -> None:
    """Write a table of what a model answers, a row for each series; a tagger's has one for each step.

    The columns are id, class, and probability_ followed by its name for each class; or id and prediction, with _q10 and
    the like for quantiles; or id, time, label and probability_ of each step. A folder of Parquet parts is read,
    answered and written piece by piece.
    """
    check_table_path(out)
    if out.exists() and data.exists() and out.samefile(data):
        raise ArgumentError(f"--out {out} is the table to read; choose another name")
    estimator = load_model(model)
    blocks, steps = blocks_for(estimator, data, Asked(id_, time, None, channels, sort))
    count = 0
    with TableWriter(out) as table:
        for series in counted(blocks, steps, quiet=quiet):
            table.write(answers(estimator, series))
            count += len(series)
    say(f"{count} series: {out}")


def evaluate(
    model: Model,
    data: Data,
    target: Annotated[
        str | None, Option(help="The column with the target, or several as a,b; default: the model's.")
    ] = None,
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
    """
    if out is not None:
        if out.is_dir():
            raise ArgumentError(f"--out {out} is a folder; expected the name of a file, such as metrics.json")
        check_writable(out)
    estimator = load_model(model)
    series = read_for(estimator, data, Asked(id_, time, target, channels, sort), target=True)
    found = scores(estimator, known_targets(estimator, series))
    if out is not None:
        write_json(out, found)
    if as_json:
        print_json(found)
    else:
        _show(found)


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
