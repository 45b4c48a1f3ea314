"""The windows of a backtest: each series is cut at several origins, into a history and the steps that came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.checks import named
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.settings import COUNT
from glasslstm.forecasting.backtest import Answer, Backtest
from glasslstm.forecasting.metrics import Floats, seasonal_scales

__all__ = ["Windows", "rolling_origin"]


@dataclass(frozen=True, eq=False)
class Windows:
    """W windows of one or many series: what was known at each origin, and what came in the H steps after it.

    Those of one series stand together, the earliest first.
    """

    ids: NDArray[Any]
    """Which series, (W,)."""
    series: NDArray[np.int64]
    """Its position, (W,)."""
    origins: NDArray[np.int64]
    """How many steps of it were known, (W,)."""
    cutoffs: NDArray[Any]
    """The last time stamp that was known, (W,)."""
    times: NDArray[Any]
    """Time stamps of the steps to forecast, (W, H)."""
    truth: Floats
    """What came, (W, H); NaN where it is missing."""
    histories: tuple[Floats, ...]
    """What was known, W arrays (origin,), views of the series."""
    scales: Floats
    """The mean absolute and the mean squared seasonal difference of each history, (W, 2)."""
    season_length: int

    def __len__(self) -> int:
        return len(self.ids)

    def backtest(
        self,
        answers: Mapping[str, Answer],
        levels: Sequence[float] = (),
        columns: tuple[str, str] = ("unique_id", "ds"),
    ) -> Backtest:
        """Return the answers of all methods beside the truth of these windows."""
        return Backtest(
            ids=self.ids,
            cutoffs=self.cutoffs,
            times=self.times,
            truth=self.truth,
            answers=dict(answers),
            levels=tuple(levels),
            scales=self.scales,
            season_length=self.season_length,
            columns=columns,
        )


def rolling_origin(
    ids: NDArray[Any],
    targets: Sequence[Floats],
    times: Sequence[NDArray[Any]] | None = None,
    *,
    horizon: int,
    windows: int = 1,
    stride: int | None = None,
    season_length: int = 1,
    history: int = 1,
) -> Windows:
    """Cut every series at `windows` origins, `stride` steps apart; the last window ends with the series.

    Parameters
    ----------
    ids
        What each series is called, (N,).
    targets
        The whole series, N arrays (T_i,), NaN where a value is missing.
    times
        Their time stamps, N arrays (T_i,). Default: positions from 0.
    horizon
        Steps of a window.
    windows
        Windows of each series.
    stride
        Steps from one origin to the next. Default: the horizon, so that no step is in two windows.
    season_length
        Steps of a season, for the scales of MASE and RMSSE.
    history
        Steps that must stand before the first origin.

    Raises
    ------
    ArgumentError
        For a horizon, windows, stride, season or history below 1.
    DataError
        For series that are too short, and series without a known value before an origin: all of them are named.

    References
    ----------
    Tashman (2000), Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16(4).

    Examples
    --------
    >>> found = rolling_origin(np.array(["a"]), [np.arange(10.0)], horizon=3, windows=2)
    >>> found.origins, found.truth
    (array([4, 7]), array([[4., 5., 6.],
           [7., 8., 9.]]))
    """
    stride = horizon if stride is None else stride
    sizes = {"horizon": horizon, "windows": windows, "stride": stride}
    for name, size in {**sizes, "season_length": season_length, "history": history}.items():
        if not COUNT.fits(size):
            raise ArgumentError(f"{name}: expected {COUNT.allowed}, got {size!r}")
    span = horizon + (windows - 1) * stride
    _refuse_short(ids, targets, span + history, span, sizes)
    values = [np.asarray(target, np.float64) for target in targets]
    stamps = [np.arange(len(target)) for target in values] if times is None else times
    series = np.repeat(np.arange(len(values)), windows)
    origins = np.concatenate([len(target) - span + stride * np.arange(windows) for target in values])
    places = list(zip(series, origins, strict=True))
    histories = tuple(values[k][:origin] for k, origin in places)
    _refuse_unknown(ids[series], histories)
    return Windows(
        ids=ids[series],
        series=series,
        origins=origins,
        cutoffs=np.stack([stamps[k][origin - 1] for k, origin in places]),
        times=np.stack([stamps[k][origin : origin + horizon] for k, origin in places]),
        truth=np.stack([values[k][origin : origin + horizon] for k, origin in places]),
        histories=histories,
        scales=np.array([seasonal_scales(known, season_length) for known in histories]),
        season_length=season_length,
    )


def _refuse_short(
    ids: NDArray[Any], targets: Sequence[Floats], needed: int, span: int, sizes: Mapping[str, int]
) -> None:
    short = [k for k, target in enumerate(targets) if len(target) < needed]
    if short:
        words = ", ".join(f"{name}={size}" for name, size in sizes.items())
        shortest = min(len(targets[k]) for k in short)
        raise DataError(
            f"{_count(short)} too short for {words}: each needs {needed} steps, {needed - span} before the first "
            f"origin and {span} after it, and the shortest has {shortest}: {named([ids[k] for k in short])}; take "
            "fewer windows or leave these series out"
        )


def _refuse_unknown(ids: NDArray[Any], histories: Sequence[Floats]) -> None:
    """Refuse windows before whose origin every value is missing; `ids` are those of the windows."""
    unknown = list(dict.fromkeys(ids[k] for k, known in enumerate(histories) if np.isnan(known).all()))
    if unknown:
        raise DataError(
            f"{_count(unknown)} without a known value before an origin: {named(unknown)}; take fewer windows "
            "or leave these series out"
        )


def _count(found: Sequence[object]) -> str:
    return f"{len(found)} series {'is' if len(found) == 1 else 'are'}"
