"""What the first layer reads: channels so large that they alone decide where the gates stand."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Code, Severity
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.registry import Hit, rule

UNSCALED = Code(
    name="inputs-not-scaled",
    severity="error",
    title="the inputs are not scaled",
    threshold=0.2,
    meaning="The input drives the gates to their ends, whatever the hidden state says: they hardly depend on the past, "
    "and pass no gradient.",
    change="Standardise the input before the model, with the figures of the training data: "
    "`mean, std = torch.tensor({means}), torch.tensor({stds})` "
    "`x[..., {channels}] = (x[..., {channels}] - mean) / std`",
)

_FLAT = 6.0  # beyond it the logistic function has a slope below 0.0025
_LARGE = 10.0  # a channel's root mean square, where 1 is standard
_SHOWN = 6


@rule(UNSCALED)
def inputs_not_scaled(case: Case) -> Iterator[Hit]:
    """Find first layers in which the input alone saturates the gates."""
    for entry in case.sound:
        if not out_of_scale(entry):
            continue
        share, x = _saturated(entry), _steps(entry)
        large = _size(x) > _LARGE
        channels = large.nonzero().flatten()
        std, mean = torch.std_mean(x[:, channels], dim=0, correction=0)
        evidence = (
            f"W_ih x + b_ih, beyond {_FLAT:g} and three times W_hh h, saturates {share:.0%} of the gates' values by "
            "itself; " + _described(channels, mean, std)
        )
        severity: Severity = "error" if share > 1 / 2 else "warning"
        std = torch.where(std > 0, std, 1.0)
        words = {"channels": channels.tolist(), "means": _figures(mean), "stds": _figures(std)}
        sizes = measured(
            "root mean square", _size(x), along="channel", beyond=large, limit=_LARGE, logarithmic=True
        )
        yield Hit(entry.place(), share, evidence, severity, words, sizes)


def out_of_scale(entry: Entry) -> bool:
    """Tell whether the input of a first layer saturates its gates, and has channels that are out of scale."""
    large = entry.layer == 0 and bool((_size(_steps(entry)) > _LARGE).any())
    return large and _saturated(entry) > UNSCALED.threshold


def _steps(entry: Entry) -> Tensor:
    """Return what is read at all valid steps, (N, I)."""
    return entry.x[entry.gates.valid].double()


def _size(x: Tensor) -> Tensor:
    """Return the root mean square of each channel, (I,)."""
    return x.square().mean(0).sqrt()


def _saturated(entry: Entry) -> float:
    """Return the share of the gates' values, over steps and units, that the input alone saturates."""
    weights = entry.weights.map(Tensor.double)
    from_x = _steps(entry) @ weights.weight_ih.T
    if weights.bias_ih is not None:
        from_x += weights.bias_ih
    hidden = entry.before(entry.gates.hidden, entry.gates.initial_hidden)[entry.gates.valid]
    from_h = hidden.double() @ weights.weight_hh.T
    large = (from_x.abs() > _FLAT) & (from_x.abs() > 3 * from_h.abs())
    return float(large.double().mean())


def _described(channels: Tensor, mean: Tensor, std: Tensor) -> str:
    parts = [
        f"channel {c} has mean {m:.3g} and standard deviation {s:.3g}"
        for c, m, s in zip(channels.tolist(), mean.tolist(), std.tolist(), strict=True)
    ]
    more = f", and {len(parts) - _SHOWN} more channels" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def _figures(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"
