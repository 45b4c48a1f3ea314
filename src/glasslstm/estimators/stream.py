"""A tagger's answers as the steps come in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from glasslstm.data.sequences import as_numbers
from glasslstm.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from glasslstm.estimators.tagger import LSTMTagger

__all__ = ["TagStream"]


class TagStream:
    """Says something of each step of one series as it comes; made by :meth:`glasslstm.LSTMTagger.stream`.

    The state is kept inside. The weights are those of the moment when the stream was made.

    Attributes
    ----------
    probabilities
        Of each label at the latest step, (K,); ``None`` before it, and for numbers.
    """

    probabilities: NDArray[np.float64] | None

    def __init__(self, tagger: LSTMTagger, static: Sequence[Any] | NDArray[Any] | None = None) -> None:
        if not tagger.causal:
            raise ArgumentError(
                "causal: steps can be answered as they come only by a tagger with causal=True; fit one"
            )
        if tagger.network_.front is not None:
            raise ArgumentError("conv_blocks: convolutions are not streamed; fit a tagger with conv_blocks=0")
        self._tagger, self._preparation = tagger, tagger.preparation_
        given, known = [] if static is None else np.atleast_1d(static).tolist(), self._preparation
        if len(given) != known.static:
            raise DataError(
                f"static: expected the {known.static} static features of the training, got {len(given)}"
            )
        self._static = [self._code(known.channels + k, value) for k, value in enumerate(given)]
        self._stream = tagger.network_.eval().lstm.stream()
        self._device = next(tagger.network_.parameters()).device
        self.reset()

    def reset(self) -> None:
        """Begin a new series."""
        self._stream.reset()
        self._before = np.full(len(self._preparation.mean), np.nan, np.float32)
        self._time: float | None = None
        self.probabilities = None

    def step(self, x: Sequence[Any] | NDArray[Any], *, time: Any = None) -> Any:
        """Return the label, or the number, of the next step.

        Parameters
        ----------
        x
            The channels, (F,), as in training; categories as text, and NaN or ``None`` for what is missing.
        time
            When the step is, for a tagger with ``step_duration=True``: a number, or a date of numpy, pandas or Python.

        Raises
        ------
        DataError
            For another number of channels, what is no number, a missing value that the tagger was not trained to take,
            and a time that does not rise.
        """
        inputs, before = self._preparation.step(self._columns(x, time), self._before)
        with torch.no_grad():
            h = self._stream.step(torch.from_numpy(inputs)[None].to(self._device))
            answer = self._tagger.network_.say(h)[0].cpu()
        self._before = before
        classes = getattr(self._tagger, "classes_", None)
        if classes is None:
            return float(answer[0])
        self.probabilities = torch.softmax(answer.double(), 0).numpy()
        return classes[int(answer.argmax())]

    def _columns(self, x: Sequence[Any] | NDArray[Any], time: Any) -> NDArray[np.float64]:
        """Return channels, static features and duration of one step, (C,)."""
        known = self._preparation
        if np.shape(x) != (known.channels,):
            raise DataError(
                f"x: expected the {known.channels} channels of the training, got shape {np.shape(x)}"
            )
        values = [self._code(k, value) for k, value in enumerate(x)]
        now = self._now(time) if known.duration else None
        duration = [] if now is None else [0.0 if self._time is None else now - self._time]
        columns = np.array([*values, *self._static, *duration], np.float64)
        wrong = np.isinf(columns) | (np.isnan(columns) & (self._tagger.missing == "error"))
        if wrong.any():
            raise DataError(
                f"x: channel {int(wrong.argmax())} is {columns[wrong.argmax()]}; expected a finite number, or fit the "
                "tagger with missing='mask'"
            )
        self._time = now
        return columns

    def _code(self, k: int, value: Any) -> float:
        texts = self._preparation.categories.get(k)
        if value is None:
            return float("nan")
        if texts is not None and isinstance(value, str):
            return float(texts.index(value) if value in texts else len(texts))
        if texts is not None and value == value:  # noqa: PLR0124 - NaN alone differs
            raise DataError(
                f"x: channel {k} is {value!r}; expected a category as text, one of {', '.join(map(repr, texts[:20]))}"
            )
        try:
            return float(value)
        except (TypeError, ValueError):
            raise DataError(f"x: channel {k} is {value!r}; expected a number") from None

    def _now(self, time: Any) -> float:
        """Return the time of a step as a number, later than that of the step before."""
        if time is None:
            raise DataError(
                "time: the tagger was trained with step_duration=True; give the time of each step"
            )
        if isinstance(time, datetime):  # of pandas, too
            time = np.datetime64(time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time)
        try:
            now = float(as_numbers(np.asarray(time)))
        except (TypeError, ValueError):
            raise DataError(f"time: expected a number or a date, got {time!r}") from None
        if self._time is not None and not now > self._time:
            raise DataError(f"time: {time} does not come after the step before")
        return now
