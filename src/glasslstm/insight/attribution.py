"""Which steps a score rests on: occlusion and integrated gradients, how far scores agree, and a test by deletion.

Neither method takes the gates as given, as the contributions of :mod:`glasslstm.insight.memory` do: the model is run
again, and its gates follow what they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.probe import Probe

__all__ = [
    "Deletion",
    "IntegratedGradients",
    "deletion",
    "integrated_gradients",
    "occlusion",
    "rank_agreement",
]


def occlusion(probe: Probe, windows: int = 64) -> Tensor:
    """Return by how much the score drops when a step is replaced by the baseline.

    Parameters
    ----------
    probe
        The model with its input and score.
    windows
        At most so many runs of the model. A longer input is cut into as many windows of equal size, each replaced as a
        whole, and each of its steps has the window's drop. Default: 64.

    Returns
    -------
    Tensor
        (T, B), positive where the score drops; zero past a sequence's length.

    Raises
    ------
    ArgumentError
        For fewer than one window.

    References
    ----------
    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", ECCV, section 4.2; Li, Monroe and
    Jurafsky 2016, "Understanding neural networks through representation erasure", arXiv:1612.08220.

    Examples
    --------
    >>> import torch
    >>> probe = Probe(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3), target=lambda output: output[0][2].sum(-1))
    >>> drops = occlusion(probe)
    >>> drops[3:].abs().max().item()  # the steps after the one that the score reads
    0.0
    """
    if windows < 1:
        raise ArgumentError(f"windows: expected 1 or more, got {windows!r}")
    time = len(probe.x)
    size = -(-time // windows)
    drops = torch.zeros_like(probe.valid, dtype=probe.scores.dtype)
    for first in range(0, time, size):
        window = torch.zeros_like(probe.valid)
        window[first : first + size] = True
        drops[first : first + size] = probe.scores - probe.score_without(window)
    return torch.where(probe.valid, drops, 0.0)


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """What each step and channel adds to the score, from the baseline on."""

    values: Tensor
    """(T, B, I); zero past a sequence's length."""
    delta: Tensor
    """By how much their sum misses the score's rise over the baseline's score, (B,): the error of the integration."""

    @property
    def steps(self) -> Tensor:
        """The sum over the channels, (T, B)."""
        return self.values.sum(-1)


def integrated_gradients(probe: Probe, points: int = 32) -> IntegratedGradients:
    """Return the integral of the score's gradient along the straight line from the baseline to what the LSTM reads.

    The integral is taken at Gauss-Legendre points, which need far fewer runs than a Riemann sum. The sequences of a
    batch are taken to be independent of one another, as they are in evaluation mode.

    Parameters
    ----------
    probe
        The model with its input and score.
    points
        How many points, each a forward and a backward pass. Default: 32.

    Returns
    -------
    IntegratedGradients
        With the completeness delta of each sequence; where it is not small, take more points.

    Raises
    ------
    ArgumentError
        For fewer than one point, and a score that has no gradient.

    References
    ----------
    Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", ICML, equation 1; completeness:
    proposition 1.

    Examples
    --------
    >>> import torch
    >>> probe = Probe(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3), target=lambda output: output[0][-1].sum(-1))
    >>> found = integrated_gradients(probe)
    >>> found.steps.shape, bool(found.delta.abs().max() < 1e-4)
    (torch.Size([5, 2]), True)
    """
    if points < 1:
        raise ArgumentError(f"points: expected 1 or more, got {points!r}")
    positions, weights = np.polynomial.legendre.leggauss(points)
    path = torch.where(probe.valid.unsqueeze(-1), probe.x - probe.baseline, 0.0)
    total = torch.zeros_like(path)
    for position, weight in zip((positions + 1) / 2, weights / 2, strict=True):
        total += weight * probe.gradient(*probe.score_at(probe.baseline + position * path))
    values = total * path
    rise = probe.scores - probe.score_without(torch.ones_like(probe.valid))
    return IntegratedGradients(values, values.sum((0, 2)) - rise)


def rank_agreement(scores: Mapping[str, Tensor], valid: Tensor) -> dict[tuple[str, str], Tensor]:
    """Return how far methods agree on which steps matter: Spearman's rank correlation of their absolute scores.

    Parameters
    ----------
    scores
        By method, each (T, B).
    valid
        Which steps count, (T, B).

    Returns
    -------
    dict
        For each pair of methods (B,), -1 to 1, on the CPU; NaN for a sequence with fewer than two steps, or whose
        scores are all equal. Equal scores have the mean of their ranks.

    References
    ----------
    Spearman 1904, "The proof and measurement of association between two things", American Journal of Psychology 15(1).

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([[1.0], [2.0], [3.0]]), "b": torch.tensor([[0.0], [-5.0], [9.0]])}
    >>> rank_agreement(scores, torch.ones(3, 1, dtype=torch.bool))
    {('a', 'b'): tensor([1.], dtype=torch.float64)}
    """
    arrays = {name: score.detach().abs().double().cpu().numpy() for name, score in scores.items()}
    masks = valid.cpu().numpy().T
    found = {}
    for one, other in combinations(arrays, 2):
        pairs = [(arrays[one][mask, b], arrays[other][mask, b]) for b, mask in enumerate(masks)]
        found[one, other] = torch.tensor([_spearman(*pair) for pair in pairs], dtype=torch.float64)
    return found


def _spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    if not np.isfinite([one, other]).all():
        return float("nan")
    a, b = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other))) if one.size else (one, other)
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread else float("nan")


def _ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.floating] = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


@dataclass(frozen=True, eq=False)
class Deletion:
    """By how much the score drops without the steps that a method names, and without as many others."""

    k: Tensor
    """How many steps were replaced in each sequence, (B,)."""
    drops: dict[str, Tensor]
    """By method the drop of each sequence, (B,); the last, "random", is the mean over the draws."""

    def mean(self, method: str) -> tuple[float, float]:
        """Return the mean drop over the sequences that have steps, and its standard error (NaN for one sequence)."""
        found = self.drops[method][self.k > 0].double()
        error = found.std() / len(found) ** 0.5 if len(found) > 1 else torch.tensor(float("nan"))
        return float(found.mean()), float(error)


def deletion(
    probe: Probe, scores: Mapping[str, Tensor], k: int | None = None, *, draws: int = 10, seed: int = 0
) -> Deletion:
    """Replace the steps that a method says hold the score up by the baseline, and as many at random.

    Parameters
    ----------
    probe
        The model with its input and score.
    scores
        By method, each (T, B). The steps with the highest scores are replaced.
    k
        How many steps of each sequence, at most all. Default: a tenth of its steps, and 1 at least.
    draws, seed
        How often steps are drawn at random, and the seed. Defaults: 10 and 0.

    Returns
    -------
    Deletion
        The drops in score by method, and under "random" the mean over the draws.

    Raises
    ------
    ArgumentError, ShapeError
        For a k or number of draws below 1, and scores of another shape.

    References
    ----------
    Samek, Binder, Montavon, Lapuschkin and Mueller 2017, "Evaluating the visualization of what a deep neural network
    has learned", IEEE Transactions on Neural Networks and Learning Systems 28(11).

    Examples
    --------
    >>> import torch
    >>> probe = Probe(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3), target=lambda output: output[0][-1].sum(-1))
    >>> found = deletion(probe, {"occlusion": occlusion(probe)}, k=1)
    >>> torch.allclose(found.drops["occlusion"], occlusion(probe).max(0).values)
    True
    """
    for name, value in (("k", k), ("draws", draws)):
        if value is not None and value < 1:
            raise ArgumentError(f"{name}: expected 1 or more, got {value!r}")
    for method, score in scores.items():
        if score.shape != probe.valid.shape:
            raise ShapeError(
                f"scores: expected {tuple(probe.valid.shape)} of {method!r}, got {tuple(score.shape)}"
            )
    lengths = probe.valid.sum(0)
    counts = (lengths / 10).round().long().clamp(min=1) if k is None else torch.full_like(lengths, k)
    counts = torch.minimum(counts, lengths)

    def drop(score: Tensor) -> Tensor:
        return probe.scores - probe.score_without(_highest(score, probe.valid, counts))

    drops = {method: drop(score) for method, score in scores.items()}
    generator = torch.Generator().manual_seed(seed)
    random = [torch.rand(probe.valid.shape, generator=generator).to(probe.x.device) for _ in range(draws)]
    drops["random"] = torch.stack([drop(score) for score in random]).mean(0)
    return Deletion(counts, drops)


def _highest(score: Tensor, valid: Tensor, counts: Tensor) -> Tensor:
    """Return where the `counts` highest valid scores of each sequence are, (T, B)."""
    order = score.masked_fill(~valid, -torch.inf).argsort(dim=0, descending=True, stable=True)
    return order.argsort(dim=0) < counts
