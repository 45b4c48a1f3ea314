"""The healthy settings in which faults are planted, new ones and trained ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss

import glasslstm as gl
from glasslstm.insight.findings import Place
from glasslstm.nn.init import forget_bias_

from . import models, tasks
from .healthy import healthy
from .tasks import Draw
from .training import Patient, trained

__all__ = ["Planted", "at", "deep", "head", "hurt", "lstm", "new", "sick", "spoilt"]


@dataclass(frozen=True)
class Planted:
    """A fault, and where it must be found."""

    code: str
    place: Place
    """Units that are not given here may be any."""
    build: Callable[[], Patient]
    quick: bool = True
    """Whether it takes less than half a second, to build and to diagnose."""

    def found(self, findings: gl.Diagnosis) -> gl.Finding | None:
        """Return the finding of this code at this place, and at no more units than are faulty."""
        return next((f for f in findings.of(self.code) if self._is_here(f.place)), None)

    def _is_here(self, place: Place) -> bool:
        return self.place == (place if self.place.units else replace(place, units=()))


def new(
    build: Callable[[], nn.Module], draw: Draw = tasks.levels, loss: Any = mse_loss, n: int = 32
) -> Patient:
    """Return a model without training, with a task."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Patient(build(), *draw(n, Generator().manual_seed(1)), loss)


def hurt(name: str, change: Callable[[Any], object]) -> Patient:
    """Return a healthy, trained model after a change."""
    patient = deepcopy(healthy(name))
    change(patient.model)
    return patient


def lstm(**options: Any) -> gl.LSTM:
    """Return an LSTM that remembers."""
    return forget_bias_(gl.LSTM(1, 16, batch_first=True, **options), 2.0)


def deep() -> gl.LSTM:
    """Return one of two layers and two directions."""
    return lstm(num_layers=2, bidirectional=True)


def head(layer: Any, out: int = 1) -> nn.Module:
    """Read the final states."""
    return models.Joined(layer, out)


def at(module: str, layer: int | None = None, direction: int | None = None, units: Any = ()) -> Place:
    """Return a place; `units` is a count, from unit 0 on, or the units."""
    return Place(module, layer, direction, tuple(range(units) if isinstance(units, int) else units))


def sick(build: Callable[[], nn.Module], draw: Draw, loss: Any = mse_loss, **plan: Any) -> Patient:
    """Return a model after its training, however little it learnt."""
    return trained(build, draw, loss, share=float("inf"), **plan)


def spoilt(draw: Draw, change: Callable[[Tensor], Tensor]) -> Draw:
    """Change the inputs, and not the targets."""

    def drawn(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x, y = draw(n, generator)
        return change(x), y

    return drawn
