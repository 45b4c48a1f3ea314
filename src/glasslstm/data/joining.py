"""Parts of a data set, such as a stream gives them, become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.arrays import joined
from glasslstm.errors import DataError

if TYPE_CHECKING:
    from glasslstm.data.sequences import Sequences

__all__ = ["concatenated"]

_SAME = ("channels", "channel_names", "static_names", "target_names", "categories", "horizon")
_OF_A_SERIES = ("ids", "targets", "static")
_OF_A_STEP = ("values", "times", "step_targets")


def concatenated(parts: Sequence[Sequences]) -> Sequences:
    """Return the series of all parts; see :meth:`Sequences.concatenate`."""
    if not parts:
        raise DataError("parts: expected at least one, got none")
    parts = _with_the_same_categories(parts)
    _check_same(parts)
    parts = [part for part in parts if len(part)] or parts[:1]
    spans = [_span(part) for part in parts]
    together = _share_their_rows(parts, spans)
    if together:
        spans = [slice(0, 0)] * len(parts)
    edges = np.cumsum([0, *(span.stop - span.start for span in spans)])
    shifts = [int(edge) - span.start for edge, span in zip(edges[:-1], spans, strict=True)]
    changes: dict[str, Any] = {
        name: _joined(name, [getattr(part, name) for part in parts]) for name in _OF_A_SERIES
    }
    for name in () if together else _OF_A_STEP:  # these stay as they are
        arrays = [getattr(part, name) for part in parts]
        cut = [None if rows is None else rows[span] for rows, span in zip(arrays, spans, strict=True)]
        changes[name] = _joined(name, cut)
    return replace(
        parts[0],
        starts=np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=True)]),
        stops=np.concatenate([part.stops + shift for part, shift in zip(parts, shifts, strict=True)]),
        **changes,
    )


def _with_the_same_categories(parts: Sequence[Sequences]) -> list[Sequences]:
    """Return the parts with codes that mean the same in all: the texts of the first, then what the others add."""
    first = parts[0].categories
    if any(part.categories.keys() != first.keys() for part in parts) or all(
        part.categories == first for part in parts
    ):
        return list(parts)
    texts = {
        name: tuple(dict.fromkeys(text for part in parts for text in part.categories[name])) for name in first
    }
    return [_recoded(part, texts) for part in parts]


def _recoded(part: Sequences, texts: dict[str, tuple[str, ...]]) -> Sequences:
    values, static = part.values.copy(), None if part.static is None else part.static.copy()
    for name, all_of_them in texts.items():
        codes = np.array([all_of_them.index(text) for text in part.categories[name]], np.float64)
        if name in part.static_names:
            assert static is not None
            column = static[:, part.static_names.index(name)]
        else:
            column = values[:, (part.channel_names or ()).index(name)]
        there = ~np.isnan(column)
        column[there] = codes[column[there].astype(np.int64)]
    return replace(part, values=values, static=static, categories=texts)


def _check_same(parts: Sequence[Sequences]) -> None:
    for k, part in enumerate(parts):
        for name in _SAME:
            first, here = getattr(parts[0], name), getattr(part, name)
            if here != first:
                raise DataError(
                    f"{name}: part {k} has {here} and part 0 has {first}; all parts need the same"
                )


def _span(part: Sequences) -> slice:
    """Return the rows from the first to the last that a part uses, so that what it left behind is not taken along."""
    if not len(part):
        return slice(0, 0)
    return slice(int(part.starts.min()), int(part.stops.max()) + part.horizon)


def _share_their_rows(parts: Sequence[Sequences], spans: list[slice]) -> bool:
    """Tell whether the parts are of one whole, and a copy of what they use would have more rows than it."""
    same = all(getattr(part, name) is getattr(parts[0], name) for part in parts for name in _OF_A_STEP)
    return same and sum(span.stop - span.start for span in spans) > len(parts[0].values)


def _joined(name: str, arrays: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    found = [one for one in arrays if one is not None]
    if not found:
        return None
    if len(found) < len(arrays):
        raise DataError(
            f"{name}: {len(found)} of {len(arrays)} parts have them; give them to all, or to none"
        )
    return joined(name, found)
