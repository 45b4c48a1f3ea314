"""The first question: is anything wrong, and what should I change."""

from __future__ import annotations

from glasslstm.insight import figures
from glasslstm.insight.findings import SEVERITIES, Diagnosis, Finding
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, code, figure, notice, paragraph, table, text
from glasslstm.insight.rules import RULES

__all__ = ["findings", "verdict"]

_SINCE = {
    "error": "the model does not do what is meant",
    "warning": "it probably costs accuracy",
    "note": "worth knowing; it may do no harm",
}


_NO_LOSS = (
    "The loss cannot be computed on a part of the sequences, so what needs it was not looked for: give a loss that "
    "takes any number of them"
)
_ORDER = "The worst comes first; change one thing, train, and look again, for what follows may have been its effect."


def findings(look: Look) -> str:
    """Return the findings of one model, the worst first."""
    found = look.diagnosis
    return (
        paragraph(_lead(found), "lead")
        + (notice(_NO_LOSS) if look.loss_fails else "")
        + "".join(map(_finding, found))
        + _looked_for(found, len(look.looked_at))
    )


def _lead(found: Diagnosis) -> str:
    if found.worst is None:
        return f"{len(found.looked_for)} things were looked for, and none was found."
    if found.worst == "note":
        return "Hardly: these are worth knowing, and may do no harm."
    return f"Yes: {_counted(found)}. {_ORDER}"


def verdict(found: Diagnosis) -> str:
    """Say in a sentence how bad it is, and what to begin with."""
    if not found:
        return "Nothing wrong was found in the LSTM."
    first = f"{found[0].title} ({found[0].place})"
    if found.worst == "note":
        return f"Nothing needs doing: {_counted(found)}, the first that {first}."
    return f"{_counted(found)}: {first}." if len(found) == 1 else f"{_counted(found)}. First: {first}."


def _counted(found: Diagnosis) -> str:
    counts = {severity: sum(one.severity == severity for one in found) for severity in reversed(SEVERITIES)}
    return _joined([f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n])


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
    """Return what was looked for, with what came out."""
    here = {one.code for one in found}
    rows = [
        [name, RULES[name].code.title, "found" if name in here else "not found"] for name in found.looked_for
    ]
    rows += [[name, RULES[name].code.title, f"not looked for: {why}"] for name, why in found.skipped.items()]
    listed = table(f"On {count} sequences", ["code", "what is looked for", "result"], rows)
    return f"<details><summary>All that was looked for</summary>{listed}</details>"
