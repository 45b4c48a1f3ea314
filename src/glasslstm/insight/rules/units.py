"""Units that carry nothing, or what another one carries already."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Code
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.gates import shut
from glasslstm.insight.rules.measures import readable, severity_of, share_of
from glasslstm.insight.rules.registry import Hit, rule

DEAD = Code(
    name="dead-units",
    severity="error",
    title="units are dead",
    threshold=1e-3,
    meaning="The hidden state of these units is the same at every step of every sequence: whoever reads them learns "
    "nothing.",
    change="Train without a penalty that drives weights to zero, and draw them anew: `{lstm}.reset_parameters()`",
)

DUPLICATES = Code(
    name="duplicate-units",
    severity="error",
    title="units are duplicates of others",
    threshold=0.9999,
    meaning="These units have the same hidden state, up to the sign, at every step: together they are worth one. Units "
    "that start with the same weights get the same gradient, and stay the same.",
    change="Draw the weights at random, no two units alike: `{lstm}.reset_parameters()`",
)

_FEWEST, _MOST = 20, 4096  # steps to compare by


@rule(DEAD)
def dead_units(case: Case) -> Iterator[Hit]:
    """Find units whose hidden state does not vary; those that a gate shuts off have their own code."""
    for entry in readable(case):
        hidden, x = unprojected(entry), entry.x[entry.gates.valid]
        if len(hidden) < 2 or torch.equal(x, x[:1].expand_as(x)):  # the same input may have the same answer
            continue
        span = hidden.amax(0) - hidden.amin(0)
        dead = (span < DEAD.threshold) & ~shut(entry)
        if dead.any():
            value = float(span[dead].max())
            evidence = (
                f"h varies by no more than {value:.2g} over all steps and sequences in {share_of(dead)}"
            )
            units = measured(
                "range of hidden state", span, beyond=dead, limit=DEAD.threshold, logarithmic=True
            )
            yield Hit(entry.place(dead), value, evidence, severity_of(dead), measured=units)


@rule(DUPLICATES)
def duplicate_units(case: Case) -> Iterator[Hit]:
    """Find units whose hidden states are the same up to their sign."""
    for entry in readable(case):
        hidden = unprojected(entry)
        if len(hidden) < _FEWEST:
            continue
        alive = hidden.amax(0) - hidden.amin(0) >= DEAD.threshold
        alike = torch.where(alive & alive.unsqueeze(1), agreement(hidden).abs(), 0.0).fill_diagonal_(0)
        if (alike > DUPLICATES.threshold).any():
            yield _hit(entry, alike)


def _hit(entry: Entry, alike: Tensor) -> Hit:
    same = alike > DUPLICATES.threshold
    again = same.tril().any(1)  # has a twin among the units before it
    a, b = divmod(int(alike.argmax()), len(alike))
    value = float(alike[same].min())
    evidence = (
        f"{share_of(again)} carry what one before them carries; units {a} and {b}, say, agree to "
        f"{float(alike[a, b]):.6f} (concordance: 1 is the same)"
    )
    units = measured("highest concordance", alike.amax(1), beyond=same.any(1), limit=DUPLICATES.threshold)
    return Hit(entry.place(same.any(1)), value, evidence, severity_of(again), measured=units)


def unprojected(entry: Entry) -> Tensor:
    """Return ``o * tanh(c)`` at all valid steps, (N, H): the hidden state, as it is before a projection."""
    return entry.at_steps("output_gate") * entry.at_steps("cell").tanh()


def agreement(hidden: Tensor) -> Tensor:
    """Return how far each two of the units are the same, up to the sign: -1 to 1, (H, H).

    Lin's concordance, ``2 cov / (var + var + (mean - mean)^2)``, which is 1 only for the same values; a correlation is
    1 for any two curves of one shape. Source: Lin 1989, "A concordance correlation coefficient to evaluate
    reproducibility", Biometrics 45(1).
    """
    values = hidden[:: -(-len(hidden) // _MOST)].double()
    mean = values.mean(0)
    covariance = (values - mean).T @ (values - mean) / len(values)
    variance = covariance.diagonal()
    apart = (mean - covariance.sign() * mean.unsqueeze(1)).square()
    total = variance + variance.unsqueeze(1) + apart
    return 2 * covariance / total.clamp(min=torch.finfo(torch.float64).tiny)
