"""Where a model fails: its score on parts of the sequences, with what chance alone would make of so many parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.answers import Answers
from glasslstm.insight.scores import Score

require("scipy", extra="report")

from scipy import stats  # noqa: E402

__all__ = ["Slice", "Slices", "slices"]

FEWEST = 5
"""A slice of fewer sequences is left out: its interval would say nothing."""

_MOST_VALUES = 40
_BINS = 4


@dataclass(frozen=True)
class Slice:
    """A part of the sequences, and how well the model does on it."""

    group: str
    value: str
    count: int
    """Of sequences."""
    score: Score
    lift: float
    """Its score less that of all."""
    p: float
    """Of the difference to the other sequences, adjusted for the number of slices."""
    clear: bool
    """Whether `p` is at most 0.05 and the interval excludes the score of all: chance would hardly do that."""

    def __str__(self) -> str:
        return f"{self.group} {self.value}"


@dataclass(frozen=True)
class Slices(Sequence[Slice]):
    """What :func:`slices` found, the worst first; a sequence of :class:`Slice`."""

    found: tuple[Slice, ...]
    left_out: int
    """Slices of fewer than five sequences."""

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Slice]:
        return iter(self.found)


def slices(answers: Answers, groups: Mapping[str, ArrayLike]) -> Slices:
    """Score the answers on each part of the sequences, the worst part first.

    Each slice is tested against the rest of the sequences: by Fisher's exact test for one class each, else by Mann and
    Whitney's on the mean score of each sequence. Of many slices some look bad by chance; the p-values are
    therefore adjusted for the share of false discoveries (Benjamini and Hochberg 1995).

    Parameters
    ----------
    answers
        Of :func:`~glasslstm.insight.answers.answers_of`.
    groups
        By name, one value for each sequence, (B,): text is sliced by its values (beyond the 40 most frequent:
        "other"), booleans into yes and no, numbers of more than four values into four parts of equal count; NaN and
        ``None`` are "missing". A group with one value says nothing and makes no slice.

    Raises
    ------
    ArgumentError
        A group has not one value for each sequence.

    Examples
    --------
    >>> import torch
    >>> from glasslstm.insight.answers import answers_of
    >>> logits, targets = torch.eye(2).repeat(10, 1), torch.tensor([0, 1] * 5 + [0, 0] * 5)
    >>> worst, best = slices(answers_of(logits, targets), {"day": ["Monday"] * 10 + ["Tuesday"] * 10})
    >>> str(worst), worst.count, worst.score.value, worst.lift, worst.clear
    ('day Tuesday', 10, 0.5, -0.25, False)
    """
    parts = [
        (name, value, members)
        for name, values in groups.items()
        for value, members in _parts(_checked(name, values, answers.batch_size))
    ]
    asked = np.isin(np.arange(answers.batch_size), answers.sequence)
    parts = [(name, value, members & asked) for name, value, members in parts if (~members & asked).any()]
    large = [part for part in parts if part[2].sum() >= FEWEST]
    p_values = [_p_value(answers, members) for _, _, members in large]
    adjusted = stats.false_discovery_control(p_values) if large else []
    found = [_slice(answers, *part, p=float(p)) for part, p in zip(large, adjusted, strict=True)]
    found.sort(key=lambda one: one.lift, reverse=not answers.score.more_is_better)
    return Slices(tuple(found), sum(0 < part[2].sum() < FEWEST for part in parts))


def _slice(answers: Answers, name: str, value: str, members: NDArray[np.bool_], p: float) -> Slice:
    score, whole = answers.score_of(members[answers.sequence]), answers.score.value
    clear = p <= 0.05 and not score.low <= whole <= score.high
    return Slice(str(name), value, int(members.sum()), score, score.value - whole, p, clear)


def _p_value(answers: Answers, members: NDArray[np.bool_]) -> float:
    inside = members[answers.sequence]
    if answers.task == "classes" and answers.step is None:
        table = [[np.sum(inside == side, where=answers.each == right) for right in (0, 1)] for side in (0, 1)]
        return float(stats.fisher_exact(table).pvalue)
    sums, counts = (np.bincount(answers.sequence, weights) for weights in (answers.each, None))
    sequences = np.flatnonzero(counts)
    means, inside = sums[sequences] / counts[sequences], members[sequences]
    if np.ptp(means) == 0:
        return 1.0
    return float(stats.mannwhitneyu(means[inside], means[~inside]).pvalue)


def _is_missing(value: Any) -> bool:
    return value is None or (
        not isinstance(value, (bool, np.ndarray)) and str(value) in ("", "nan", "<NA>", "NaT")
    )


def _checked(name: str, values: Any, batch_size: int) -> NDArray[Any]:
    found = [None if _is_missing(value) else value for value in values]
    known = np.asarray([value for value in found if value is not None])
    if known.dtype.kind in "iuf" and len(known) < len(found):
        array = np.array([np.nan if value is None else float(value) for value in found])
    elif len(known) < len(found):
        array = np.array(found, dtype=object)
    else:
        array = np.asarray(found)
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array), array, np.nan)
    if array.shape != (batch_size,):
        raise ArgumentError(
            f"groups: {str(name)!r} has the shape {array.shape}; expected one value for each of the "
            f"{batch_size} sequences"
        )
    return array


def _parts(values: NDArray[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Cut the sequences by a group: (value as text, whether each sequence has it)."""
    if values.dtype.kind == "b":
        return [("yes", values), ("no", ~values)]
    if values.dtype.kind in "iuf":
        return _number_parts(values.astype(float))
    texts = np.array(["missing" if value is None else str(value) for value in values])
    common = [text for text, _ in Counter(texts.tolist()).most_common(_MOST_VALUES)]
    rest = ~np.isin(texts, common)
    return [(text, texts == text) for text in common] + [("other", rest)] * bool(rest.any())


def _number_parts(values: NDArray[np.float64]) -> list[tuple[str, NDArray[np.bool_]]]:
    missing = np.isnan(values)
    known = values[~missing]
    levels = np.unique(known)
    if len(levels) <= _BINS:
        own = np.searchsorted(levels, values)
    else:
        inner = np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])
        own = np.searchsorted(inner, values)
    parts = [(own == k) & ~missing for k in np.unique(own[~missing])]
    named = [(_range(values[part].min(), values[part].max()), part) for part in parts]
    return named + [("missing", missing)] * bool(missing.any())


def _range(low: float, high: float) -> str:
    if low == high:
        return _short(low)
    return f"{_short(low)}{'-' if low >= 0 else ' to '}{_short(high)}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.2g}"
