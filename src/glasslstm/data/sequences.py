"""The one container for series of different lengths: flat values, and where each series starts and stops."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm.data.arrays import (
    column_in,
    first_not_finite,
    names_in,
    narrowed,
    ranges,
    series_in,
    static_in,
    steps_in,
    unpadded,
)
from glasslstm.data.checks import Missing, check_finite, check_fit, positions_in, refuse_beside
from glasslstm.data.joining import concatenated
from glasslstm.data.times import Intervals, as_numbers, intervals_between, times_in
from glasslstm.data.windows import windows_of
from glasslstm.errors import ArgumentError

__all__ = ["Intervals", "Missing", "Sequences", "as_numbers"]

_BLOCK = 1 << 18  # steps that are looked at at once: some megabytes


@dataclass(frozen=True, eq=False)
class Sequences:
    """Series of any length over the same channels.

    Make one with :meth:`from_arrays`, :meth:`from_padded`, :func:`glasslstm.data.read_series` (tables, CSV, Parquet) or
    :func:`glasslstm.data.read_ts`. Whatever selects, splits or windows shares the values and copies none.

    Attributes
    ----------
    values
        All steps, (S, F): float32, or float64 where float32 would blur a channel. NaN is a missing value.
    starts, stops
        The rows of `values` that each series has: from the one, to before the other; (N,) int64.
    ids
        What each series is called, (N,); by default its position, from 0.
    channel_names
        F names, or ``None``.
    times
        When each row of `values` was, (S,): numbers or numpy dates; ``None`` where that is not known.
    targets
        What is to be predicted of each series, (N,) or (N, M).
    step_targets
        What is to be predicted of each step, (S,): in step with the rows of `values`.
    static, static_names
        What does not change within a series, (N, G) float64, and what it is called.
    target_names
        What the columns of the targets are called.
    categories
        Of a channel or static feature that holds categories, by its name: the texts, in the order of the codes 0, 1,
        ... that stand in its place.
    horizon
        Steps after each series that its targets were taken from: of windows with a horizon.

    Raises
    ------
    DataError
        For parts that do not fit together, and series without a step or outside of `values`.

    Examples
    --------
    >>> import numpy as np
    >>> series = Sequences.from_arrays([np.zeros((3, 2)), np.ones((5, 2))], targets=["a", "b"])
    >>> len(series), series.channels, series.lengths.tolist()
    (2, 2, [3, 5])
    >>> series[1].shape, series[1:].targets.tolist()
    ((5, 2), ['b'])
    >>> padded, lengths = series.pad([1, 0])
    >>> padded.shape
    (5, 2, 2)
    """

    values: NDArray[np.floating]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    ids: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    channel_names: tuple[str, ...] | None = None
    times: NDArray[Any] | None = None
    targets: NDArray[Any] | None = None
    step_targets: NDArray[Any] | None = None
    static: NDArray[np.float64] | None = None
    static_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    horizon: int = 0

    def __post_init__(self) -> None:
        if not len(self.ids):
            object.__setattr__(self, "ids", np.arange(len(self.starts)))
        check_fit(self)

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        *,
        missing: Missing = "error",
        ids: ArrayLike | None = None,
        channel_names: Sequence[str] | None = None,
        times: Sequence[ArrayLike] | None = None,
        targets: ArrayLike | None = None,
        step_targets: Sequence[ArrayLike] | None = None,
        static: ArrayLike | None = None,
        static_names: Sequence[str] = (),
    ) -> Sequences:
        """Check `X` and take it over.

        Parameters
        ----------
        X
            A list of (T_i, F) arrays of any length, or one (N, T, F) array; numpy, torch, or what numpy reads. A
            ``Sequences`` is given back as it is, with nothing beside it.
        missing
            ``"error"``: NaN is refused. ``"mask"``: it is a missing value.
        ids, targets
            One for each series; targets also several, (N, M).
        channel_names
            One for each channel.
        times
            Of each series when its steps were, (T_i,): numbers or dates that rise.
        step_targets
            Of each series what is to be predicted of its steps, (T_i,).
        static, static_names
            Numbers that do not change within a series, (N, G), and their names.

        Raises
        ------
        DataError
            For no series, an empty one, another number of dimensions or channels, values that are not
            numbers, NaN and infinity; with the series (its position, from 0), step and channel.
        ArgumentError
            For a ``Sequences`` with other arguments beside it.
        """
        beside = {
            "ids": ids,
            "times": times,
            "targets": targets,
            "step_targets": step_targets,
            "static": static,
        }
        if isinstance(X, cls):
            refuse_beside(
                {**beside, "channel_names": channel_names, "static_names": tuple(static_names) or None}
            )
            check_finite(X, missing)
            return X
        arrays = series_in(X)
        names = names_in("channel_names", channel_names, arrays[0].shape[1], "channel of X")
        edges = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        series = cls(narrowed(np.concatenate(arrays)), edges[:-1], edges[1:], channel_names=names)
        check_finite(series, missing)
        count, lengths = len(series), series.lengths
        series = replace(
            series,
            ids=series.ids if ids is None else column_in("ids", ids, count),
            times=None if times is None else times_in(times, lengths),
            targets=None if targets is None else column_in("targets", targets, count, dimensions=2),
            step_targets=None if step_targets is None else steps_in("step_targets", step_targets, lengths),
        )
        if static is None and len(static_names):
            raise ArgumentError(
                "static_names: there are no static features that they could name; give static"
            )
        return series if static is None else series.with_static(static, static_names)

    @classmethod
    def concatenate(cls, parts: Sequence[Sequences]) -> Sequences:
        """Return the series of all parts, in their order, on a copy of the values that they use.

        Parts of one whole between each other, whose copy would be larger than the whole, go on sharing its values.

        Raises
        ------
        DataError
            For no parts, and parts with other channels, names, categories, types, or without what others have.

        Examples
        --------
        >>> part = Sequences.from_arrays([np.zeros((3, 2))], ids=["a"])
        >>> Sequences.concatenate([part, part]).lengths.tolist()
        [3, 3]
        """
        return concatenated(parts)

    @classmethod
    def from_padded(cls, array: Any, lengths: ArrayLike, **beside: Any) -> Sequences:
        """Take the first `lengths` steps of each row of a padded (N, T, F) array; `beside` as in :meth:`from_arrays`.

        Raises
        ------
        DataError
            As :meth:`from_arrays`, and for lengths that are not one for each row, from 1 to T.

        Examples
        --------
        >>> Sequences.from_padded(np.zeros((2, 4, 1)), [4, 2]).lengths.tolist()
        [4, 2]
        """
        return cls.from_arrays(unpadded(array, lengths), **beside)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, k: int) -> NDArray[np.floating]: ...
    @overload
    def __getitem__(self, k: slice | Sequence[int] | NDArray[Any]) -> Sequences: ...
    def __getitem__(self, k: Any) -> Any:
        """Return series `k` as a (T_k, F) view; of a slice, positions or a mask, those series."""
        if isinstance(k, (int, np.integer)):
            if not -len(self) <= k < len(self):
                raise IndexError(f"series {k} is out of range: there are {len(self)}")
            return self.values[self.starts[k] : self.stops[k]]
        return self.select(np.arange(len(self))[k] if isinstance(k, slice) else k)

    def __iter__(self) -> Iterator[NDArray[np.floating]]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"Sequences({len(self)} series, {self.steps} steps, {self.channels} channels, {self.values.dtype})"

    @property
    def channels(self) -> int:
        """F, the number of channels."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """T_i, the steps of each series, (N,)."""
        return self.stops - self.starts

    @property
    def overlap(self) -> bool:
        """Whether some series share steps, as windows do."""
        order = np.argsort(self.starts, kind="stable")
        return bool((self.stops[order][:-1] > self.starts[order][1:]).any())

    @property
    def steps(self) -> int:
        """The steps of all series together."""
        return int(self.lengths.sum())

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each series starts when they stand one below the other, and the end of the last, (N + 1,)."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where a value is missing: (sum of T_i, F), the series one below the other."""
        none = np.empty((0, self.channels), dtype=bool)
        return np.concatenate([none, *(np.isnan(values) for _, values in self.blocks())])

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> Sequences:
        """Return the series at `indices` (or where a mask is true), in that order, on the same values."""
        chosen = positions_in(indices, len(self))
        return replace(
            self,
            starts=self.starts[chosen],
            stops=self.stops[chosen],
            ids=self.ids[chosen],
            targets=None if self.targets is None else self.targets[chosen],
            static=None if self.static is None else self.static[chosen],
        )

    def rows(self, indices: Sequence[int] | NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """Return the rows of `values` that the series at `indices` have, one below the other; default: of all."""
        chosen = slice(None) if indices is None else positions_in(indices, len(self))
        starts = self.starts[chosen]
        lengths = self.stops[chosen] - starts
        return ranges(starts, lengths)

    def pad(
        self, indices: Sequence[int] | NDArray[np.integer]
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return the series at `indices` side by side, (T, B, F), zero past each length, and the lengths."""
        chosen = positions_in(indices, len(self))
        return self.pad_rows(self.values, chosen), self.stops[chosen] - self.starts[chosen]

    def pad_rows(self, rows: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[Any]:
        """Return what `rows`, (S, ...), have for the series at `indices`, side by side, (T, B, ...), zero past each."""
        starts = self.starts[indices]
        lengths = self.stops[indices] - starts
        step = np.arange(int(lengths.max(initial=0)))[:, None]
        padded: NDArray[Any] = rows[starts + np.minimum(step, lengths - 1)]
        padded[step >= lengths] = 0
        return padded

    def batches(self, size: int, steps: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of at most `size` series at a time, those of similar length together.

        Padded, a batch has at most `steps` steps in all (more only where it is one series), so that a long
        series among short ones costs no memory for them.
        """
        for name, value in (("size", size), ("steps", steps)):
            if value < 1:
                raise ArgumentError(f"{name}: expected 1 or more, got {value}")
        order = np.argsort(self.lengths, kind="stable")
        lengths = self.lengths[order]
        start = 0
        while start < len(order):
            widths = lengths[start : start + size] * np.arange(1, min(size, len(order) - start) + 1)
            count = max(1, int(np.searchsorted(widths, steps, side="right")))
            yield order[start : start + count]
            start += count

    def blocks(self, steps: int = _BLOCK) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        """Yield the positions of some series and their values one below the other, whole series each.

        At most `steps` rows at a time, more only where it is one series; a view where the series stand together.
        """
        ends = np.cumsum(self.lengths)
        first = 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + steps, side="right")))
            chosen = np.arange(first, last)
            together = (self.stops[first : last - 1] == self.starts[first + 1 : last]).all()
            rows = slice(self.starts[first], self.stops[last - 1]) if together else self.rows(chosen)
            yield chosen, self.values[rows]
            first = last

    def intervals(self) -> Intervals | None:
        """Return how far apart the steps are; ``None`` without time stamps or series of two steps."""
        if self.times is None:
            return None
        later = np.delete(self.rows(), self.offsets[:-1])
        return intervals_between(self.times[later - 1], self.times[later])

    def with_static(self, static: ArrayLike, names: Sequence[str] = ()) -> Sequences:
        """Return the same series with features that do not change within one, (N, G).

        Raises
        ------
        DataError
            For another number of rows, values that are missing or infinite, and names that do not fit.
        """
        features = static_in(static, len(self))
        found = names_in("static_names", names if len(names) else None, features.shape[1], "static feature")
        default = tuple(f"static_{k}" for k in range(features.shape[1]))
        return replace(self, static=features, static_names=found or default)

    def split(
        self,
        fraction: float,
        *,
        stratify: bool | ArrayLike = False,
        groups: ArrayLike | None = None,
        by_time: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> tuple[Sequences, Sequences]:
        """Split into the rest and a `fraction` of the series, whole series each.

        Parameters
        ----------
        fraction
            Share of the second part, above 0 and below 1.
        stratify
            Keep the shares of the classes: those in `targets`, or in an array, (N,).
        groups
            What series belong together, (N,), such as the patient: never on both sides.
        by_time
            The second part is what starts last; the first is what has ended by then, with the steps that its targets
            are from (`horizon`). Series that are under way at the cut are in neither, and a warning says how many.
        random_state
            As in scikit-learn.

        Raises
        ------
        ArgumentError, DataError
            For a share out of range, two ways at once, and what cannot be split in this way.

        Examples
        --------
        >>> series = Sequences.from_arrays(np.zeros((10, 2, 1)), targets=["a", "b"] * 5)
        >>> rest, part = series.split(0.2, stratify=True, random_state=0)
        >>> len(rest), sorted(part.targets.tolist())
        (8, ['a', 'b'])
        """
        from glasslstm.data.splits import split_rows  # noqa: PLC0415 - scikit-learn, an extra

        labels = self.targets if stratify is True else None if stratify is False else stratify
        if stratify is True and labels is None:
            raise ArgumentError("stratify: there are no targets to keep the shares of; give labels, (N,)")
        rest, part, dropped = split_rows(
            self, fraction, labels=labels, groups=groups, by_time=by_time, random_state=random_state
        )
        if dropped:
            warnings.warn(
                f"split by time: {dropped} of {len(self)} series are under way at the cut and are in neither part",
                stacklevel=2,
            )
        return self.select(rest), self.select(part)

    def windows(
        self, length: int, *, stride: int = 1, horizon: int = 0, target: str | int | None = None
    ) -> Sequences:
        """Return all windows of `length` steps that have `horizon` steps of their series after them.

        The values are not copied. A window has its series' id, targets and static features. Windows of one series may
        overlap: split the series first, or the windows ``by_time`` or with ``groups=windows.ids``.

        Parameters
        ----------
        length, stride
            Steps of a window, and from the start of one to the start of the next.
        horizon
            Steps after the window that must be there.
        target
            The channel whose values in those steps are the windows' targets, (N, horizon), or (N,) for a horizon of 1.

        Raises
        ------
        ArgumentError
            For a length or stride below 1, a horizon below 0, and a target without a horizon or that is no channel;
            for windows that have a horizon already.
        DataError
            For a series that is too short for one window, with its id.

        Examples
        --------
        >>> series = Sequences.from_arrays([np.arange(6.0)[:, None]])
        >>> windows = series.windows(3, horizon=1, target=0)
        >>> [w[:, 0].tolist() for w in windows], windows.targets.tolist()
        ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]], [3.0, 4.0, 5.0])
        """
        return windows_of(self, length, stride, horizon, target)

    def first_not_finite(self, *, nan: bool = True) -> tuple[int, int, int] | None:
        """Return series, step and channel of the first infinity (or NaN), each from 0; ``None`` without one."""
        for chosen, values in self.blocks():
            place = first_not_finite(values, nan=nan)
            if place is not None:
                row, channel = place
                ends = np.cumsum(self.lengths[chosen])
                k = int(np.searchsorted(ends, row, side="right"))
                return int(chosen[k]), row - int(ends[k] - self.lengths[chosen[k]]), channel
        return None

    def name_of(self, channel: int) -> str:
        """Return what a channel is called in a message: its position, and its name where it has one."""
        return str(channel) if self.channel_names is None else f"{channel} ({self.channel_names[channel]!r})"
