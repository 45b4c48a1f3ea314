"""What the diagnosis of one model of the zoo comes to: whether it is right, and what else it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeAlias

import glasslstm as gl

from .planted import Planted
from .training import Patient

__all__ = ["Kind", "Result", "examine", "look_for"]

Kind: TypeAlias = Literal["planted", "healthy", "blind", "fresh"]
"""A fault; a healthy model; the same diagnosed without its targets; a model before any training."""


@dataclass(frozen=True)
class Result:
    """One model of the zoo, diagnosed."""

    kind: Kind
    name: str
    right: bool
    """A planted fault was found at its place; another model has no error, and at most one warning."""
    about: str
    """What was to be found, or how well the model has learnt."""
    findings: tuple[gl.Finding, ...]
    """What should not be there; with a planted fault, what was found beside it."""
    seconds: float
    """Of the diagnosis."""

    def count(self, severity: str) -> int:
        """Return how many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        names = ("code", "severity", "evidence")
        findings = [
            {name: getattr(f, name) for name in names} | {"place": str(f.place)} for f in self.findings
        ]
        return vars(self) | {"findings": findings}

    def __str__(self) -> str:
        lines = [f"{'ok  ' if self.right else 'FAIL'} {self.kind}: {self.name} ({self.about})"]
        lines += [f"       {f.severity}: {f.code} in {f.place}: {f.evidence}" for f in self.findings]
        return "\n".join(lines)


def look_for(name: str, case: Planted) -> Result:
    """Diagnose a model with a planted fault."""
    diagnosis, seconds = _timed(case.build())
    found = case.found(diagnosis)
    about = f"{case.code} in {case.place}" + (f", found as {found.severity}" if found else "")
    beside = tuple(finding for finding in diagnosis if finding is not found)
    return Result("planted", name, found is not None, about, beside, seconds)


def examine(kind: Kind, name: str, build: Callable[[], Patient]) -> Result:
    """Diagnose a model that should have nothing."""
    patient = build()
    diagnosis, seconds = _timed(patient)
    errors, warnings = (len([f for f in diagnosis if f.severity == s]) for s in ("error", "warning"))
    about = "untrained" if patient.learnt is None else f"loss {patient.learnt:.3f} of guessing"
    return Result(kind, name, not errors and warnings <= 1, about, diagnosis.findings, seconds)


def _timed(patient: Patient) -> tuple[gl.Diagnosis, float]:
    start = perf_counter()
    return patient.diagnose(), perf_counter() - start
