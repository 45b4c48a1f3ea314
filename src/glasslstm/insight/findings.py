"""Findings as data: what is wrong with an LSTM, where, by which figure, and what to change."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from keyword import iskeyword
from typing import Any, ClassVar, Literal, TypeAlias, get_args

__all__ = ["SEVERITIES", "Code", "Diagnosis", "Finding", "Measured", "Place", "Severity"]

Severity: TypeAlias = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the mildest to the worst: worth knowing; probably costs accuracy; the model does not do what is meant."""


@dataclass(frozen=True)
class Code:
    """What a rule can find; the name is stable, and its page is ``docs/findings/<name>.md``."""

    name: str
    severity: Severity
    title: str
    """What is wrong, in a few words."""
    threshold: float
    """The figure beyond which it is found."""
    meaning: str
    """What it means for the model, in one or two sentences."""
    change: str
    """The one change to try first, with its code at the end, in backticks; braces are filled in by what the rule passes
    on, ``{lstm}`` by the module as code."""

    @property
    def page(self) -> str:
        """The page about it in the documentation."""
        return f"docs/findings/{self.name}.md"


@dataclass(frozen=True)
class Place:
    """Where something was found."""

    module: str
    """The name in ``model.named_modules()``; ``""`` is the model itself."""
    layer: int | None = None
    direction: int | None = None
    units: tuple[int, ...] = ()
    """Of that layer and direction; empty where it is not about single units."""

    @property
    def expression(self) -> str:
        """The module as Python code, where the model is called ``model``."""
        if not self.module:
            return "model"
        plain = all(part.isidentifier() and not iskeyword(part) for part in self.module.split("."))
        return f"model.{self.module}" if plain else f"model.get_submodule({self.module!r})"

    def __str__(self) -> str:
        parts = [self.module or "the model"]
        if self.layer is not None:
            parts.append(f"layer {self.layer}")
        if self.direction is not None:
            parts.append(("forward", "reverse")[self.direction])
        if self.units:
            parts.append(f"units {_ranges(self.units)}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Measured:
    """The figures behind a finding, one for each unit, step, channel or the like: what its small figure shows.

    Attributes
    ----------
    quantity
        What the figures are, with their unit if they have one, such as ``"highest forget gate"``.
    values
        One for each.
    along
        What there is one for: ``"unit"``, ``"step"``, ``"channel"``, ... What begins with ``"step"`` or ``"lag"`` is an
        order in time, and drawn as a curve.
    at
        Where each stands: its name or number; those between are left out, because they are not finite or too many.
        Empty: 0, 1, 2, ...
    beyond
        The positions in `values` of those that are found; empty where the finding is about all of them.
    limit
        The figure to draw a line at; ``None`` where no single one parts good from bad.
    logarithmic
        Whether the figures are best drawn on a logarithmic axis.
    """

    CURVES: ClassVar[tuple[str, ...]] = ("step", "lag")

    quantity: str
    values: tuple[float, ...]
    along: str = "unit"
    at: tuple[float | str, ...] = ()
    beyond: tuple[int, ...] = ()
    limit: float | None = None
    logarithmic: bool = False

    @property
    def is_curve(self) -> bool:
        """Whether the values follow each other in time."""
        return self.along.startswith(self.CURVES)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    code
        Stable, such as ``"forget-gate-shut"``.
    severity
        ``"note"``, ``"warning"`` or ``"error"``.
    title
        What is wrong, in a few words.
    place
        Module, layer, direction and units.
    value, threshold
        The figure that was measured, and the one beyond which it is a finding.
    evidence
        What was measured, in words.
    meaning
        What it means for the model.
    change
        The one change to try first; what is code in it stands in backticks, see :attr:`snippet`.
    page
        The page about it in the documentation.
    measured
        The figures behind it, for a small figure; ``None`` where `value` says all.
    """

    code: str
    severity: Severity
    title: str
    place: Place
    value: float
    threshold: float
    evidence: str
    meaning: str
    change: str
    page: str
    measured: Measured | None = None

    @property
    def snippet(self) -> str:
        """The code of the change, a statement a line, to copy; empty where it is done by hand."""
        lines = self.change.split("`")[1::2]
        return "\n".join(["import glasslstm as gl"] * any(line.startswith("gl.") for line in lines) + lines)

    @property
    def advice(self) -> str:
        """The change without its code."""
        return "".join(self.change.split("`")[0::2]).strip()


@dataclass(frozen=True)
class Diagnosis(Sequence[Finding]):
    """What :func:`glasslstm.diagnose` found, the worst first; a sequence of :class:`Finding`.

    Attributes
    ----------
    findings
        All of them.
    looked_for
        The codes that were looked for.
    skipped
        The codes that could not be looked for, each with the reason.
    """

    findings: tuple[Finding, ...]
    looked_for: tuple[str, ...]
    skipped: dict[str, str]

    @property
    def worst(self) -> Severity | None:
        """The worst severity, ``None`` where nothing was found."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default=None)

    def of(self, code: str) -> tuple[Finding, ...]:
        """Return the findings with a code."""
        return tuple(finding for finding in self.findings if finding.code == code)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return {
            "worst": self.worst,
            "findings": [asdict(finding) for finding in self.findings],
            "looked_for": list(self.looked_for),
            "skipped": dict(self.skipped),
        }

    def __getitem__(self, index: Any) -> Any:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        lines = [_summary(self)]
        for finding in self.findings:
            lines.append(f"\n{finding.severity}: {finding.title} [{finding.code}] in {finding.place}")
            for label in ("evidence", "meaning", "change", "page"):
                text = f"{label:<10}{getattr(finding, label)}"
                lines += textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent=" " * 12)
        if self.skipped:
            lines.append("\nnot looked for:")
            lines += [f"  {code}: {reason}" for code, reason in self.skipped.items()]
        return "\n".join(lines)


def _summary(diagnosis: Diagnosis) -> str:
    counts = {
        severity: sum(finding.severity == severity for finding in diagnosis)
        for severity in reversed(SEVERITIES)
    }
    words = [f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n]
    line = f"{', '.join(words) or 'nothing found'}; {len(diagnosis.looked_for)} codes looked for"
    if diagnosis.skipped:
        line += f", {len(diagnosis.skipped)} could not be: {', '.join(diagnosis.skipped)}"
    return line


def _ranges(units: Sequence[int]) -> str:
    """0, 1, 2, 5 -> "0-2, 5"."""
    runs: list[list[int]] = []
    for unit in sorted(units):
        if runs and unit == runs[-1][-1] + 1:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    rest = len(shown) - 8
    more = f" and {rest} more range{'s' if rest > 1 else ''}" if rest > 0 else ""
    return ", ".join(shown[:8]) + more
