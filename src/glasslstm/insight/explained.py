"""Which number of a model's answer is explained, for each sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError
from glasslstm.insight.running import first_tensor

__all__ = ["Explained", "OneAnswer"]


class Explained(NamedTuple):
    """What an estimator's score is, where the model alone would leave it to be guessed."""

    score: Callable[[Tensor], Any]
    """By the lengths of some sequences, (B,), the `target` of :func:`glasslstm.explain`."""
    words: str
    """What it is."""
    unit: str = "output"
    """What it is measured in."""


class OneAnswer:
    """What a model answers: the last of several answers, and of classes the one that it takes a sequence for.

    Parameters
    ----------
    lengths
        Of the sequences, (B,).
    batch_axis, class_axis
        Of the output; ``None``: found by its size, and none.
    several
        Whether a sequence has several answers.
    of_steps
        Whether these are about its steps: then the last is the one of its last step.
    """

    def __init__(
        self,
        lengths: Tensor,
        batch_axis: int | None,
        class_axis: int | None,
        *,
        several: bool,
        of_steps: bool = True,
    ) -> None:
        self._lengths, self.several, self._of_steps = lengths, several, of_steps
        self._batch_axis, self._class_axis = batch_axis, class_axis
        self._chosen: Tensor | None = None

    def __call__(self, output: Any) -> Tensor:
        """Return one number for each sequence, (B,); the same class in every run."""
        scores = first_tensor(output)
        B = len(self._lengths)
        if scores is None or scores.dim() not in (1, 2, 3) or B not in scores.shape:
            raise ArgumentError("the model does not answer with one tensor, a row for each sequence")
        if self._class_axis is not None:
            scores = scores.movedim(self._class_axis, -1)
        axis = scores.shape.index(B) if self._batch_axis is None else self._batch_axis
        answer = scores.movedim(axis, 0)
        if self.several:
            end = answer.size(1) - 1
            last = (self._lengths - 1).clamp(max=end) if self._of_steps else torch.full((B,), end)
            answer = answer[torch.arange(B), last]
        answer = answer.reshape(B, -1)
        if answer.size(1) == 1:
            return answer.squeeze(1)
        if self._chosen is None:
            self._chosen = answer.detach().argmax(1, keepdim=True)
        return answer.gather(1, self._chosen).squeeze(1)
