"""What a forecaster takes as series, and what it makes of them: the calendar beside them, the future after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from glasslstm.data import read_series
from glasslstm.data.arrays import ranges
from glasslstm.data.checks import named
from glasslstm.data.sequences import Missing, Sequences
from glasslstm.errors import DataError
from glasslstm.forecasting.calendar import CYCLES
from glasslstm.forecasting.frequency import Frequency

__all__ = [
    "ID",
    "TARGET",
    "TIME",
    "calendar_of",
    "continued",
    "dated_after",
    "last_steps",
    "names_of",
    "numbered",
    "series_of",
    "with_calendar",
    "with_future",
]

ID, TIME, TARGET = "unique_id", "ds", "y"
"""The columns of a long table of forecasts, as the field calls them."""


def series_of(X: Any, missing: Missing, **roles: Sequence[str]) -> Sequences:
    """Return series from whatever a forecaster takes; of a table the columns that have a role in ``read_series``.

    That is ``Sequences``; a long table (pandas, polars, pyarrow) with the columns unique_id, ds, and others of numbers;
    a pandas Series, with its name, and its dates if its index has some; one array (T,); or what
    ``Sequences.from_arrays`` takes, where arrays (T_i,) count as (T_i, 1), and those of pandas may have dates.

    Raises
    ------
    DataError
        For what cannot be read, a table without these columns, and an id that several series have.
    """
    if isinstance(X, Sequences):
        series = Sequences.from_arrays(X, missing=missing)
    elif nw.dependencies.is_into_dataframe(X):
        series = _of_table(X, missing, roles)
    else:
        series = _of_arrays(X, missing)
    names, counts = np.unique(series.ids, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"X: several series have the same id: {named(names[counts > 1])}; a forecast needs whole series, each with "
            "an id of its own, and cuts its windows itself"
        )
    return series if series.times is None else replace(series, times=_plain(series.times))


def numbered(series: Sequences) -> Sequences:
    """Return series that have time stamps: positions from 0, if there are no others."""
    if series.times is not None:
        return series
    times = np.zeros(len(series.values), np.int64)
    times[series.rows()] = ranges(np.zeros(len(series), np.int64), series.lengths)
    return replace(series, times=times)


def dated_after(series: Sequences, kept: Sequences, frequency: Frequency, what: str) -> Sequences:
    """Return new steps with time stamps: if they have none, those that follow the known steps of their series.

    Raises
    ------
    DataError
        For a new series without time stamps, where the known ones have dates.
    """
    assert kept.times is not None
    if series.times is not None:
        return series
    place = {name: k for k, name in enumerate(kept.ids.tolist())}
    strange = np.array([name not in place for name in series.ids.tolist()])
    if strange.any():
        raise DataError(
            f"{what}: without time stamps, steps are added to series that are known, and these are not: "
            f"{named(series.ids[strange])}; give their times"
        )
    ends = kept.times[kept.stops - 1][[place[name] for name in series.ids.tolist()]]
    after = frequency.after(ends, int(series.lengths.max()))
    times = np.zeros(len(series.values), after.dtype)
    times[series.rows()] = after[np.arange(after.shape[1]) < series.lengths[:, None]]
    return replace(series, times=times)


def _kind(times: NDArray[Any]) -> str:
    return "dates" if times.dtype.kind == "M" else "numbers"


def _plain(times: NDArray[Any]) -> NDArray[Any]:
    """Return dates in a unit of which one counts: numpy also has such as 15 minutes."""
    if times.dtype.kind != "M":
        return times
    return times.astype(f"M8[{np.datetime_data(times.dtype)[0]}]")


def calendar_of(series: Sequences, frequency: Frequency) -> tuple[str, ...]:
    """Return the calendar features that go round twice or more in the time of some series.

    The others say no more than what time it is, and in a forecast they have values that training never saw.
    """
    assert series.times is not None
    if not frequency.calendar_names:
        return ()
    first, last = series.times[series.starts].min(), series.times[series.stops - 1].max()
    end = frequency.after(np.array([last]), 1)[0, 0]  # the last step takes until then
    days = np.diff(np.array([first, end]).astype("M8[s]"))[0] / np.timedelta64(1, "D")
    return tuple(name for name in frequency.calendar_names if days >= 1.99 * CYCLES[name.rpartition("_")[0]])


def with_calendar(series: Sequences, frequency: Frequency, features: Sequence[str]) -> Sequences:
    """Return the series with a channel more for each of some calendar features of their time stamps."""
    assert series.times is not None
    if not features:
        return series
    chosen = [frequency.calendar_names.index(name) for name in features]
    values = np.concatenate([series.values, frequency.calendar(series.times)[:, chosen]], axis=1)
    return replace(series, values=values, channel_names=(*names_of(series), *features))


def with_future(
    histories: Sequences, future: NDArray[np.float64], known: Sequence[int], times: NDArray[Any]
) -> Sequences:
    """Return the last steps of some series with H more after them, of which `known` channels alone have values.

    Parameters
    ----------
    histories
        N series of L steps each.
    future
        The values of those channels, (N, H, K).
    known
        Their positions, K.
    times
        Of the H steps, (N, H).
    """
    assert histories.times is not None
    count, steps = times.shape
    ahead = np.full((count, steps, histories.channels), np.nan)
    ahead[..., list(known)] = future
    length = int(histories.lengths[0])
    rows = histories.rows().reshape(count, length)
    values = np.concatenate([histories.values[rows], ahead], axis=1)
    starts = np.arange(count) * (length + steps)
    return replace(
        histories,
        values=values.reshape(-1, histories.channels),
        times=np.concatenate([histories.times[rows], times], axis=1).ravel(),
        starts=starts,
        stops=starts + length + steps,
    )


def last_steps(series: Sequences, steps: int) -> Sequences:
    """Return the last `steps` of each series, and no more values than these have."""
    assert series.times is not None
    starts = np.maximum(series.stops - steps, series.starts)
    cut = replace(series, starts=starts, targets=None, step_targets=None, target_names=(), horizon=0)
    rows, offsets = cut.rows(), cut.offsets
    return replace(
        cut, values=cut.values[rows], times=series.times[rows], starts=offsets[:-1], stops=offsets[1:]
    )


def continued(kept: Sequences, new: Sequences) -> Sequences:
    """Return the kept series, each with the new steps of its id after it; a new id is a new series.

    Raises
    ------
    DataError
        For new steps that do not come after those that are known, with all such series.
    """
    assert kept.times is not None
    assert new.times is not None
    if (kept.times.dtype.kind == "M") != (new.times.dtype.kind == "M"):
        raise DataError(
            f"new_values: the known time stamps are {_kind(kept.times)}, and the new ones are {_kind(new.times)}"
        )
    place = {name: k for k, name in enumerate(kept.ids.tolist())}
    after = {name: k for k, name in enumerate(new.ids.tolist())}
    early = [
        name
        for name, k in after.items()
        if name in place and not new.times[new.starts[k]] > kept.times[kept.stops[place[name]] - 1]
    ]
    if early:
        raise DataError(
            f"new_values: the steps of {len(early)} series do not come after those that are known: {named(early)}; "
            "give only what is new"
        )
    both = Sequences.concatenate([kept, new])
    added = {name: len(kept) + k for name, k in after.items()}
    order = [[k, added[name]] if name in added else [k] for name, k in place.items()] + [
        [k] for name, k in added.items() if name not in place
    ]
    rows = both.rows(np.concatenate(order))
    lengths = np.array([int(both.lengths[parts].sum()) for parts in order])
    first = both.select(np.array([parts[0] for parts in order]))
    ends = np.cumsum(lengths)
    assert both.times is not None
    return replace(first, values=both.values[rows], times=both.times[rows], starts=ends - lengths, stops=ends)


def names_of(series: Sequences) -> tuple[str, ...]:
    """Return what the channels are called: y, where there is one without a name."""
    if series.channel_names is not None:
        return series.channel_names
    return (TARGET,) if series.channels == 1 else tuple(f"channel {k}" for k in range(series.channels))


def _of_table(table: Any, missing: Missing, roles: Mapping[str, Any]) -> Sequences:
    frame = nw.from_native(table, eager_only=True)
    columns = frame.columns
    for name in (ID, TIME):
        if name not in columns:
            raise DataError(
                f"X: a table for a forecast has the columns {ID}, {TIME} and {TARGET}; got {', '.join(columns[:10])}; "
                "rename yours, or read it with glasslstm.data.read_series"
            )
    texts = [name for name in columns if name not in (ID, TIME) and not frame[name].dtype.is_numeric()]
    texts = [name for name in texts if frame[name].dtype != nw.Boolean]
    if texts and not roles:
        raise DataError(
            f"X: {', '.join(map(repr, texts))} hold no numbers; read the table with glasslstm.data.read_series(table, "
            f"id='{ID}', time='{TIME}', ...), where categories= and static= say what is what, or drop these columns"
        )
    return read_series(table, id=ID, time=TIME, missing=missing, **roles)


def _of_arrays(X: Any, missing: Missing) -> Sequences:
    if nw.dependencies.is_into_series(X) or (getattr(X, "ndim", 0) == 1 and X.dtype != object):
        X = [X]
    if not (isinstance(X, (list, tuple)) and X and all(np.ndim(x) == 1 for x in X)):
        return Sequences.from_arrays(X, missing=missing)
    dates = [found for found in map(_dates, X) if found is not None]
    if dates and len(dates) < len(X):
        raise DataError(f"X: {len(dates)} of {len(X)} series have dates; give all of them dates, or none")
    names: list[Any] = [getattr(x, "name", None) for x in X]
    ids = (
        names if len(set(names)) == len(X) and all(isinstance(name, str) and name for name in names) else None
    )
    columns = [np.asarray(x)[:, None] for x in X]
    return Sequences.from_arrays(columns, missing=missing, times=dates or None, ids=ids)


def _dates(column: Any) -> NDArray[Any] | None:
    """Return the dates of a pandas Series' index, if it has some."""
    index: Any = getattr(column, "index", None)
    dates = getattr(index.to_timestamp() if hasattr(index, "to_timestamp") else index, "values", None)
    return dates if dates is not None and dates.dtype.kind == "M" else None
