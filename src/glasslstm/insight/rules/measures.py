"""What several rules need: how bad a share of the units is, and what a gate lets through over a whole sequence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Severity
from glasslstm.insight.rules.inputs import out_of_scale
from glasslstm.insight.rules.registry import Skip

__all__ = ["kept_of_all", "milder", "most_held", "readable", "severity_of", "share_of", "untrained"]


def readable(case: Case) -> list[Entry]:
    """Return the entries whose gates say something of their own.

    Left out are those with numbers that are not finite, and those whose gates an input out of scale drives to their
    ends: each of these has one cause, with a code of its own, and would else come up under many.

    Raises
    ------
    Skip
        Where none is left.
    """
    found = [entry for entry in case.sound if not out_of_scale(entry)]
    if case.entries and not found:
        raise Skip("the gates tell nothing: there is no step, or see not-finite and inputs-not-scaled")
    return found


def severity_of(hit: Tensor) -> Severity:
    """Return how bad it is that these units, (H,), are hit: more than half of them, more than a fifth, or fewer."""
    share = float(hit.float().mean())
    return "error" if share > 1 / 2 else "warning" if share > 1 / 5 else "note"


def milder(case: Case, severity: Severity) -> Severity:
    """Return a severity in the light of the loss: no error unless the model only guesses, a note where it has learnt.

    For what is bad luck in a model that fails, and does no harm in one that has half the loss of a guess.
    """
    if case.value is not None and case.guess is not None and case.value <= case.guess / 2:
        return "note"
    return "warning" if severity == "error" and not case.guessing else severity


def share_of(hit: Tensor) -> str:
    """Return "3 of 16 units"."""
    return f"{int(hit.sum())} of {len(hit)} units"


def most_held(entry: Entry) -> Tensor:
    """Return the most that each cell could hold if every candidate were 1, (H,).

    The largest u_t of ``u_t = f_t u_{t-1} + i_t``: a gate that is hardly open all the time lets in much, if what came
    in is kept.
    """
    i, f = (getattr(entry.gates, name).float() for name in ("input_gate", "forget_gate"))
    held = most = torch.zeros_like(i[0])
    for t in reversed(range(len(i))) if entry.gates.reverse else range(len(i)):
        held = f[t] * held + i[t]
        most = torch.maximum(most, held)
    return most.amax(0)


def kept_of_all(entry: Entry) -> Tensor:
    """Return the least share of the memory that any sequence keeps over all of its steps, (H,): the product of f."""
    f = torch.where(entry.gates.valid.unsqueeze(-1), entry.gates.forget_gate.float(), 1.0)
    return f.prod(0).amin(0)


def untrained(entry: Entry) -> bool:
    """Tell whether the weights are as torch draws them, from U(-1/sqrt(H), 1/sqrt(H)): training leaves these bounds."""
    bound = 1 / math.sqrt(entry.gates.cell.size(-1))
    largest = max(float(weight.abs().max()) for weight in entry.weights.present())
    return 0.98 * bound < largest < 1.005 * bound
