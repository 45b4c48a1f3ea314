"""Look for what is wrong with the LSTMs inside a model, and say what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from glasslstm.errors import ArgumentError
from glasslstm.insight.case import Case, Loss, check_loss
from glasslstm.insight.findings import SEVERITIES, Diagnosis, Finding
from glasslstm.insight.rules import RULES, Skip
from glasslstm.insight.running import undisturbed
from glasslstm.insight.watch import lstms

__all__ = ["diagnose", "examine"]


def diagnose(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    codes: Sequence[str] | None = None,
) -> Diagnosis:
    """Look for what is wrong with every LSTM inside a model.

    The model runs on `inputs` in ``eval()``, a few times over, and is left as it was: weights, gradients, buffers,
    mode and random numbers.

    Parameters
    ----------
    model
        Any module with an LSTM of glasslstm's or torch's in it.
    inputs
        A batch as the model takes it: its one argument, a tuple of arguments, or a mapping of keyword arguments.
        Some tens of typical sequences tell most.
    targets, loss
        ``loss(model(inputs), targets)`` -> a tensor with one number. Without them the sum of the output's squares
        stands for the loss, and what needs to know whether the model is any good is not looked for.
    codes
        What to look for. Default: everything in ``docs/findings/``.

    Returns
    -------
    Diagnosis
        The findings, the worst first; ``print`` shows them as text.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For a model without an LSTM or a compiled one, inputs that the model refuses, targets without a loss or the
        reverse, a code that there is not.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(3, 4)
    >>> with torch.no_grad():
    ...     _ = lstm.bias_ih_l0[4:8].fill_(-20)  # the forget gate's rows
    >>> found = gl.diagnose(lstm, torch.randn(20, 8, 3), codes=["forget-gate-shut"])
    >>> found[0].code, found[0].severity, found[0].place.units
    ('forget-gate-shut', 'error', (0, 1, 2, 3))
    """
    lstms(model)
    check_loss(targets, loss)
    wanted = _known(codes)
    training = {module: module.training for module in model.modules()}
    with undisturbed(model):
        return examine(Case(model, inputs, targets, loss, training), wanted)


def examine(case: Case, codes: Sequence[str] | None = None) -> Diagnosis:
    """Look for what is wrong in a case, inside the :func:`~glasslstm.insight.running.undisturbed` that it was made in.

    Parameters
    ----------
    case
        A run of the model.
    codes
        As for :func:`diagnose`.
    """
    wanted = _known(codes)
    found: list[Finding] = []
    skipped: dict[str, str] = {}
    for name in wanted:
        if name in _OF_TIME and case.steps == 1:
            skipped[name] = "the LSTMs are called one step at a time; an LSTMCell's steps would be joined"
            continue
        try:
            found += RULES[name].findings(case)
        except Skip as reason:
            skipped[name] = str(reason)
    found = [finding for finding in found if not _follows(finding, found)]
    found.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return Diagnosis(tuple(found), tuple(name for name in wanted if name not in skipped), skipped)


def _follows(finding: Finding, found: list[Finding]) -> bool:
    """Tell whether a finding is but the effect of another one: an LSTM that reads the wrong axis remembers nothing."""
    return finding.code in _EFFECTS and any(
        other.code in _CAUSES and other.place.module == finding.place.module for other in found
    )


_CAUSES = ("axes-mixed", "one-end-only")
_EFFECTS = ("memory-too-short", "gradient-vanishes")


_OF_TIME = ("memory-too-short", "gradient-vanishes", "gradient-explodes", "cell-grows")


def _known(codes: Sequence[str] | None) -> list[str]:
    if codes is None:
        return list(RULES)
    unknown = [code for code in codes if code not in RULES]
    if unknown or isinstance(codes, str):
        raise ArgumentError(f"codes: expected a list of some of {', '.join(RULES)}; got {codes!r}")
    return list(codes)
