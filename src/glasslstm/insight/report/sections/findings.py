"""The first question: is anything wrong, and what should I change."""

from __future__ import annotations

from glasslstm.insight import figures
from glasslstm.insight.findings import SEVERITIES, Diagnosis, Finding
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, code, figure, paragraph, text

__all__ = ["findings", "verdict"]

_SINCE = {
    "error": "the model does not do what is meant",
    "warning": "it probably costs accuracy",
    "note": "worth knowing; it may do no harm",
}


_ORDER = (
    "The worst comes first. Change one thing, train, and look again: what follows may have been its effect."
)


def findings(look: Look) -> str:
    """Return the findings of one model, the worst first."""
    found = look.diagnosis
    return (
        paragraph(_ORDER if found else verdict(found), "lead")
        + "".join(map(_finding, found))
        + _looked_for(found, len(look.looked_at))
    )


def verdict(found: Diagnosis) -> str:
    """Say in a sentence how bad it is, and what to begin with."""
    if not found:
        return "Nothing wrong was found in the LSTM."
    counts = {severity: sum(one.severity == severity for one in found) for severity in reversed(SEVERITIES)}
    words = [f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n]
    first = found[0]
    begin = "It is" if len(found) == 1 else "The first to look at"
    return f"{_joined(words)}. {begin}: {first.title} ({first.place})."


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _finding(found: Finding) -> str:
    evidence = block(lambda: figure(figures.finding(found)))
    change = f"<dd>{text(found.advice)}{code(found.snippet)}</dd>"
    return (
        f'<article class="finding {found.severity}">'
        f'<h3><span class="badge">{found.severity}</span>{text(_capital(found.title))}</h3>'
        f'<p class="quiet">{text(found.place)} · <code>{text(found.code)}</code> · {_SINCE[found.severity]}</p>'
        f'<div class="sides"><div><dl><dt>What to change</dt>{change}'
        f"<dt>What was measured</dt><dd>{text(found.evidence)}.</dd>"
        f"<dt>What it means</dt><dd>{text(found.meaning)}</dd></dl></div><div>{evidence}</div></div></article>"
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _looked_for(found: Diagnosis, count: int) -> str:
    skipped = "".join(
        f"<li><code>{text(name)}</code>: {text(why)}</li>" for name, why in found.skipped.items()
    )
    names = ", ".join(f"<code>{text(name)}</code>" for name in found.looked_for)
    return (
        f'<details class="looked"><summary>What was looked for, on {count} sequences</summary>'
        f"<p>{names or 'Nothing'}.</p>"
        + (f"<p>Not looked for:</p><ul>{skipped}</ul>" if skipped else "")
        + "</details>"
    )
