"""What a container of series must fulfil, each with one clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError

if TYPE_CHECKING:
    from glasslstm.data.sequences import Sequences

__all__ = ["Missing", "check_finite", "check_fit", "named", "others", "positions_in", "refuse_beside"]

Missing: TypeAlias = Literal["error", "mask"]
"""What to do with a missing value: refuse it, or keep it as NaN for the estimator to fill and to tell."""


def check_fit(series: Sequences) -> None:
    """Refuse arrays that do not fit together, and series without a step or outside of the values."""
    if series.values.ndim != 2:
        raise DataError(f"values: expected (S, F), got shape {series.values.shape}")
    count, steps = len(series.starts), len(series.values)
    expected = dict.fromkeys(("stops", "ids", "targets", "static"), count)
    expected |= dict.fromkeys(("times", "step_targets"), steps)
    expected |= {"channel_names": series.channels}
    for name, size in expected.items():
        found = getattr(series, name)
        if found is not None and len(found) != size:
            raise DataError(f"{name}: expected {size}, got {len(found)}")
    if series.static is not None and series.static.shape[1:] != (len(series.static_names),):
        raise DataError(
            f"static_names: expected one for each column of static, of shape {series.static.shape}, got "
            f"{len(series.static_names)}; with_static names them"
        )
    last = steps - series.horizon
    fits = (series.starts >= 0) & (series.starts < series.stops) & (series.stops <= last)
    if not fits.all():
        k = int(fits.argmin())
        raise DataError(
            f"series {k} has the rows from {series.starts[k]} to before {series.stops[k]}; expected one or more, "
            f"within 0 to {last}"
        )


def check_finite(series: Sequences, missing: Missing) -> None:
    """Refuse infinity, and NaN unless it is a missing value; with its place and share."""
    if missing not in ("error", "mask"):
        raise ArgumentError(f"missing: expected 'error' or 'mask', got {missing!r}")
    place = series.first_not_finite(nan=missing == "error")
    if place is None:
        return
    k, step, channel = place
    nan = bool(np.isnan(series[k][step, channel]))
    refused = np.isinf if missing == "mask" else _not_finite
    counts = _count_by_series(series, refused)
    count = int(counts.sum())
    total = series.steps * series.channels
    kinds = "infinite" if missing == "mask" else "NaN or infinite"
    remedy = "fill or drop them first" + (", or set missing='mask'" if nan else "")
    raise DataError(
        f"X: series {k} has {'NaN' if nan else 'infinity (inf)'} at step {step}, channel {series.name_of(channel)} "
        f"(all counted from 0; {count} of {total} values, {count / total:.2%}, are {kinds}); {remedy}"
        f"{others(series.ids[counts > 0].tolist())}"
    )


def named(ids: Iterable[Any]) -> str:
    """Return what some series are called: at most ten of them, and how many more there are.

    Examples
    --------
    >>> named(["a", "b"]), named(range(12))
    ("'a', 'b'", '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    found = [one.item() if isinstance(one, np.generic) else one for one in ids]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(map(repr, found[:_NAMED])) + more


def others(ids: Iterable[Any], where: str = "") -> str:
    """Return the end of a message about the first of some series: what all of them are called, if there are others.

    Examples
    --------
    >>> others(["a", "b"], "in the table"), others(["a"])
    ("; 2 series in the table have this: 'a', 'b'", '')
    """
    found = list(ids)
    place = f"{where} " if where else ""
    return f"; {len(found)} series {place}have this: {named(found)}" if len(found) > 1 else ""


def positions_in(indices: Sequence[int] | NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return positions from positions or a mask; what numpy would round, or read as 0 and 1, is refused."""
    found = np.asarray(indices)
    if found.dtype == bool and found.shape == (count,):
        return np.flatnonzero(found).astype(np.int64, copy=False)
    if found.ndim != 1 or (found.dtype.kind not in "iu" and len(found)):
        raise ArgumentTypeError(
            f"indices: expected whole numbers, (K,), or a mask of {count} truth values, got {found.dtype} of "
            f"shape {found.shape}"
        )
    return found.astype(np.int64, copy=False)


def refuse_beside(arguments: Mapping[str, object]) -> None:
    """Refuse what comes beside a ``Sequences``, so that nothing is left out in silence."""
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ArgumentError(
            f"{', '.join(given)}: X is a Sequences, which has its own; set them there, with dataclasses.replace"
        )


_NAMED = 10  # a message has room for some names


def _count_by_series(
    series: Sequences, test: Callable[[NDArray[np.floating]], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    counts = np.zeros(len(series), np.int64)
    for chosen, values in series.blocks():
        lengths = series.lengths[chosen]
        counts[chosen] = np.add.reduceat(test(values).sum(axis=1), np.cumsum(lengths) - lengths)
    return counts


def _not_finite(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    refused: NDArray[np.bool_] = ~np.isfinite(values)
    return refused
