"""What a report says of a forecaster: its forecasts, and how far they were right before."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.forecasting import figures
from glasslstm.forecasting.figures.errors import in_words
from glasslstm.forecasting.figures.over_time import check_same_series, evenly, history_of
from glasslstm.insight.names import told_apart
from glasslstm.insight.section import Choice, Draw, Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glasslstm.forecasting.backtest import Backtest
    from glasslstm.forecasting.forecast import Forecast

__all__ = ["forecast_section"]

_MOST_SERIES = 12  # that the reader has to choose from


def forecast_section(
    history: Sequences,
    found: Forecast,
    backtest: Backtest | None = None,
    *,
    channel: int = 0,
    note: str = "",
) -> Section:
    """Return the section of the report on forecasts: some series, evenly spread over all, and the backtest.

    Parameters
    ----------
    history
        The series up to their forecasts.
    found
        Their forecasts, in the order of the series.
    backtest
        How far such forecasts were right. Default: that is not known, and the page says so.
    channel
        Which channel of the series is forecast, from 0.
    note
        What else is to be said of the forecasts.

    Raises
    ------
    ArgumentError
        For forecasts of other series, and a channel that there is not.
    """
    check_same_series(history, found, channel)
    series = evenly(len(history), _MOST_SERIES)
    ahead = Choice(
        "Series", _by_name(found.ids.tolist(), series, partial(_forecast, history, found, channel))
    )
    parts: list[tuple[str, Draw | Choice]] = [(_FORECAST, ahead)]
    series_of, steps = _count(len(history), "series", "series"), _count(found.point.shape[1], "step", "steps")
    lead = f"{series_of}, {steps} ahead.{note}"
    if backtest is None:
        return Section("forecast", _QUESTION, lead, [*parts, ("", _no_backtest)])
    ids = list(dict.fromkeys(backtest.ids.tolist()))
    before = Choice("Series", _by_name(ids, evenly(len(ids), _MOST_SERIES), partial(_backtest, backtest)))
    parts += [
        (_BACKTEST, before),
        (_BY_STEP, partial(figures.error_by_step, backtest)),
        (_COVERAGE, partial(figures.coverage, backtest)),
    ]
    return Section("forecast", _QUESTION, lead + _errors(backtest), parts)


def _forecast(history: Sequences, found: Forecast, channel: int, k: int) -> Any:
    return figures.forecast(*history_of(history, k, channel), found, series=k)


def _backtest(found: Backtest, k: int) -> Any:
    return figures.backtest(found, series=k)


def _by_name(ids: Sequence[Any], chosen: Sequence[int], draw: Any) -> dict[str, Draw]:
    names = told_apart(str(ids[k])[:_LONGEST] for k in chosen)
    return {name: partial(draw, k) for name, k in zip(names, chosen, strict=True)}


_LONGEST = 60  # letters of a name


def _errors(backtest: Backtest) -> str:
    """Put the errors of all methods into words: scaled ones, where every method has them."""
    table = backtest.metrics()
    metric = next((name for name in _IN_WORDS if np.isfinite(table[name]).all()), None)
    if metric is None:
        return ""
    found = zip(table["method"].tolist(), table[metric].tolist(), strict=True)
    each = ", ".join(f"{in_words(method)} {error:.3g}" for method, error in found)
    where = _count(int(table["n_windows"][0]), "window", "windows")
    return f" {_IN_WORDS[metric]} on {where} of a backtest, less is better: {each}."


_IN_WORDS = {"mase": "Mean absolute scaled error (MASE)", "mae": "Mean absolute error"}


def _count(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _no_backtest() -> Any:
    raise ArgumentError(
        "backtest: how far such forecasts were right is not known, for the model was trained on all of these steps; "
        "give series that go on after its training, or train with --backtest 3"
    )


_QUESTION = "What does it forecast, and how far can it be believed?"
_FORECAST = (
    "Where the line of the history breaks, a value is missing. The truth is to lie within a band as often as the band "
    "says, over many forecasts; the darker, the likelier."
)
_BACKTEST = "What would have been forecast at several times in the past, and what came."
_BY_STEP = (
    "Where another line is below that of the LSTM, the other method is the better choice for that step."
)
_COVERAGE = (
    "Above the line the quantiles are too high, below it too low. Bars are 95 % intervals over the windows."
)
