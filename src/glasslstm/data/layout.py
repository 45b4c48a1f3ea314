"""Which column of a long table has which job, and whether what it holds fits."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from glasslstm.data import columns as col
from glasslstm.data.frames import Piece, Source
from glasslstm.data.sequences import Missing
from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError

__all__ = ["Layout", "choose_columns", "list_of"]


@dataclass(frozen=True)
class Layout:
    """The columns in use."""

    id: str
    time: str
    targets: tuple[str, ...]
    channels: tuple[str, ...]
    static: tuple[str, ...]
    chosen: bool
    """Whether the channels were asked for by name."""
    several: bool
    """Whether the targets came as a list: numbers, (N, M)."""
    per_step: bool | None
    missing: Missing
    sort: bool
    named: tuple[str, ...] = ()
    """The categories that were asked for by name."""
    categories: dict[str, pa.Array] = field(default_factory=dict)
    """Of each column with categories those that there are, sorted."""

    @property
    def columns(self) -> list[str]:
        """All of them."""
        return [self.id, self.time, *self.targets, *self.channels, *self.static]

    def check_types(self, head: Piece) -> None:
        """Raise ``DataError`` for a column of a type that does not fit; `head` has some of its rows."""
        jobs: list[tuple[str, str, Callable[[Any], bool], str]] = [
            ("id", self.id, col.is_id, "text, numbers, dates or times"),
            ("time", self.time, col.is_time, _A_TIME),
            *(
                ("target", name, col.is_real, "numbers, because there are several targets")
                if self.several
                else ("target", name, col.is_label, "text, numbers, or true and false")
                for name in self.targets
            ),
            *(
                ("category", name, col.is_category, "text, whole numbers, or true and false")
                for name in self.categories
            ),
        ]
        for role, name, fits, expected in jobs:
            kind = head.table.schema.field(name).type
            if not fits(kind) and not (role == "category" and pa.types.is_null(kind)):
                raise DataError(
                    f"{head.where}: the {role} column {name!r} holds {col.describe(kind)}; expected {expected}"
                )
        self._check_numbers(head)

    def _check_numbers(self, head: Piece) -> None:
        numbers = [name for name in (*self.channels, *self.static) if name not in self.categories]
        wrong = [name for name in numbers if not col.is_number(head.table.schema.field(name).type)]
        if not wrong:
            return
        column = head.table[wrong[0]].combine_chunks()
        job = "channel" if wrong[0] in self.channels else "static feature"
        text = col.odd_text(column)
        raise DataError(
            f"{head.where}: column {wrong[0]!r} holds {col.describe(column.type)}"
            f"{'' if text is None else f' such as {text!r}'}, and a {job} must hold numbers; "
            f"{self._remedy(wrong, numbers, column.type)}"
        )

    def _remedy(self, wrong: list[str], numbers: list[str], kind: pa.DataType) -> str:
        right = [name for name in numbers if name not in wrong and name in self.channels][:3]
        if self.chosen or not right or wrong[0] in self.static:
            remedy = "turn it into numbers, or leave it out"
        else:
            remedy = f"name the channels: channels={right} (--channels {','.join(right)})"
        if col.is_text(kind):
            remedy += f"; if it holds categories, say so: categories={wrong[:1]} (--categories {wrong[0]})"
        return remedy


def choose_columns(
    source: Source,
    *,
    id: str,
    time: str,
    target: str | Sequence[str] | None,
    channels: Sequence[str] | None,
    categories: Sequence[str],
    static: Sequence[str],
    per_step: bool | None,
    missing: Missing,
    sort: bool,
) -> Layout:
    """Return which column has which job, each one job at most; without `channels`, those without a job are channels.

    What is named in `categories` and has no other job is a channel too.
    """
    for name, names in (("channels", channels), ("categories", categories), ("static", static)):
        if isinstance(names, str):
            raise ArgumentTypeError(f"{name}: expected a list of column names; got the text {names!r}")
    if missing not in ("error", "mask"):
        raise ArgumentError(f"missing: expected 'error' or 'mask', got {missing!r}")
    several = target is not None and not isinstance(target, str)
    if several and per_step:
        raise ArgumentError("target: expected one column, because each step has one target; got several")
    targets = () if target is None else (target,) if isinstance(target, str) else tuple(target)
    taken = {id, time, *targets, *static}
    wanted = source.names if channels is None else [*channels, *(n for n in categories if n not in channels)]
    found = Layout(
        id=id,
        time=time,
        targets=targets,
        channels=tuple(name for name in wanted if name not in taken or name in (channels or ())),
        static=tuple(static),
        chosen=channels is not None,
        several=several,
        per_step=False if several or not targets else per_step,
        missing=missing,
        sort=sort,
        named=tuple(categories),
    )
    _check_jobs(found, source)
    return found


_A_TIME = "numbers, dates or times (in a CSV file as 2024-12-31 or 2024-12-31 23:59:59, in one time zone)"


def _check_jobs(layout: Layout, source: Source) -> None:
    where, existing = source.where, source.names
    groups = {"target": layout.targets, "channel": layout.channels, "static": layout.static}
    jobs = [("id", layout.id), ("time", layout.time)]
    jobs += [(role, name) for role, names in groups.items() for name in names]
    for role, name in [*jobs, *(("category", name) for name in layout.named)]:
        if name not in existing:
            raise DataError(f"{where}: there is no column {name!r} ({role}). {_suggestion(name, existing)}")
    twice = [name for name, count in Counter(name for _, name in jobs).items() if count > 1]
    if twice:
        both = " and ".join(role for role, name in jobs if name == twice[0])
        raise DataError(f"{where}: column {twice[0]!r} is used twice, for {both}; each column has one use")
    odd = [name for name in layout.named if name not in layout.channels + layout.static]
    if odd:
        role = next(role for role, name in jobs if name == odd[0])
        raise DataError(
            f"{where}: column {odd[0]!r} is the {role}; only a channel or static feature has categories"
        )
    if not layout.channels:
        raise DataError(
            f"{where}: there is no channel; expected at least one column beside {list_of(existing)}"
        )


def _suggestion(name: str, existing: list[str]) -> str:
    folded = {column.lower(): column for column in reversed(existing)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.65)
    meant = f"Did you mean {folded[close[0]]!r}? " if close else ""
    return f"{meant}The columns are {list_of(existing)}"


def list_of(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more
