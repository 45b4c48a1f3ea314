"""What is left, on its way back through the steps, of the gradient that trains the memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Code, Measured, Severity
from glasslstm.insight.rules.evidence import aligned, measured
from glasslstm.insight.rules.gates import cut_off
from glasslstm.insight.rules.measures import milder, readable, untrained
from glasslstm.insight.rules.registry import Hit, Skip, rule

VANISHES = Code(
    name="gradient-vanishes",
    severity="warning",
    title="the gradient vanishes before it reaches the early steps",
    threshold=1e-4,
    meaning="The first half of the sequence gets almost no gradient: what matters there is hardly learnt.",
    change="Let the memory last as long as the sequences, and train again: "
    "`gl.init.chrono_({lstm}, max_steps={steps})`",
)

EXPLODES = Code(
    name="gradient-explodes",
    severity="warning",
    title="the gradient explodes on its way back",
    threshold=1e3,
    meaning="The early steps outweigh all others in the gradient, and one step of training may undo what was learnt.",
    change="Clip the gradient before each step of the optimiser: "
    "`torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)`",
)

_SHORTEST = 8
_NOISE = 1e-10  # of the largest gradient: below it there may be little more than rounding


@rule(VANISHES)
def gradient_vanishes(case: Case) -> Iterator[Hit]:
    """Find modules with a layer whose first half of the steps gets practically no gradient."""
    worst: dict[str, tuple[float, Entry]] = {}
    for entry in _with_gradient(case):
        share = None if cut_off(entry) else _early_share(entry)
        if share is not None and share < worst.get(entry.module, (VANISHES.threshold, entry))[0]:
            worst[entry.module] = share, entry
    for share, entry in worst.values():
        steps = int(entry.lengths.max())
        evidence = (
            f"dL/dc_t and dL/dh_t are below {VANISHES.threshold:g} of their largest more than {_reach(entry):.0f} "
            f"steps before the last, of {steps}; the first half of the steps gets {share:.1g} of it"
        )
        severity = milder(case, "warning" if untrained(entry) else "error")
        yield Hit(entry.place(), share, evidence, severity, {"steps": steps}, _left_by_lag(entry))


@rule(EXPLODES)
def gradient_explodes(case: Case) -> Iterator[Hit]:
    """Find layers in which the gradient grows as it is handed from step to step."""
    for entry in _with_gradient(case):
        growth, steps = _growth(entry)
        if growth > EXPLODES.threshold:
            evidence = f"the gradient grows {growth:.2g}-fold on its way back through {steps} steps"
            if overflows(entry):
                evidence += ", and beyond the largest number of its type"
            severity: Severity | None = "error" if overflows(entry) else None
            yield Hit(entry.place(), growth, evidence, severity, measured=_norm_by_step(entry))


def _with_gradient(case: Case) -> list[Entry]:
    if all(entry.gates.cell_grad is None for entry in case.entries):
        raise Skip("no gradient reaches any LSTM")
    return [entry for entry in readable(case) if entry.gates.cell_grad is not None]


def overflows(entry: Entry) -> bool:
    """Tell whether the gradient gets as large as its type can hold, and then infinite or NaN, on its way back."""
    sizes = torch.cat([gradient.abs().flatten() for gradient in _gradients(entry)])
    finite = sizes.isfinite()
    near = torch.finfo(entry.gates.cell.dtype).max ** 0.8
    return bool((~finite).any()) and bool((sizes[finite] > near).any())


def _gradients(entry: Entry) -> tuple[Tensor, Tensor]:
    """Return dL/dc_t and dL/dh_t, (T, B, H) and (T, B, P), zero in the padding."""
    dc, dh = entry.gates.cell_grad, entry.gates.hidden_grad
    assert dc is not None
    assert dh is not None
    valid = entry.gates.valid.unsqueeze(-1)
    return torch.where(valid, dc.double(), 0.0), torch.where(valid, dh.double(), 0.0)


def _norms(*parts: Tensor) -> Tensor:
    """Return the norm at each step of each sequence, (T, B), of what stands there in all the parts; 0 for no number."""
    squares = [part.nan_to_num(0, 0, 0).square().sum(-1) for part in parts]
    return torch.stack(squares).sum(0).sqrt()


def _early_share(entry: Entry) -> float | None:
    """Return the largest gradient in the first half of the steps as they are read, as a share of the largest of all.

    The median over the sequences of 8 steps or more that get any; ``None`` where there is none, or no finite one.
    """
    if not all(bool(gradient.isfinite().all()) for gradient in _gradients(entry)):
        return None
    norms = _norms(*_gradients(entry))
    early = torch.where(entry.order < entry.lengths / 2, norms, 0.0).amax(0)
    peak = norms.amax(0)
    counted = (entry.lengths >= _SHORTEST) & (peak > 0)
    return float((early / peak)[counted].median()) if counted.any() else None


def _reach(entry: Entry) -> float:
    """Return how many steps before the last one read the gradient is still above the threshold; the median."""
    norms = _norms(*_gradients(entry))
    reached = norms > VANISHES.threshold * norms.amax(0)
    first = torch.where(reached, entry.order, len(norms)).amin(0)
    counted = (entry.lengths >= _SHORTEST) & (norms.amax(0) > 0)
    return float((entry.lengths - 1 - first)[counted].median())


def _left_by_lag(entry: Entry) -> Measured | None:
    """Return the norm of the gradient, as a share of the largest, by lag from the last step; the median."""
    norms = _norms(*_gradients(entry))
    peak = norms.amax(0)
    counted = entry.gates.valid & (entry.lengths >= _SHORTEST) & (peak > 0)
    by_lag = aligned(norms / peak, entry.lengths - 1 - entry.order, counted).nanmedian(1).values
    return measured(
        "share of gradient left",
        by_lag,
        along="lag (steps before the last)",
        limit=VANISHES.threshold,
        logarithmic=True,
    )


def _norm_by_step(entry: Entry) -> Measured | None:
    norms = torch.cat(_gradients(entry), dim=-1).square().sum((1, 2)).sqrt()
    return measured("norm of the gradient", norms, along="step", logarithmic=True)


def _growth(entry: Entry) -> tuple[float, int]:
    """Return by how much the gradient grows over the stretch where it grows most, and the steps of that stretch.

    Each step is handed a gradient of c and h, and hands one on to the step before. Only what is handed on counts:
    what the loss adds at a step itself is no growth.
    """
    whole, handed_on = (_norms(*parts).square() for parts in (_gradients(entry), _handed_on(entry)))
    # No more than the step before was measured to get: where the model has changed the state, nothing passes.
    received = entry.before(whole.unsqueeze(-1), torch.zeros_like(whole[0]).unsqueeze(-1)).squeeze(-1)
    handed_on = torch.minimum(handed_on, received)
    later = entry.order > 0  # the first step hands on to none
    order = slice(None) if entry.gates.reverse else torch.arange(len(whole) - 1, -1, -1)
    before, after = ((squares * later).sum(1)[order] for squares in (whole, handed_on))
    counted = (before > _NOISE**2 * whole.sum(1).max()) & (after > 0)
    gains = torch.where(counted, (after / before).sqrt(), 1.0).log()
    total = torch.cat([gains.new_zeros(1), gains.cumsum(0)])
    least, where = total.cummin(0)
    end = int((total - least).argmax())
    return float((total - least)[end].exp()), end - int(where[end])


def _handed_on(entry: Entry) -> tuple[Tensor, Tensor]:
    """Return the gradient of the c and h before each step that goes by this step: (T, B, H) and (T, B, P)."""
    dc, dh = _gradients(entry)
    gates, weights = entry.gates, entry.weights.map(Tensor.double)
    names = ("input_gate", "forget_gate", "candidate", "output_gate")
    i, f, g, o = (getattr(gates, name).double() for name in names)
    c_before = entry.before(gates.cell, gates.initial_cell).double()
    o_before = entry.before(o, torch.zeros_like(o[0]))
    if weights.weight_hr is not None:
        dh = dh @ weights.weight_hr
    changes = (
        dc * g * i * (1 - i),
        dc * c_before * f * (1 - f),
        dc * i * (1 - g.square()),
        dh * gates.cell.double().tanh() * o * (1 - o),
    )
    to_h = torch.cat(changes, dim=-1) @ weights.weight_hh
    by_h = to_h if weights.weight_hr is None else to_h @ weights.weight_hr
    return dc * f + by_h * o_before * (1 - c_before.tanh().square()), to_h
