"""How a rule is written, and where all of them are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Finding, Measured, Place, Severity

__all__ = ["RULES", "Hit", "Rule", "Skip", "rule"]


@dataclass(frozen=True)
class Hit:
    """What a rule found."""

    place: Place
    value: float
    """The figure to compare with the threshold."""
    evidence: str
    """What was measured, in one sentence, with the figure."""
    severity: Severity | None = None
    """Where it differs from the code's."""
    words: dict[str, Any] = field(default_factory=dict)
    """What fills the braces of the code's change, beside `lstm`, which is the expression of the place."""
    measured: Measured | None = None
    """The figures behind it, for a small figure."""


class Skip(Exception):  # noqa: N818 - not an error
    """Raised by a rule that cannot look for what it looks for, with the reason: no targets, one step alone."""


Look: TypeAlias = Callable[[Case], Iterable[Hit]]


class Rule(NamedTuple):
    """A code, and the function that looks for it."""

    code: Code
    look: Look

    def findings(self, case: Case) -> Iterator[Finding]:
        """Yield what is found in a case."""
        for hit in self.look(case):
            yield Finding(
                code=self.code.name,
                severity=hit.severity or self.code.severity,
                title=self.code.title,
                place=hit.place,
                value=hit.value,
                threshold=self.code.threshold,
                evidence=hit.evidence,
                meaning=self.code.meaning,
                change=self.code.change.format(lstm=hit.place.expression, **hit.words),
                page=self.code.page,
                measured=hit.measured,
            )


RULES: dict[str, Rule] = {}
"""Every rule, by the name of its code."""


def rule(code: Code) -> Callable[[Look], Look]:
    """Register a function as the rule that finds `code`."""

    def register(look: Look) -> Look:
        RULES[code.name] = Rule(code, look)
        return look

    return register
