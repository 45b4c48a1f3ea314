"""What the commands do with a forecaster: the table of its forecasts, and the figures of a backtest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glasslstm._console import print_table, say
from glasslstm.cli.asked import Asked, Blocks, blocks_for, columns_of, read_for, read_future, without_target
from glasslstm.cli.settings import FORECAST
from glasslstm.data import Sequences
from glasslstm.data.checks import named
from glasslstm.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from glasslstm.forecasting import Backtest, LSTMForecaster

__all__ = ["backtest_for", "backtest_without_the_end", "figures", "forecasts_for", "show"]

Columns = Mapping[str, NDArray[Any]]


def forecasts_for(
    model: LSTMForecaster, data: Path | None, asked: Asked, horizon: int | None, future: Path | None
) -> tuple[Blocks, Callable[[Sequences], Columns]]:
    """Return the series to go on from, and what makes the table of their forecasts.

    Without `data` these are the series of the training.

    Raises
    ------
    ArgumentError, DataError
        For a future that is missing or not wanted, and tables that cannot be read.
    """
    ahead = _future(model, future, asked)
    columns = columns_of(model, asked)

    def table(series: Sequences) -> Columns:
        found = model.predict(None if data is None else series, horizon, future=ahead)
        return replace(found, columns=columns).table()

    if data is None:
        return Blocks(iter([model.series_]), model.series_.steps), table
    return blocks_for(model, data, asked), table


def backtest_for(
    model: LSTMForecaster, data: Path, asked: Asked, windows: int, stride: int | None, *, overlap: bool
) -> Backtest:
    """Return the backtest of a model on the series in a table.

    Raises
    ------
    ArgumentError, DataError
        For what cannot be read or does not fit the model, series that are too short, and windows that the model was
        trained on, unless `overlap` accepts them.
    """
    series = read_for(model, data, without_target(asked))
    return replace(model.backtest(series, windows, stride, overlap=overlap), columns=columns_of(model, asked))


def backtest_without_the_end(model: LSTMForecaster, series: Sequences, windows: int) -> Backtest:
    """Train a model alike on all but the last windows of each series, and return how it does on these.

    Raises
    ------
    DataError
        For series that are too short.
    """
    from glasslstm.forecasting.frequency import Frequency  # noqa: PLC0415 - it needs an extra
    from glasslstm.forecasting.rolling import fitted_alike  # noqa: PLC0415 - it needs an extra

    whole = Frequency.of(series, model.frequency).regular(series)
    left_out = windows * model.horizon
    short = whole.lengths <= left_out
    if short.any():
        raise DataError(
            f"--backtest {windows} leaves out the last {left_out} steps, and {short.sum()} of {len(whole)} series have "
            f"no more: {named(whole.ids[short])}; take fewer windows, or leave these series out"
        )
    try:
        past = fitted_alike(model, replace(whole, stops=whole.stops - left_out))
    except DataError as error:
        raise DataError(
            f"--backtest {windows}, which leaves out the last {left_out} steps: {error}"
        ) from None
    found: Backtest = past.backtest(whole, windows)
    return found


def figures(found: Backtest) -> dict[str, Any]:
    """Return what a backtest says, for JSON: each method's metrics, over all and by step, and its coverage."""
    return {
        "task": FORECAST,
        "n_series": len(np.unique(found.ids)),
        "n_windows": len(found),
        "horizon": found.truth.shape[1],
        "season_length": found.season_length,
        "methods": _rows(found.metrics()),
        "coverage": _rows(found.coverage()),
        "steps": _rows(found.metrics("step")),
    }


def show(found: Backtest) -> None:
    """Print a backtest."""
    for line in found.summary().splitlines():
        say(line)
    if found.levels:
        rows = [(one["method"], one["nominal"], f"{one['observed']:.3f}") for one in _rows(found.coverage())]
        header = ("method", "quantile", "share")
        print_table("each quantile, and the share of the truth at or below it", rows, header=header)


def _future(model: LSTMForecaster, future: Path | None, asked: Asked) -> Sequences | None:
    """Return what is known of the steps to come."""
    known = [name for name in model.feature_names_in_.tolist() if name in model.future_covariates]
    if known and future is None:
        raise ArgumentError(
            f"--future: the model forecasts with {', '.join(known)} of the steps to come; give a table with "
            f"{', '.join((*columns_of(model, asked), *known))}"
        )
    if future is not None and not known:
        raise ArgumentError("--future: the model has no future covariates; leave it out")
    return None if future is None else read_future(model, future, asked, known)


def _rows(table: Columns) -> list[dict[str, Any]]:
    """Return the rows of a table; what is no number, which JSON does not have, is None."""
    cells = zip(*(column.tolist() for column in table.values()), strict=True)
    return [{name: _known(it) for name, it in zip(table, row, strict=True)} for row in cells]


def _known(cell: Any) -> Any:
    return None if isinstance(cell, float) and math.isnan(cell) else cell
