"""Forecasts over time: what was observed, what is forecast, and the bands between pairs of quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.forecasting.figures.traces import answered, merged, observed, on_axis
from glasslstm.forecasting.forecast import symmetric_intervals
from glasslstm.insight.figures.style import labels, layout

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

if TYPE_CHECKING:
    from glasslstm.forecasting.backtest import Backtest
    from glasslstm.forecasting.forecast import Forecast

__all__ = ["backtest", "forecast", "forecasts", "place_of"]

_BAND = 0.8
_MOST_PANELS = 9
_PLOT, _PANEL, _NAME = (
    240,
    150,
    22,
)  # pixels: the height of a plot alone, of one of several, and of the name above it
_BETWEEN = 0.35  # of a panel's height
_LEAST_HISTORY = 60
"""Steps of the history that are drawn; four horizons, where these are more."""


def forecast(
    history_times: ArrayLike | None,
    history: ArrayLike,
    found: Forecast,
    *,
    series: Any = 0,
    truth: ArrayLike | None = None,
) -> go.Figure:
    """Draw the last part of a series, its forecast, and a band between each pair of symmetric quantiles.

    Parameters
    ----------
    history_times
        When the steps of the history were, (T,): numpy dates, or numbers; ``None``: one apart, up to the forecast.
    history
        The series up to the forecast, (T,); NaN is a gap. Four horizons of it are drawn, and at least 60 steps.
    found
        The forecast of this series, and perhaps of others.
    series
        Which it is among those that are forecast: its position, or its id where that is no whole number.
    truth
        What came in fact, (H,); NaN is a gap. Default: not known.

    Raises
    ------
    ArgumentError
        For a series that there is not, and numbers or times that do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from glasslstm.forecasting.forecast import Forecast
    >>> found = Forecast(np.array(["a"]), np.array([[3, 4]]), np.array([[1.5, 2.5]]))
    >>> figure = forecast([0, 1, 2], [5.0, np.nan, 7.0], found, series="a")
    >>> [(line.name, line.x.tolist()) for line in figure.data]
    [('history', [0, 1, 2]), ('forecast', [3, 4])]
    """
    k = place_of(series, found.ids)
    (name,) = labels([found.ids[k]], longest=40)
    traces = _traces(history_times, history, found, k, truth)
    return go.Figure(traces, _look(f"Forecast of {name}", _PLOT, found.times, traces))


def forecasts(
    history: Sequences,
    found: Forecast,
    *,
    channel: int = 0,
    series: Sequence[Any] | None = None,
    truth: Sequence[ArrayLike] | None = None,
) -> go.Figure:
    """Draw the forecasts of several series, one below the other, each as :func:`forecast` does.

    Parameters
    ----------
    history
        The series up to their forecasts, in the order in which they are forecast.
    found
        Their forecasts.
    channel
        Which channel of the series is forecast, from 0.
    series
        At most 9 positions or ids, as for :func:`forecast`. Default: 9 evenly spread over all series.
    truth
        What came in fact of each of all series, N times (H,). Default: not known.

    Raises
    ------
    ArgumentError
        As for :func:`forecast`, for no or more than 9 series, a channel that there is not, and another number of
        series or truths than of forecasts.
    """
    check_same_series(history, found, channel)
    if truth is not None and len(truth) != len(found.ids):
        raise ArgumentError(
            f"truth: got those of {len(truth)} series; expected one for each of the {len(found.ids)} that are forecast"
        )
    chosen = (
        evenly(len(history), _MOST_PANELS) if series is None else [place_of(one, found.ids) for one in series]
    )
    if not 0 < len(chosen) <= _MOST_PANELS:
        raise ArgumentError(f"series: got {len(chosen)}; expected 1 to {_MOST_PANELS} positions or ids")
    drawn = [
        _traces(*history_of(history, k, channel), found, k, None if truth is None else truth[k])
        for k in chosen
    ]
    some = "" if len(chosen) == len(history) else f" of {len(chosen)} of {len(history):,} series"
    look = _look(f"Forecasts{some}", _PANEL * len(chosen), found.times, drawn[0])
    look["margin"]["t"] += _NAME
    look["legend"] |= {"y": 1 + _NAME / (_PANEL * len(chosen)), "tracegroupgap": 0}
    return _panels(labels((found.ids[k] for k in chosen), longest=40), drawn, look)


def backtest(found: Backtest, *, series: Any = 0, method: str = "lstm") -> go.Figure:
    """Draw one series of a backtest: the truth, and the forecasts from every origin with their 80 % bands.

    Where there is no 80 % band, it is the one that comes nearest.

    Parameters
    ----------
    found
        The backtest.
    series
        Which of its series: the position among them, or the id where that is no whole number.
    method
        Whose forecasts.

    Raises
    ------
    ArgumentError
        For a series or a method that there is not.
    """
    if method not in found.answers:
        raise ArgumentError(f"method: got {method!r}; expected one of {', '.join(found.answers)}")
    ids = list(dict.fromkeys(found.ids.tolist()))
    own = ids[place_of(series, np.array(ids, dtype=object))]
    rows = np.flatnonzero(found.ids == own)
    rows = rows[np.argsort(found.cutoffs[rows], kind="stable")]
    answer, times = found.answers[method], found.times[rows]
    bands = symmetric_intervals(found.levels)
    kept = [*bands[min(bands, key=lambda share: abs(share - _BAND))]] if bands else []
    levels = [found.levels[k] for k in kept]
    traces = [
        observed(*merged(times, found.truth[rows]), "truth"),
        *answered(times, answer.point[rows], answer.quantiles[rows][..., kept] if kept else None, levels),
    ]
    (name,) = labels([own], longest=40)
    count, ahead = (
        f"{n} {one}{'s' * (n > 1)}" for n, one in zip(times.shape, ("forecast", "step"), strict=True)
    )
    return go.Figure(traces, _look(f"{name}: {count}, {ahead} ahead", _PLOT, times, traces))


def place_of(series: Any, ids: NDArray[Any]) -> int:
    """Return where a series stands, which is named by its position or else by its id."""
    if isinstance(series, (int, np.integer)) and not isinstance(series, bool):
        if not 0 <= series < len(ids):
            raise ArgumentError(
                f"series: got {series}; expected one of the {len(ids)} there are, 0 to {len(ids) - 1}"
            )
        return int(series)
    there = [k for k, one in enumerate(ids.tolist()) if one == series]
    if not there:
        some = ", ".join(map(repr, ids.tolist()[:5]))
        raise ArgumentError(
            f"series: there is none with the id {series!r}; expected a position or an id, as of {some}"
        )
    return there[0]


def check_same_series(history: Sequences, found: Forecast, channel: int) -> None:
    """Raise where the forecasts are not those of these series, or there is no such channel."""
    if len(history) != len(found.ids) or not (np.asarray(history.ids) == np.asarray(found.ids)).all():
        raise ArgumentError(
            f"history: got {len(history)} series, and forecasts of {len(found.ids)}; expected the series that are "
            "forecast, in the same order and with the same ids"
        )
    if not 0 <= channel < history.channels:
        raise ArgumentError(f"channel: got {channel}; expected one of the {history.channels}, from 0")


def history_of(history: Sequences, k: int, channel: int) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """Return when the steps of a series were, ``None`` where that is not known, and the values of one channel."""
    steps = slice(history.starts[k], history.stops[k])
    return None if history.times is None else history.times[steps], history.values[steps, channel]


def evenly(count: int, most: int) -> list[int]:
    """Return at most so many positions, evenly spread."""
    return sorted({*np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()})


def _traces(
    history_times: ArrayLike | None, history: ArrayLike, found: Forecast, k: int, truth: ArrayLike | None
) -> list[go.Scatter]:
    values, ahead = np.asarray(history, np.float64), np.asarray(found.times)[k]
    before = np.arange(-len(values), 0) + (0 if ahead.dtype.kind == "M" else ahead[0])
    times = before if history_times is None else np.asarray(history_times)
    _check(times, values, ahead)
    last = slice(-max(_LEAST_HISTORY, 4 * len(ahead)), None)
    traces = [observed(times[last], values[last], "history")]
    if truth is not None:
        came = np.asarray(truth, np.float64)
        if came.shape != ahead.shape:
            raise ArgumentError(
                f"truth: got the shape {came.shape}; expected one for each step ahead, {ahead.shape}"
            )
        traces.append(observed(ahead, came, "truth", dash="dot"))
    quantiles = None if found.quantiles is None else found.quantiles[[k]]
    return traces + answered(ahead[None], found.point[[k]], quantiles, found.levels)


def _check(times: NDArray[Any], values: NDArray[np.float64], ahead: NDArray[Any]) -> None:
    if values.ndim != 1 or times.shape != values.shape:
        raise ArgumentError(
            f"history: got values of the shape {values.shape} at times of the shape {times.shape}; expected one "
            "number at each of T times"
        )
    if (times.dtype.kind == "M") != (ahead.dtype.kind == "M"):
        raise ArgumentError(
            f"history_times: got {times.dtype}, and forecasts at {ahead.dtype}; expected dates of both, or numbers"
        )


def _panels(names: Sequence[str], drawn: Sequence[Sequence[go.Scatter]], look: dict[str, Any]) -> go.Figure:
    """Return panels one below the other, with one legend for all."""
    rows = len(drawn)
    figure = make_subplots(rows=rows, subplot_titles=names, vertical_spacing=_BETWEEN / rows)
    for row, traces in enumerate(drawn, start=1):
        for trace in traces:
            shown = row == 1 and trace.showlegend is not False
            figure.add_trace(trace.update(showlegend=shown, legendgroup=trace.name), row=row, col=1)
    xaxis, yaxis = look.pop("xaxis"), look.pop("yaxis")
    figure.update_xaxes(title=xaxis.pop("title"), row=rows, col=1)
    figure.update_xaxes(xaxis).update_yaxes(yaxis | {"nticks": 4}).update_annotations(font={"size": 12})
    return figure.update_layout(look)


def _look(title: str, plot: float, times: NDArray[Any], traces: Sequence[go.Scatter]) -> dict[str, Any]:
    """Return the layout, with so many pixels for the plot."""
    named = sum(trace.showlegend is not False for trace in traces)
    above = 44 + 19 * -(-named // 2)  # on a narrow page the legend has a line for two names
    yaxis = {"title": {"text": "value", "standoff": 6}, "nticks": 6}
    look = layout(title, above + plot + 50, hovermode="x unified", xaxis=on_axis(times), yaxis=yaxis)
    look["margin"]["t"] = above
    return look
