"""What a fit is to learn: the windows of some series, and what the parameters leave to be found in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from glasslstm.data.checks import named
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.checks import check_history
from glasslstm.forecasting.frequency import Frequency
from glasslstm.forecasting.histories import TARGET, calendar_of, names_of, numbered, series_of, with_calendar
from glasslstm.forecasting.preparation import WindowPreparation
from glasslstm.forecasting.transforms import TRANSFORMS, found_transform

if TYPE_CHECKING:
    from glasslstm.forecasting.forecaster import LSTMForecaster

__all__ = ["Problem", "check_size", "check_transform"]

# Windows that an epoch goes through where series have more, as long as a stride is not longer than the horizon.
_WINDOWS = 20_000
_SHORTEST_CONTEXT, _LONGEST_CONTEXT = 32, 336


@dataclass(frozen=True, eq=False)
class Problem:
    """The series of a training with what was found in them, and their windows.

    Attributes
    ----------
    series
        N series, none of whose steps is left out; one that was not there is NaN.
    windows
        Those that are trained on, with the calendar beside the channels; `ids` says of which series each is.
    frequency
        How far apart steps are.
    target
        Which channel is forecast.
    context, season_length, transform
        As the parameters, where these leave them open.
    known
        The channels of the windows that are known ahead.
    """

    series: Sequences
    windows: Sequences
    frequency: Frequency
    target: int
    context: int
    season_length: int
    transform: str
    known: tuple[int, ...]

    @classmethod
    def of(cls, settings: LSTMForecaster, X: Any) -> Problem:
        """Return what `settings` are to learn from `X`.

        Raises
        ------
        DataError
            For series that cannot be trained on; all of them are named.
        ArgumentError
            For a parameter that does not fit the series.
        """
        series = numbered(series_of(X, settings.missing))
        series = replace(series, channel_names=names_of(series))
        frequency = Frequency.of(series, settings.frequency)
        series, target = frequency.regular(series), _target(settings, series)
        season, context = _sizes(settings, series, frequency)
        check_history(
            series, target, steps=context + settings.horizon, missing_allowed=settings.missing == "mask"
        )
        check_size(series, target)
        known = _known_ahead(settings, series, target)
        marked = with_calendar(series, frequency, calendar_of(series, frequency) if settings.calendar else ())
        return cls(
            series,
            _windows(settings, marked, target, context, season),
            frequency,
            target,
            context,
            season,
            _transform(settings, series, target, season),
            (*known, *range(series.channels, marked.channels)),
        )

    def prepare(self, windows: Sequences) -> WindowPreparation:
        """Return how some of the windows become inputs."""
        return WindowPreparation.of_windows(
            windows,
            target=self.target,
            context=self.context,
            season_length=self.season_length,
            transform=self.transform,
            known=self.known,
        )


def check_transform(transform: str, series: Sequences, target: int, what: str = "X") -> None:
    """Refuse values that a transform does not take.

    Raises
    ------
    DataError
        With all the series that have some.
    """
    one = TRANSFORMS[transform]
    columns = (values[:, target] for values in series)
    wrong = np.array([not one.takes(values[~np.isnan(values)]).all() for values in columns])
    if wrong.any():
        raise DataError(
            f"{what}: the transform {transform!r} takes values that are {one.allowed}, and {wrong.sum()} series have "
            f"others: {named(series.ids[wrong])}; choose transform='none', or check these series"
        )


def check_size(series: Sequences, target: int, what: str = "X") -> None:
    """Refuse values that are too large for float32 once they are squared.

    Raises
    ------
    DataError
        With all the series that have some.
    """
    wrong = np.array([np.nanmax(np.abs(values[:, target]), initial=0) > _LARGEST for values in series])
    if wrong.any():
        raise DataError(
            f"{what}: {wrong.sum()} series have values beyond {_LARGEST:g}: {named(series.ids[wrong])}; give them in a "
            "larger unit"
        )


_LARGEST = 1e36


def _target(settings: LSTMForecaster, series: Sequences) -> int:
    names = names_of(series)
    wanted = settings.target or (TARGET if len(names) > 1 else names[0])
    if wanted not in names:
        raise ArgumentError(
            f"target: expected one of the channels {', '.join(names)}, got {wanted!r}; name the one to forecast"
        )
    if wanted in series.categories:
        raise ArgumentError(f"target: {wanted!r} holds categories; expected a channel of numbers")
    return names.index(wanted)


def _known_ahead(settings: LSTMForecaster, series: Sequences, target: int) -> tuple[int, ...]:
    names = names_of(series)
    others = [name for k, name in enumerate(names) if k != target]
    for name in settings.future_covariates:
        if name not in others:
            raise ArgumentError(
                f"future_covariates: {name!r} is no covariate; expected some of {', '.join(others) or '(none)'}"
            )
    return tuple(k for k, name in enumerate(names) if name in settings.future_covariates)


def _sizes(settings: LSTMForecaster, series: Sequences, frequency: Frequency) -> tuple[int, int]:
    """Return the season, and the steps of a context."""
    shortest = int(series.lengths.min())
    longest = min(shortest // 3, settings.context or shortest)
    season = int(
        settings.season_length or max((m for m in frequency.season_lengths if m <= longest), default=1)
    )
    wish = min(max(2 * settings.horizon, 5 * season, _SHORTEST_CONTEXT), _LONGEST_CONTEXT)
    least = max(settings.horizon, season)
    context = settings.context or min(wish, max((shortest - settings.horizon) // 2, least))
    if season > context:
        raise ArgumentError(
            f"context: got {context}, which has to hold a season of {season} steps; lengthen it, or set season_length"
        )
    return season, int(context)


def _transform(settings: LSTMForecaster, series: Sequences, target: int, season: int) -> str:
    if settings.transform == "auto":
        return found_transform([values[:, target] for values in series], season)
    check_transform(settings.transform, series, target)
    return settings.transform


def _windows(
    settings: LSTMForecaster, series: Sequences, target: int, context: int, season: int
) -> Sequences:
    """Return the windows that have a known value of the target before and after the end of their context.

    Those of the first series end with it, those of the next one a step before its end, and so on, and a stride that is
    found shares no factor with the season: so all phases of the season are trained on, and the last steps as well.
    """
    length = context + settings.horizon
    spare = series.lengths - length
    stride = settings.stride or _stride(int((spare + 1).sum()), int(settings.horizon), season)
    stops = series.stops - np.minimum(np.arange(len(series)) % stride, spare)
    starts = stops - length - (stops - series.starts - length) // stride * stride
    windows = replace(series, ids=np.arange(len(series)), starts=starts, stops=stops).windows(
        length, stride=stride
    )
    there = np.concatenate([[0], np.cumsum(~np.isnan(series.values[:, target]))])
    middle = windows.starts + context
    useful = (there[middle] > there[windows.starts]) & (there[windows.stops] > there[middle])
    if not useful.any():
        raise DataError(
            f"X: no window of {length} steps has a known value of the target both in its first {context} and in its "
            f"last {settings.horizon}; choose a longer context, or fill the gaps"
        )
    return windows[np.flatnonzero(useful)]


def _stride(origins: int, horizon: int, season: int) -> int:
    wish = int(np.clip(-(-origins // _WINDOWS), 1, horizon))
    return next(stride for stride in range(wish, 0, -1) if math.gcd(stride, season) == 1)
