"""Names that stand for one thing each."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["told_apart"]


def told_apart(names: Iterable[str]) -> list[str]:
    """Return names with a number behind each that was there before.

    Examples
    --------
    >>> told_apart(["a", "b", "a", "a (2)"])
    ['a', 'b', 'a (2)', 'a (2) (2)']
    """
    found: dict[str, None] = {}
    for name in names:
        own, count = name, 1
        while own in found:
            count += 1
            own = f"{name} ({count})"
        found[own] = None
    return list(found)
