"""Train the healthy models, and make sure that they are: each beats guessing by far, on data that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import glasslstm as gl
from glasslstm.insight.case import Loss
from glasslstm.insight.running import run

from .tasks import Draw

__all__ = ["Patient", "guessing_level", "labels", "streamed", "trained"]


@dataclass(frozen=True)
class Patient:
    """A model, and what it is diagnosed with."""

    model: nn.Module
    inputs: Any
    targets: Any = None
    loss: Loss | None = None
    learnt: float | None = None
    """Its loss on data that it never saw, as a share of the loss of guessing; ``None`` for one without training."""

    def blind(self) -> Patient:
        """Return the same without targets and loss: not everything can be looked for."""
        return replace(self, targets=None, loss=None)

    def diagnose(self) -> gl.Diagnosis:
        """Look for everything."""
        return gl.diagnose(self.model, self.inputs, self.targets, self.loss)


def trained(
    build: Callable[[], nn.Module],
    draw: Draw,
    loss: Loss = mse_loss,
    *,
    steps: int = 200,
    batch: int = 32,
    rate: float = 0.01,
    share: float = 0.5,
    show: int = 32,
) -> Patient:
    """Train on a fresh draw a step, and fail where the loss stays above `share` of what guessing costs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, generator = build(), Generator().manual_seed(1)
        for _ in _descend(model, steps, rate):
            inputs, targets = draw(batch, generator)
            loss(run(model, inputs), targets).backward()
    return examined(model, *draw(show, Generator().manual_seed(2)), loss, share)


def streamed(
    build: Callable[[], nn.Module], draw: Draw, *, steps: int, chunk: int, share: float = 0.5
) -> Patient:
    """Train on one chunk after the other, the states handed on; it is shown a chunk in the middle of a stream."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, generator = build(), Generator().manual_seed(1)
        (x, y), states, start = draw(32, generator), None, 0
        for _ in _descend(model, steps, 0.01):
            if start == x.shape[1]:
                (x, y), states, start = draw(32, generator), None, 0
            output, states = model(x[:, start : start + chunk], states)
            mse_loss(output, y[:, start : start + chunk]).backward()
            states, start = tuple(state.detach() for state in states), start + chunk
    x, y = draw(32, Generator().manual_seed(2))
    with torch.no_grad():
        _, states = model(x[:, :chunk])
    inputs, targets = (x[:, chunk : 2 * chunk], states), y[:, chunk : 2 * chunk]
    return examined(model, inputs, targets, lambda found, y: mse_loss(found[0], y), share)


def examined(model: nn.Module, inputs: Any, targets: Tensor, loss: Loss, share: float) -> Patient:
    """Return a trained model with data that it never saw; fail where it is not clearly better than guessing."""
    model.eval()
    with torch.no_grad():
        value = float(loss(run(model, inputs), targets))
    model.train()
    learnt = value / guessing_level(targets)
    if not learnt <= share:
        raise RuntimeError(f"not healthy: its loss is {learnt:.2f} of guessing, and {share} is allowed")
    return Patient(model, inputs, targets, loss, learnt)


def guessing_level(targets: Tensor) -> float:
    """Return the loss of the best constant answer: the variance, or the entropy of the labels."""
    if targets.is_floating_point():
        return float(targets.var(correction=0))
    share = targets[targets >= 0].bincount() / (targets >= 0).sum()
    return float(-torch.special.xlogy(share, share).sum())


def labels(output: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy over all steps that have a label, (..., K) and (...)."""
    return cross_entropy(output.flatten(0, -2), targets.flatten())


def _descend(model: nn.Module, steps: int, rate: float) -> Iterator[None]:
    """Yield for each step that is to leave gradients, and take it: Adam, clipped, at a rate that falls to zero."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        yield
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
