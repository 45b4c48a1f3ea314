"""``diagnose`` and ``report``: what the LSTMs in a model do, what is wrong with them, and what to change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from numpy.typing import NDArray
from torch.nn import Module
from typer import Argument, Option

from glasslstm._console import print_table, say
from glasslstm._files import check_writable
from glasslstm._objects import find_object
from glasslstm.cli.answers import known_targets
from glasslstm.cli.asked import Asked, read_for, without_target
from glasslstm.cli.runs import load_model
from glasslstm.cli.settings import is_forecaster, task_of
from glasslstm.cli.shared import AsJson, Channels, Id, Sort, Time, names_in, print_json
from glasslstm.cli.tables import truth_of
from glasslstm.data import Sequences
from glasslstm.data.table import column_names
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.insight.diagnose import diagnose as diagnose_model
from glasslstm.insight.findings import SEVERITIES, Diagnosis

__all__ = ["diagnose", "report"]

FolderOrCode = Annotated[
    str,
    Argument(
        help="The folder of a run or of a model; or module:name or file.py:name of (model, inputs), of (model, "
        "inputs, targets, loss), of a dict of these, or of a function that returns one."
    ),
]
FolderData = Annotated[Path | None, Argument(help="With a folder: a table, as for evaluate.")]
Target = Annotated[
    str | None, Option(help="The column with the target; default: the model's, if it is there.")
]


def diagnose(
    model: FolderOrCode,
    data: FolderData = None,
    codes: Annotated[str | None, Option(help="What to look for, as a,b; default: everything.")] = None,
    fail_on: Annotated[
        Literal["note", "warning", "error", "never"], Option(help="The mildest finding that is a failure.")
    ] = "warning",
    target: Target = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with the LSTMs in a model, and say what to change.

    The exit status is 3 if a note or a warning fails, by --fail-on, and 4 if an error does; 0 if nothing does. As ever,
    1 says that the command went wrong and 2 that it was called wrongly.
    """
    if _is_code(model):
        _refuse_beside_code({"DATA": data})
        found = diagnose_model(*_from_code(model), codes=None if codes is None else names_in(codes))
    else:
        estimator = load_model(Path(model))
        series, y = _series(estimator, _needed(data), Asked(id_, time, target, channels, sort))
        found = estimator.diagnose(series, y, codes=None if codes is None else names_in(codes))
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found)
    if found.worst and fail_on != "never" and SEVERITIES.index(found.worst) >= SEVERITIES.index(fail_on):
        raise typer.Exit(4 if found.worst == "error" else 3)


def report(
    model: FolderOrCode,
    data: FolderData = None,
    out: Annotated[Path, Option(help="The page to write (.html).")] = Path("report.html"),
    train: Annotated[Path | None, Option(help="The table that it was trained on, for the baselines.")] = None,
    compare: Annotated[
        list[Path] | None,
        Option(metavar="<path>", help="The folder of a model to set beside it; may be repeated."),
    ] = None,
    group: Annotated[
        list[str] | None,
        Option(metavar="<str>", help="A column to score by, one value a series; may be repeated."),
    ] = None,
    target: Target = None,
    id_: Id = None,
    time: Time = None,
    channels: Channels = None,
    sort: Sort = False,
) -> None:
    """Write a page: what a model does, and what to change.

    It is one file that opens in any browser and loads nothing; one that is there is replaced.
    """
    from glasslstm.insight.report import report as write_report  # noqa: PLC0415 - it needs an extra

    _check_page(out)
    if _is_code(model):
        _refuse_beside_code({"DATA": data, "--train": train, "--compare": compare, "--group": group})
        write_report(*_from_code(model, (2, 3, 4)), path=out)
    else:
        estimator, data = load_model(Path(model)), _needed(data)
        if train is not None and is_forecaster(estimator):
            raise ArgumentError(
                "--train: a forecaster is measured against the seasonal naive forecast; leave it out"
            )
        others = [_like(estimator, folder) for folder in compare or ()]
        asked = Asked(id_, time, target, channels, sort)
        series, y = _series(estimator, data, asked)
        write_report(
            [estimator, *others] if others else estimator,
            series,
            y,
            path=out,
            names=[model, *map(str, compare or ())],
            train=None if train is None else _labelled(estimator, train, asked),
            groups={name: _by(name, estimator, data, asked) for name in group or ()} or None,
            channel_names=None
            if is_forecaster(estimator)
            else series.channel_names,  # it has the calendar's too
            sequence_names=series.ids.tolist(),
        )
    say(f"the report is in {out}: open it in a browser")


def _is_code(model: str) -> bool:
    return ":" in model and not Path(model).is_dir()


def _refuse_beside_code(given: Mapping[str, object]) -> None:
    for argument, value in given.items():
        if value:
            raise typer.BadParameter("goes with the folder of a model, not with code", param_hint=argument)


def _needed(data: Path | None) -> Path:
    if data is None:
        raise typer.BadParameter("needed, because MODEL is a folder", param_hint="DATA")
    return data


def _from_code(name: str, counts: Collection[int] = (2, 4)) -> tuple[Any, ...]:
    """Return the model, the inputs and, where there are any, targets and loss that a piece of code gives."""
    found = find_object(name)
    if callable(found) and not isinstance(found, Module):
        found = found()
    words = ("model", "inputs", "targets", "loss")
    if isinstance(found, Mapping) and {"model", "inputs"} <= found.keys() <= set(words):
        return tuple(found.get(word) for word in words)
    if isinstance(found, tuple) and len(found) in counts:
        return found
    got = f"a dict of {', '.join(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
    raise ArgumentError(
        f"{name}: expected (model, inputs) or (model, inputs, targets, loss), or a dict of these; got {got}"
    )


def _labelled(estimator: LSTMEstimator, data: Path, asked: Asked) -> tuple[Sequences, NDArray[Any] | None]:
    """Return X and y of a table that must have targets."""
    series = known_targets(estimator, read_for(estimator, data, asked, target=True))
    return series, truth_of(estimator, series)


def _series(estimator: LSTMEstimator, data: Path, asked: Asked) -> tuple[Sequences, NDArray[Any] | None]:
    """Return the series in a table and their targets, or none where none were named and none are there."""
    if is_forecaster(estimator):
        return read_for(estimator, data, without_target(asked)), None
    if asked.target or _has_targets(estimator, data):
        return _labelled(estimator, data, asked)
    return read_for(estimator, data, asked), None


def _has_targets(estimator: LSTMEstimator, data: Path) -> bool:
    """Return whether the columns of the model's targets are in a table; a .ts file says so itself."""
    if data.suffix.lower() == ".ts":
        return read_for(estimator, data, Asked()).targets is not None
    names = (estimator.table_ or {}).get("target")
    wanted = names_in(names) if names else ()
    return bool(wanted) and set(wanted) <= set(column_names(data))


def _by(column: str, estimator: LSTMEstimator, data: Path, asked: Asked) -> list[Any]:
    """Return what a column says of each series: it is read as labels are."""
    try:
        found = read_for(estimator, data, asked._replace(target=column), target=True, per_step=False)
    except DataError as error:
        raise DataError(f"--group {column}: {error}") from None
    return [] if found.targets is None else list(found.targets.tolist())


def _like(estimator: LSTMEstimator, folder: Path) -> LSTMEstimator:
    """Load a model that answers the same question from the same channels."""
    other = load_model(folder)
    kinds = {"task": lambda model: [task_of(model)], "classes": _classes, "channels": _channels}
    for what, of in kinds.items():
        if of(other) != of(estimator):
            theirs, ours = (", ".join(map(str, of(model))) for model in (other, estimator))
            raise ArgumentError(
                f"--compare {folder}: its {what} are {theirs}, and those of MODEL are {ours}; models to compare need "
                "the same ones in the same order"
            )
    return other


def _classes(estimator: LSTMEstimator) -> list[Any]:
    return [*getattr(estimator, "classes_", ())]


def _channels(estimator: LSTMEstimator) -> list[Any]:
    return [*getattr(estimator, "feature_names_in_", range(estimator.n_features_in_))]


def _check_page(out: Path) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"--out {out}: expected a name that ends in .html, such as report.html")
    if out.is_dir():
        raise ArgumentError(f"--out {out} is a folder; expected the name of a file")
    check_writable(out)


def _show(found: Diagnosis) -> None:
    """Print a diagnosis as a table and in words."""
    summary, *words = str(found).splitlines()
    say(summary)
    if found:
        rows = [
            (one.severity, one.code, str(one.place), f"{one.value:.3g}", f"{one.threshold:.3g}")
            for one in found
        ]
        print_table("findings", rows, header=("severity", "code", "where", "value", "threshold"))
    for line in words:
        say(line)
