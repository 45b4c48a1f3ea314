"""What is wrong with the series of a forecast: one error that names them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.checks import named
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentTypeError, DataError
from glasslstm.forecasting.frequency import Frequency
from glasslstm.forecasting.grid import TOLERANCE

__all__ = ["check_future", "check_history"]


def check_history(
    series: Sequences,
    target: int,
    *,
    steps: int,
    missing_allowed: bool,
    constant_allowed: bool = False,
    what: str = "X",
) -> None:
    """Refuse series that no forecast can be learned from, or made of.

    Parameters
    ----------
    series
        The histories.
    target
        The channel that is forecast.
    steps
        How many steps each series needs.
    missing_allowed
        Whether values may be missing; not all of the target's may, in any case.
    constant_allowed
        Whether the target may be constant, as it may be in the history that a forecast is made of.
    what
        The argument that they came as.

    Raises
    ------
    DataError
        For series that are too short, whose target is constant or missing in all steps, and that have infinite (or
        missing) values: one error with all of them.

    Examples
    --------
    >>> series = Sequences.from_arrays([[[1.0], [2.0]], [[3.0], [3.0]]], ids=["a", "b"])
    >>> check_history(series[:1], 0, steps=2, missing_allowed=False)
    >>> check_history(series[1:], 0, steps=2, missing_allowed=False)
    Traceback (most recent call last):
    glasslstm.errors.DataError: X: 1 of 1 series cannot be used. Constant target: 1 series ('b'), such as 3 in \
all 2 steps of series 'b'; there is nothing to learn from it. Drop these series, or mend them
    """
    starts, values = series.offsets[:-1], series.values[series.rows()]
    problems = [
        *_too_short(series, steps),
        *_odd_target(series, target, values[:, target], starts, constant_allowed=constant_allowed),
        *_not_finite(series, values, starts, missing_allowed=missing_allowed),
    ]
    _refuse(what, series.ids, problems)


def check_future(
    history: Sequences,
    future: Sequences | None,
    known: Sequence[str],
    horizon: int,
    frequency: Frequency,
    what: str = "future",
) -> NDArray[np.float64]:
    """Return what is known of the steps after each history, (N, H, K), in the order of the histories and of `known`.

    Parameters
    ----------
    history
        The series that are forecast, N of them. An id may be there more than once, for several origins of a series.
    future
        Series with the channels `known`, one for each id of the histories. With time stamps their steps are found by
        these, so that steps of the history, and steps past the horizon, may be in it as well; without, the first one
        is the step after the history. ``None`` where nothing is known.
    known
        The names of the channels, K.
    horizon
        How many steps are forecast, H.
    frequency
        How far apart they are.
    what
        The argument that `future` came as.

    Raises
    ------
    ArgumentTypeError
        Where `future` is no ``Sequences``.
    DataError
        For channels or series that are not in it, and series that end before the horizon, leave out steps, or have
        missing or infinite values: one error with all of them.

    Notes
    -----
    Categories have the codes of `history`; what is none of its categories has the code after their last.
    """
    if not known:
        return np.empty((len(history), horizon, 0))
    found = _future_in(history, future, known, horizon, what)
    rows, there = _rows_after(history, found, horizon, frequency)
    columns = [(found.channel_names or ()).index(name) for name in known]
    values = np.stack(
        [_recoded(history, found, name, rows, k) for name, k in zip(known, columns, strict=True)], -1
    )
    _refuse(what, history.ids, _problems_of_future(history.ids, there, values, horizon, known))
    return values


class _Problem(NamedTuple):
    kind: str
    series: NDArray[np.bool_]
    detail: str


def _refuse(what: str, ids: NDArray[Any], problems: Iterable[_Problem]) -> None:
    """Raise one error with all problems that some series have."""
    found = list(problems)
    if not found:
        return
    wrong = np.logical_or.reduce([problem.series for problem in found])
    lines = [
        f"{kind}: {series.sum()} series ({named(ids[series])}), {detail}." for kind, series, detail in found
    ]
    raise DataError(
        f"{what}: {wrong.sum()} of {len(ids)} series cannot be used. {' '.join(lines)} Drop these series, or "
        "mend them"
    )


def _too_short(series: Sequences, steps: int) -> Iterator[_Problem]:
    short = series.lengths < steps
    if short.any():
        k = int(series.lengths.argmin())
        detail = f"the shortest, {series.ids.tolist()[k]!r}, with {series.lengths[k]} steps, where {steps} are needed"
        yield _Problem("Too short", short, f"{detail}; or choose a shorter context or horizon")


def _odd_target(
    series: Sequences,
    target: int,
    values: NDArray[np.floating],
    starts: NDArray[np.int64],
    *,
    constant_allowed: bool,
) -> Iterator[_Problem]:
    name = "target" if series.channel_names is None else f"target {series.channel_names[target]!r}"
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    if np.isnan(low).any():
        yield _Problem(f"No {name}", np.isnan(low), "it is missing in all of their steps")
    constant = (low == high) & (series.lengths > 1)
    if constant.any() and not constant_allowed:
        k = int(constant.argmax())
        detail = f"such as {low[k]:g} in all {series.lengths[k]} steps of series {series.ids.tolist()[k]!r}"
        yield _Problem(f"Constant {name}", constant, f"{detail}; there is nothing to learn from it")


def _not_finite(
    series: Sequences, values: NDArray[np.floating], starts: NDArray[np.int64], *, missing_allowed: bool
) -> Iterator[_Problem]:
    for kind, found, remedy in (
        ("Infinite values", np.isinf(values), "replace them, or make them missing (NaN)"),
        ("Missing values", np.isnan(values) & (not missing_allowed), "fill them, or set missing='mask'"),
    ):
        wrong = np.logical_or.reduceat(found.any(axis=1), starts)
        if wrong.any():
            k = int(wrong.argmax())
            step, channel = np.argwhere(found[starts[k] : starts[k] + series.lengths[k]])[0]
            place = f"the first at step {step}, channel {series.name_of(int(channel))} of series"
            detail = f"{place} {series.ids.tolist()[k]!r} (counted from 0), {found.sum()} values in all"
            yield _Problem(kind, wrong, f"{detail}; {remedy}")


def _future_in(
    history: Sequences, future: Sequences | None, known: Sequence[str], horizon: int, what: str
) -> Sequences:
    """Return of `future` the series of each history."""
    names = ", ".join(map(repr, known))
    if future is None:
        raise DataError(
            f"{what}: the forecast needs {names} of the {horizon} steps after each series; give them"
        )
    if not isinstance(future, Sequences):
        raise ArgumentTypeError(
            f"{what}: expected a Sequences (glasslstm.data.read_series makes one), got {type(future).__name__}"
        )
    absent = [name for name in known if name not in (future.channel_names or ())]
    if absent:
        raise DataError(
            f"{what}: there is no channel {absent[0]!r}; expected {names}, got "
            f"{', '.join(map(repr, future.channel_names or ())) or 'channels without names'}"
        )
    _check_same_times(history, future, what)
    place = {one: k for k, one in enumerate(future.ids.tolist())}
    if len(place) < len(future):
        twice = np.unique(future.ids, return_counts=True)
        raise DataError(
            f"{what}: these ids are there more than once: {named(twice[0][twice[1] > 1])}; give each once"
        )
    lost = np.array([one not in place for one in history.ids.tolist()])
    if lost.any():
        raise DataError(
            f"{what}: {lost.sum()} of {len(history)} series are not in it: {named(history.ids[lost])}; give {names} of "
            "each series"
        )
    return future.select([place[one] for one in history.ids.tolist()])


def _check_same_times(history: Sequences, future: Sequences, what: str) -> None:
    """Refuse dates beside numbers, and time stamps beside none."""
    if history.times is None and future.times is None:
        return
    if history.times is None or future.times is None:
        has, lacks = (
            ("it has", "the series have none") if history.times is None else ("it has no", "the series have")
        )
        raise DataError(f"{what}: {has} time stamps, and {lacks}; give both with them, or both without")
    if (history.times.dtype.kind == "M") != (future.times.dtype.kind == "M"):
        raise DataError(
            f"{what}: its time stamps are {future.times.dtype}, and those of the series {history.times.dtype}; give "
            "both as dates, or both as numbers"
        )


def _rows_after(
    history: Sequences, future: Sequences, horizon: int, frequency: Frequency
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where in `future` the steps after each history are, and which of them are there; (N, H) each."""
    starts = future.starts
    if history.times is not None and future.times is not None:
        last = history.times[history.stops - 1]
        slack = 0 if frequency.step is None else TOLERANCE * frequency.step
        before = future.times[future.rows()] <= np.repeat(last + slack, future.lengths)
        starts = starts + np.add.reduceat(before.astype(np.int64), future.offsets[:-1])
    rows = starts[:, None] + np.arange(horizon)
    there = rows < future.stops[:, None]
    rows = np.minimum(rows, future.stops[:, None] - 1)
    if history.times is not None and future.times is not None:
        there &= _equal(future.times[rows], frequency.after(last, horizon), frequency)
    return rows, np.logical_and.accumulate(there, axis=1)


def _equal(times: NDArray[Any], expected: NDArray[Any], frequency: Frequency) -> NDArray[np.bool_]:
    if frequency.step is None:
        return np.asarray(times == expected)
    return np.asarray(np.abs(times - expected) <= TOLERANCE * frequency.step)


def _recoded(
    history: Sequences, future: Sequences, name: str, rows: NDArray[np.int64], column: int
) -> NDArray[np.float64]:
    values: NDArray[np.float64] = future.values[rows, column].astype(np.float64)
    texts = future.categories.get(name)
    if texts is None or name not in history.categories:
        return values
    codes = {text: code for code, text in enumerate(history.categories[name])}
    found = np.array([codes.get(text, len(codes)) for text in texts] or [0], np.float64)
    known = ~np.isnan(values)
    values[known] = found[values[known].astype(np.int64)]
    return values


def _problems_of_future(
    ids: NDArray[Any],
    there: NDArray[np.bool_],
    values: NDArray[np.float64],
    horizon: int,
    known: Sequence[str],
) -> Iterator[_Problem]:
    count = there.sum(axis=1)
    if (count < horizon).any():
        k = int(count.argmin())
        detail = f"the shortest, {ids.tolist()[k]!r}, with {count[k]} steps right after its last, where {horizon} are"
        yield _Problem(
            "End before the horizon", count < horizon, f"{detail} needed; or choose a shorter horizon"
        )
    found = np.asarray(~np.isfinite(values) & there[..., None])
    if found.any():
        k, step, channel = np.argwhere(found)[0]
        detail = f"such as {known[channel]!r} of series {ids.tolist()[k]!r} in step {step + 1} of the {horizon}; fill"
        yield _Problem("Missing or infinite values", np.asarray(found.any(axis=(1, 2))), f"{detail} them in")
