"""A tagger's answers as the steps come in: those of `predict`, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from glasslstm import LSTMTagger
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, DataError

TEXTS = ("3", "12", "auto")


def make(**parameters: Any) -> LSTMTagger:
    return LSTMTagger(causal=True, hidden_size=5, max_epochs=3, random_state=0, verbose=False, **parameters)


@pytest.fixture(scope="module")
def machines() -> Sequences:
    """A level with gaps, a mode, an age that stays, and times that are irregular."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, 12)
    values = [np.column_stack([rng.normal(size=n), rng.integers(3, size=n)]) for n in lengths]
    for x in values:
        x[rng.random(x.shape) < 0.3] = np.nan
    series = Sequences.from_arrays(
        values,
        missing="mask",
        channel_names=["level", "mode"],
        times=[np.cumsum(rng.uniform(0.5, 3, n)) for n in lengths],
        step_targets=[rng.choice(["low", "high"], n) for n in lengths],
        static=rng.normal(size=(12, 1)),
        static_names=["age"],
    )
    return replace(series, categories={"mode": TEXTS})


@pytest.fixture(scope="module")
def tagger(machines: Sequences) -> LSTMTagger:
    return make(missing="mask", step_duration=True).fit(machines)


def test_steps_are_answered_as_predict_answers_the_series(machines: Sequences, tagger: LSTMTagger) -> None:
    assert machines.times is not None
    assert machines.static is not None
    for k, x in enumerate(machines):
        stream = tagger.stream(machines.static[k])
        expected = tagger.predict_proba(machines[[k]])[0]
        times = machines.times[machines.starts[k] : machines.stops[k]]
        for (level, mode), time, row in zip(x, times, expected, strict=True):
            text = None if np.isnan(mode) else TEXTS[int(mode)]
            answer = stream.step([level, text], time=time)
            np.testing.assert_allclose(stream.probabilities, row, rtol=1e-4, atol=1e-6)
            assert answer == tagger.classes_[row.argmax()]


def test_a_reset_begins_a_new_series(machines: Sequences, tagger: LSTMTagger) -> None:
    stream = tagger.stream([0.5])
    found = []
    for _ in range(2):
        stream.reset()
        assert stream.probabilities is None
        stream.step([1.0, "auto"], time=7)
        stream.step([np.nan, None], time=8.5)
        found.append(stream.probabilities)
    np.testing.assert_array_equal(found[0], found[1])


def test_an_unknown_category_is_the_one_that_predict_reads(machines: Sequences, tagger: LSTMTagger) -> None:
    one = Sequences.from_arrays([[[1.0, 0.0]]], channel_names=["level", "mode"], times=[[0.0]])
    one = replace(one.with_static([[0.5]], ["age"]), categories={"mode": ("broken",)})
    with pytest.warns(UserWarning, match="'broken'"):
        expected = tagger.predict_proba(one)[0][0]
    stream = tagger.stream([0.5])
    stream.step([1.0, "broken"], time=0)
    np.testing.assert_allclose(stream.probabilities, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "time", "message"),
    [
        ([1.0, 12], 1, "x: channel 1 is 12; expected a category as text, one of '3', '12', 'auto'"),
        ([1.0], 1, r"x: expected the 2 channels of the training, got shape \(1,\)"),
        (["much", "3"], 1, "x: channel 0 is 'much'; expected a number"),
        ([np.inf, "3"], 1, "x: channel 0 is inf; expected a finite number"),
        ([1.0, "3"], None, "time: the tagger was trained with step_duration=True"),
        ([1.0, "3"], 0, "time: 0 does not come after the step before"),
    ],
)
def test_refuses_a_step_that_does_not_fit_and_goes_on(
    tagger: LSTMTagger, x: Any, time: Any, message: str
) -> None:
    stream, other = tagger.stream([0.5]), tagger.stream([0.5])
    for each in (stream, other):
        each.step([1.0, "3"], time=0)
    with pytest.raises(DataError, match=message):
        stream.step(x, time=time)
    for each in (stream, other):
        each.step([2.0, "12"], time=1)
    np.testing.assert_array_equal(stream.probabilities, other.probabilities)


def test_refuses_what_cannot_be_streamed(machines: Sequences, tagger: LSTMTagger) -> None:
    X = [x[:, :1] for x in machines]
    y = [np.where(np.arange(len(x)) % 2, "odd", "even") for x in X]
    plain = {"missing": "mask", "max_epochs": 1}
    with pytest.raises(ArgumentError, match="causal: steps can be answered as they come only by"):
        LSTMTagger(hidden_size=2, random_state=0, verbose=False, **plain).fit(X, y).stream()
    with pytest.raises(ArgumentError, match="conv_blocks: convolutions are not streamed"):
        make(conv_blocks=1).set_params(**plain).fit(X, y).stream()
    with pytest.raises(DataError, match=r"static: expected the 1 static features of the training, got 0"):
        tagger.stream()
    strict = make().fit([np.nan_to_num(x) for x in X], y).stream()
    with pytest.raises(DataError, match="x: channel 0 is nan; expected a finite number"):
        strict.step([np.nan])
