"""Scores with their intervals, which are over sequences: the steps of one sequence are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require

require("scipy", extra="report")

from scipy import stats  # noqa: E402

__all__ = ["Bin", "Calibration", "Score", "interval", "mean", "ratio_over", "share"]


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval over sequences; of a single sequence of many steps the ends are NaN."""

    name: str
    value: float
    low: float
    high: float
    more_is_better: bool = False


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in one tenth of [0, 1]."""

    confidence: float
    """Their mean confidence: the probability that was given to the class that was predicted."""
    right: Score
    """The share of them that is right."""
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be believed."""

    bins: tuple[Bin, ...]
    """Of equal width: those of equal count would crowd at 1, where most confidences lie. Empty ones are left out."""
    error: float
    """The expected calibration error: |confidence - share right|, the mean over answers (Naeini et al. 2015)."""


def share(right: NDArray[np.float64], sequence: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the share of ones, and its interval: Wilson's, or Korn and Graubard's where sequences have several."""
    found, error, sequences = ratio_over(right, np.ones(len(right)), sequence)
    answers = len(right)
    if sequences == answers:
        ends = stats.binomtest(int(right.sum()), answers).proportion_ci(method="wilson")
        return found, float(ends.low), float(ends.high)
    if sequences == 1:
        return found, np.nan, np.nan
    independent = min(answers, found * (1 - found) / error**2) if error > 0 else sequences
    independent *= (stats.t.ppf(0.975, answers - 1) / stats.t.ppf(0.975, sequences - 1)) ** 2
    hits, misses = found * independent, (1 - found) * independent
    low = stats.beta.ppf(0.025, hits, misses + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(0.975, hits + 1, misses) if misses > 0 else 1.0
    return found, float(low), float(high)


def mean(values: NDArray[np.float64], sequence: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the mean of numbers that cannot be negative, and its interval."""
    found, low, high = interval(*ratio_over(values, np.ones(len(values)), sequence))
    return found, low if np.isnan(low) else max(low, 0.0), high


def interval(value: float, error: float, sequences: int) -> tuple[float, float, float]:
    """Return a value with the ends of Student's 95 % interval."""
    if sequences < 2:
        return value, np.nan, np.nan
    half = float(stats.t.ppf(0.975, sequences - 1)) * error
    return value, value - half, value + half


def ratio_over(
    top: NDArray[np.float64], bottom: NDArray[np.float64], sequence: NDArray[np.int64]
) -> tuple[float, float, int]:
    """Return the ratio of two sums, its standard error over sequences, and their number."""
    _, own = np.unique(sequence, return_inverse=True)
    tops, bottoms = np.bincount(own, top), np.bincount(own, bottom)
    ratio, n = float(tops.sum() / bottoms.sum()), len(tops)
    rest = (tops - ratio * bottoms) / bottoms.mean()
    return ratio, float(np.sqrt((rest**2).sum() / max(n - 1, 1) / n)), n
