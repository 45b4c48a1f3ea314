"""Windows as the network reads them: the past in its own units of spread, and nothing of what comes after it."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glasslstm.data import Sequences
from glasslstm.estimators.preparation import Preparation
from glasslstm.forecasting import preparation
from glasslstm.forecasting.preparation import WindowPreparation
from glasslstm.forecasting.transforms import TRANSFORMS

L, H, SEASON = 8, 5, 3
NAN = np.nan
# The channels: a covariate of the past, the target, one that is known ahead, and a category that is not.
PAST, TARGET, KNOWN, KIND = range(4)


def windows(count: int = 4, seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 4)) + np.array([0, 10, -3, 0])
    values[:, KIND] = rng.integers(0, 2, 30)
    whole = Sequences(
        values, np.array([0, 0]), np.array([30, 30]), channel_names=("past", "y", "known", "kind"),
        categories={"kind": ("a", "b")}, static=np.array([[1.5], [4.5]]), static_names=("size",),
    )  # fmt: skip
    return whole[:1].windows(L + H, stride=2)[:count]


def make(series: Sequences, **given: Any) -> WindowPreparation:
    chosen = {"target": TARGET, "context": L, "season_length": SEASON, "transform": "none", "known": (KNOWN,)}
    return WindowPreparation.of_windows(series, **(chosen | given))


def changed(series: Sequences, channel: int, rows: slice, to: Any) -> Sequences:
    """Return the windows, none of which shares steps with another, with other values in some steps of one channel."""
    values = np.stack([window.copy() for window in series])
    values[:, rows, channel] = to
    length = values.shape[1]
    starts = np.arange(len(series)) * length
    return replace(series, values=values.reshape(-1, values.shape[2]), starts=starts, stops=starts + length)


def column(series: Sequences, channel: int = TARGET) -> NDArray[np.float64]:
    """(N, L + H)."""
    return np.stack([window[:, channel] for window in series]).astype(np.float64)


def by_hand(y: NDArray[np.float64], transform: str = "none") -> NDArray[np.float64]:
    z = TRANSFORMS[transform].forward(y)
    past = z[:, :L]
    return (z - np.nanmean(past, 1, keepdims=True)) / np.nanstd(past, 1, keepdims=True)


@pytest.mark.parametrize("transform", ["none", "sqrt", "log1p", "log"])
def test_targets_are_in_units_of_their_own_past(transform: str) -> None:
    series = windows()
    series = changed(series, TARGET, slice(2, 3), NAN)
    found = make(series, transform=transform).targets(series)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(column(series), transform)[:, L:], rtol=1e-6)


def test_a_missing_target_stays_missing_and_a_missing_past_does_not_count() -> None:
    series = changed(windows(), TARGET, slice(L + 1, L + 2), NAN)
    found = make(series).targets(series)
    np.testing.assert_array_equal(np.isnan(found), np.tile(np.arange(H) == 1, (4, 1)))
    gappy = changed(series, TARGET, slice(0, 4), NAN)
    np.testing.assert_allclose(make(gappy).targets(gappy), by_hand(column(gappy))[:, L:], rtol=1e-6)


@pytest.mark.parametrize(
    ("level", "spread"), [(5.0, 0.5), (-5.0, 0.5), (0.0, 1.0), (1e-9, 1e-10), (1e12, 1e11)]
)
def test_a_past_that_never_changes_has_a_spread_of_a_tenth_of_its_level(level: float, spread: float) -> None:
    series = changed(windows(), TARGET, slice(0, L), level)
    series = changed(series, TARGET, slice(L, None), level + 2 * spread)
    np.testing.assert_allclose(make(series).targets(series), 2.0, rtol=1e-4)
    ones = np.ones((4, H))
    np.testing.assert_allclose(make(series).in_units(ones, series), level + spread, rtol=1e-12)


@pytest.mark.parametrize("level", [1e6, 1e9, 1e12])
def test_a_small_spread_on_a_high_level_is_its_own_unit(level: float) -> None:
    series = windows()
    values = np.stack([window.copy() for window in series])[:, :, TARGET]
    high = changed(series, TARGET, slice(None), np.round(1000 * values) / 1000 + level)
    expected = by_hand(column(high))[:, L:]
    np.testing.assert_allclose(make(high).targets(high), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["none", "sqrt", "log1p", "log"]),
    st.floats(1e-9, 1e12),
    st.integers(0, 2**31),
    st.sampled_from([(4, H), (4, H, 3)]),
)
def test_answers_come_back_in_the_units_of_the_target(
    transform: str, size: float, seed: int, shape: tuple[int, ...]
) -> None:
    series = windows()
    y = np.exp(np.random.default_rng(seed).normal(size=(4, L + H))) * size
    series = changed(series, TARGET, slice(None), y)
    z = TRANSFORMS[transform].forward(y)
    level, spread = z[:, :L].mean(1, keepdims=True), z[:, :L].std(1, keepdims=True)
    answers = (z[:, L:] - level) / spread
    if len(shape) == 3:
        answers = np.repeat(answers[..., None], 3, axis=2)
    found = make(series, transform=transform).in_units(answers, series)
    truth = y[:, L:] if len(shape) == 2 else np.repeat(y[:, L:, None], 3, axis=2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, truth, rtol=1e-11)


def test_what_the_network_reads_is_what_was_meant() -> None:
    series = windows()
    prepared = make(series)
    assert prepared.input_names == [
        "past", "y", "known", "kind = a", "kind = b", "kind = (unknown)", "size",
        "past is missing", "y is missing", "kind is missing", "y since the season before",
    ]  # fmt: skip
    assert prepared.target_input == 1
    x = prepared.batch(series, np.arange(4)).astype(np.float64).transpose(1, 0, 2)  # (N, L + H, inputs)
    everything = np.concatenate(list(series)).astype(np.float64)
    past, known = column(series, PAST), column(series, KNOWN)
    scaled = (past - everything[:, PAST].mean()) / everything[:, PAST].std()
    np.testing.assert_allclose(x[:, :L, 0], scaled[:, :L], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x[:, L:, 0], np.repeat(scaled[:, L - 1 : L], H, 1), rtol=1e-4, atol=1e-5)
    own = by_hand(column(series))
    np.testing.assert_allclose(x[:, :L, 1], own[:, :L], rtol=1e-5, atol=1e-6)
    seasons = [L - SEASON + step % SEASON for step in range(H)]
    np.testing.assert_allclose(x[:, L:, 1], own[:, seasons], rtol=1e-5, atol=1e-6)
    expected = (known - everything[:, KNOWN].mean()) / everything[:, KNOWN].std()
    np.testing.assert_allclose(x[:, :, 2], expected, rtol=1e-4, atol=1e-5)
    kinds = column(series, KIND).astype(int)
    kinds[:, L:] = kinds[:, L - 1 : L]
    np.testing.assert_array_equal(x[:, :, 3:6], np.eye(3)[kinds])
    assert not x[:, :, 6].any()  # one size in all: it never changes
    np.testing.assert_array_equal(x[:, :, 7:10], np.tile((np.arange(L + H) >= L)[:, None], (4, 1, 3)))
    assert not x[:, :SEASON, 10].any()
    np.testing.assert_allclose(x[:, SEASON:, 10], x[:, SEASON:, 1] - x[:, :-SEASON, 1], atol=1e-6)
    assert not x[:, L:, 10].any()  # the seasonal naive forecast repeats


@pytest.mark.parametrize("to", [1e6, NAN])
@pytest.mark.parametrize("channel", [PAST, TARGET, KNOWN, KIND])
def test_only_what_is_known_ahead_is_seen_of_the_future(channel: int, to: float) -> None:
    series = windows()
    prepared = make(series)
    other = changed(series, channel, slice(L, None), 1 if channel == KIND and to == 1e6 else to)
    before, after = (prepared.batch(one, np.arange(4)) for one in (series, other))
    assert (before == after).all() == (channel != KNOWN)
    answers = np.random.default_rng(0).normal(size=(4, H))
    np.testing.assert_array_equal(prepared.in_units(answers, series), prepared.in_units(answers, other))


def test_a_gap_in_the_last_season_is_filled_before_it_is_read_as_the_future() -> None:
    series = changed(windows(), TARGET, slice(L - 1, L), NAN)
    x = make(series).batch(series, np.arange(4))[..., 1].T
    np.testing.assert_array_equal(x[:, L - 1], x[:, L - 2])
    np.testing.assert_array_equal(x[:, L + 2], x[:, L - 2])
    np.testing.assert_allclose(x[:, L - 2], by_hand(column(series))[:, L - 2], rtol=1e-5)


def test_the_place_of_the_target_counts_categories_before_it() -> None:
    series = windows()
    turned = replace(
        series, values=series.values[:, ::-1], channel_names=tuple(reversed(series.channel_names or ()))
    )
    prepared = make(turned, target=2, known=(1,))
    assert prepared.input_names[prepared.target_input] == "y"
    np.testing.assert_array_equal(
        prepared.batch(turned, np.arange(4))[..., prepared.target_input],
        make(series).batch(series, np.arange(4))[..., 1],
    )


def test_many_windows_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    series = windows(7)
    prepared, answers = make(series), np.random.default_rng(0).normal(size=(7, H, 2))
    whole = prepared.targets(series), prepared.in_units(answers, series)
    monkeypatch.setattr(preparation, "_BLOCK", 3)
    np.testing.assert_array_equal(prepared.targets(series), whole[0])
    np.testing.assert_allclose(prepared.in_units(answers, series), whole[1], rtol=1e-14)


def test_the_other_columns_are_measured_as_usual() -> None:
    series = windows()
    usual, found = Preparation.of(series), make(series)
    assert (found.mean[TARGET], found.scale[TARGET]) == (0, 1)
    others = np.arange(5) != TARGET
    np.testing.assert_array_equal(found.mean[others], usual.mean[others])
    np.testing.assert_array_equal(found.scale[others], usual.scale[others])
    assert found.gaps.tolist() == [True, True, False, True, False]
    gaps = changed(series, KNOWN, slice(1, 2), NAN)
    assert make(gaps).gaps.tolist() == [True, True, True, True, False]
    assert make(series, known=(PAST, KNOWN, KIND)).gaps.tolist() == [False, True, False, False, False]


def test_it_can_be_pickled_after_it_was_used() -> None:
    series = windows()
    prepared = make(series, transform="log")
    before = prepared.targets(series)
    again = pickle.loads(pickle.dumps(prepared))
    np.testing.assert_array_equal(again.targets(series), before)
    assert {entry.name for entry in fields(again)} >= {"target", "known", "mean"}
