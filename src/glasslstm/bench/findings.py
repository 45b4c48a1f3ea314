"""What a measurement gives: a finding, or the refusal to measure what is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Finding", "Kind", "Refusal", "Unit", "compared", "reached"]

Kind: TypeAlias = Literal["speed-up", "share", "cost"]
"""How two sides are compared: speed-up and share are against / subject, cost is subject / against."""

Unit: TypeAlias = Literal["s per run", "s per step", "s per step and sequence", "s per flop", "bytes"]


@dataclass(frozen=True)
class Finding:
    """How one side, the subject, fares against another."""

    subject: str
    against: str
    kind: Kind
    unit: Unit
    """Of the two values."""
    subject_value: float
    against_value: float
    value: float
    """The comparison, of the medians."""
    low: float | None = None
    """First quartile of the comparison between neighbouring runs; ``None`` where there is one run."""
    high: float | None = None
    """Third quartile."""
    runs: int = 1
    """Of each side."""
    goal: float | None = None
    """The least value to reach, or for a cost the largest; ``None`` where none is set."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, and whether the goal is reached."""
        return asdict(self) | {"reached": reached(self.kind, self.value, self.goal)}


@dataclass(frozen=True)
class Refusal:
    """A side whose numbers are wrong, and how; its time would mean nothing."""

    side: str
    reason: str


def compared(kind: Kind, subject: float, against: float) -> float:
    """Compare two times or sizes.

    Examples
    --------
    >>> compared("speed-up", 2.0, 3.0), compared("cost", 3.0, 2.0)
    (1.5, 1.5)
    """
    return subject / against if kind == "cost" else against / subject


def reached(kind: Kind, value: float, goal: float | None) -> bool | None:
    """Tell whether a goal is reached; ``None`` where none is set."""
    if goal is None:
        return None
    return value <= goal if kind == "cost" else value >= goal
