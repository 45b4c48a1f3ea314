"""The traces that a watcher keeps: the last calls of each module, and no more bytes than it may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from glasslstm.insight.loops import Loop
from glasslstm.nn.trace import Trace

__all__ = ["Kept", "Records"]

Kept: TypeAlias = Trace | Loop


class Records:
    """What was seen of the calls of some modules, the oldest first.

    It stands apart from the watcher, so that nobody who adds to it holds the watcher: without a cycle the traces go
    when the watcher goes, and their memory serves the next call.

    Parameters
    ----------
    names
        The modules.
    calls
        How many calls of each to keep.
    limit
        How many bytes all may take together; the last record is kept in any case.

    Attributes
    ----------
    dropped
        For each name, how many calls were let go.
    """

    def __init__(self, names: Iterable[str], calls: int, limit: int) -> None:
        self.dropped = dict.fromkeys(names, 0)
        self._calls, self._limit = calls, limit
        self._kept: dict[int, tuple[str, Kept, int]] = {}  # by identity

    def keep(self, name: str, record: Kept, nbytes: int) -> None:
        """Add a record that takes so many bytes, or one that has grown, and let go of the oldest beyond the bounds."""
        if isinstance(record, Loop) and record.closed:
            return
        self._kept[id(record)] = name, record, nbytes
        own = [key for key, (other, _, _) in self._kept.items() if other == name]
        if len(own) > self._calls:
            self._drop(own[0])
        while len(self._kept) > 1 and sum(size for _, _, size in self._kept.values()) > self._limit:
            self._drop(next(iter(self._kept)))

    def of(self, name: str) -> tuple[Trace, ...]:
        """Return the traces of a module's calls."""
        own = (record for other, record, _ in self._kept.values() if other == name)
        return tuple(record.trace() if isinstance(record, Loop) else record for record in own)

    def count(self, name: str) -> int:
        """Return of how many calls of a module there is a trace."""
        return sum(other == name for other, _, _ in self._kept.values())

    def _drop(self, key: int) -> None:
        name, record, _ = self._kept.pop(key)
        self.dropped[name] += 1
        if isinstance(record, Loop):
            record.close()
