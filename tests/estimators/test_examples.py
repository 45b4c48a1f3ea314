"""Batches: every series once, little padding, others in every epoch; parts that share nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glasslstm import LSTMRegressor
from glasslstm.data import Sequences, load_japanese_vowels
from glasslstm.errors import DataError
from glasslstm.estimators.augmentation import Augmentation
from glasslstm.estimators.examples import Batch, Examples, batches_of, in_step
from glasslstm.estimators.preparation import Preparation


def lengths_of(kind: str) -> Any:
    rng = np.random.default_rng(0)
    if kind == "Japanese Vowels":
        return np.array([len(x) for x in load_japanese_vowels("train")[0]])
    if kind == "uniform":
        return rng.integers(20, 101, 2000)
    return np.maximum(1, rng.lognormal(4, 1, 20_000)).astype(np.int64)


def padding_share(lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> float:
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / padded


@pytest.mark.parametrize("kind", ["Japanese Vowels", "uniform", "log-normal"])
def test_batches_have_each_series_once_and_little_padding(kind: str) -> None:
    lengths = lengths_of(kind)
    for seed in range(3):
        batches = batches_of(lengths, 32, torch.Generator().manual_seed(seed))
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        sizes = {len(batch) for batch in batches}
        assert max(sizes) <= 32
        assert max(sizes) - min(sizes) <= 1
        assert padding_share(lengths, batches) < 0.1
    assert padding_share(lengths, batches_of(lengths, 32)) < 0.1


@pytest.mark.parametrize("kind", ["Japanese Vowels", "uniform", "log-normal"])
def test_other_series_meet_in_every_epoch(kind: str) -> None:
    lengths = lengths_of(kind)
    draw = torch.Generator().manual_seed(0)
    epochs = [{frozenset(batch.tolist()) for batch in batches_of(lengths, 32, draw)} for _ in range(3)]
    assert not epochs[0] & epochs[1]
    assert not epochs[1] & epochs[2]
    pairs = [{(a, b) for batch in epoch for a in batch for b in batch if a < b} for epoch in epochs]
    assert len(pairs[0] & pairs[1]) < 0.7 * len(pairs[0])


def test_batches_do_not_come_in_the_order_of_length() -> None:
    lengths = lengths_of("uniform")
    means = [lengths[b].mean() for b in batches_of(lengths, 32, torch.Generator().manual_seed(0))]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_the_same_generator_gives_the_same_batches() -> None:
    lengths = lengths_of("uniform")
    first, second = (batches_of(lengths, 32, torch.Generator().manual_seed(7)) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def tagged(n: int = 7) -> Examples:
    rng = np.random.default_rng(1)
    series = Sequences.from_arrays([rng.normal(size=(int(k), 2)) for k in rng.integers(1, 6, n)])
    steps = np.arange(len(series.values))
    return Examples(series, steps, (steps + 1).astype(np.float32), per_step=True)


def test_a_batch_of_steps_has_no_weight_in_the_padding() -> None:
    data = tagged()
    data = data.prepared(Preparation.of(data.series))
    rows = np.array([4, 0, 2])
    batch = data.batch(rows)
    for b, row in enumerate(rows):
        own = np.arange(data.series.starts[row], data.series.stops[row])
        np.testing.assert_array_equal(batch.targets[: len(own), b], own)
        np.testing.assert_array_equal(batch.weights[: len(own), b], own + 1)
        assert not batch.weights[len(own) :, b].any()
        assert not batch.x[len(own) :, b].any()


def test_shares_of_a_batch_make_up_the_whole() -> None:
    data = tagged()
    data = data.prepared(Preparation.of(data.series))
    batch = data.batch(np.arange(7))
    whole = {int(w) for w in batch.weights.flatten() if w}
    parts = [{int(w) for w in batch.share(rank, 3).weights.flatten() if w} for rank in range(3)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)
    assert batch.share(2, 3).lengths.tolist() == batch.lengths[2::3].tolist()
    assert torch.equal(batch.share(1, 3).x, batch.x[:, 1::3])


def test_parts_and_their_union_keep_each_series_with_its_own() -> None:
    data = tagged(9)
    first, second = data.split(0.3, None, 0)
    assert len(second) == 3
    again = first.joined(second)
    together = again.series.rows()
    expected = np.concatenate([part.series.rows() for part in (first, second)])
    np.testing.assert_array_equal(again.targets[together], expected)
    np.testing.assert_array_equal(again.weights[together], expected + 1)
    np.testing.assert_array_equal(again.series.values[together], data.series.values[expected])
    np.testing.assert_array_equal(np.sort(again.flat_targets()), np.sort(data.flat_targets()))


def test_a_rare_class_is_both_trained_on_and_validated() -> None:
    labels = np.repeat([0, 1], [98, 2])
    data = Examples(Sequences.from_arrays(np.zeros((100, 1, 1))), np.arange(100), np.ones(100, np.float32))
    for seed in range(20):
        for fraction in (0.05, 0.2, 0.9):
            parts = [part.targets for part in data.split(fraction, labels, seed)]
            assert sorted(np.concatenate(parts)) == list(range(100))
            assert [sorted(set(labels[part])) for part in parts] == [[0, 1], [0, 1]]


def test_one_series_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"X: got 1 series .*windows, or set validation_fraction=0"):
        tagged(1).split(0.2, None, 0)


def test_what_belongs_to_steps_finds_its_rows() -> None:
    series = tagged().series.select([3, 1])
    values = in_step(np.arange(1.0, series.steps + 1), series)
    assert values.shape == (len(series.values),)
    np.testing.assert_array_equal(values[series.rows()], np.arange(1.0, series.steps + 1))


def test_a_shift_is_the_same_for_all_steps_and_noise_for_none() -> None:
    lengths = torch.tensor([6, 4])
    batch = Batch(torch.zeros(6, 2, 3), lengths, torch.zeros(2), torch.ones(2))
    touched = np.array([True, True, False])
    shifted = Augmentation(touched, shift=0.5)(batch, torch.Generator().manual_seed(0)).x
    assert (shifted[:4] == shifted[0]).all()
    assert len(shifted[0, :, :2].unique()) == 4
    assert not shifted[..., 2].any()
    assert not shifted[4:, 1].any()  # padding stays zero, for what reads beyond the last step
    noisy = Augmentation(touched, noise=0.5)(batch, torch.Generator().manual_seed(0)).x
    assert len(noisy[:4, :, :2].unique()) == 16
    assert not noisy[..., 2].any()
    assert not noisy[4:, 1].any()


def test_shift_and_noise_have_the_deviation_that_was_asked_for() -> None:
    batch = Batch(torch.zeros(20, 3000, 1), torch.full((3000,), 20), torch.zeros(3000), torch.ones(3000))
    augment = Augmentation(np.array([True]), noise=0.2, shift=0.5)
    x = augment(batch, torch.Generator().manual_seed(0)).x[..., 0]
    assert x.mean(0).std() == pytest.approx((0.5**2 + 0.2**2 / 20) ** 0.5, rel=0.05)
    assert (x - x.mean(0)).std() == pytest.approx(0.2 * (19 / 20) ** 0.5, rel=0.05)
    assert not batch.x.any()


def test_a_factor_is_the_same_for_all_steps_and_leaves_zero_where_it_is() -> None:
    x = torch.ones(6, 2, 3)
    x[4:, 1] = 0  # padding
    x[2] = 0
    batch = Batch(x, torch.tensor([6, 4]), torch.zeros(2), torch.ones(2))
    scaled = Augmentation(np.array([True, True, False]), scale=0.5)(batch, torch.Generator().manual_seed(0)).x
    assert len(scaled[0, :, :2].unique()) == 4
    for step in (1, 3):
        assert torch.equal(scaled[step], scaled[0])
    assert not scaled[2].any()
    assert not scaled[4:, 1].any()
    assert torch.equal(scaled[..., 2], x[..., 2])


def test_a_factor_is_around_one_with_the_deviation_that_was_asked_for() -> None:
    batch = Batch(torch.full((2, 5000, 1), -3.0), torch.full((5000,), 2), torch.zeros(5000), torch.ones(5000))
    x = Augmentation(np.array([True]), scale=0.2)(batch, torch.Generator().manual_seed(0)).x
    assert (x / -3).mean() == pytest.approx(1, abs=0.01)
    assert (x[0] / -3).std() == pytest.approx(0.2, rel=0.05)


def test_a_shift_comes_after_the_factor() -> None:
    batch = Batch(torch.full((1, 5000, 1), 10.0), torch.ones(5000), torch.zeros(5000), torch.ones(5000))
    x = Augmentation(np.array([True]), scale=0.1, shift=0.5)(batch, torch.Generator().manual_seed(0)).x
    assert x.std() == pytest.approx((1 + 0.5**2) ** 0.5, rel=0.05)


@pytest.mark.parametrize("series", [1, 4])
def test_windows_that_share_steps_are_never_on_both_sides(series: int) -> None:
    rng = np.random.default_rng(0)
    whole = Sequences.from_arrays([rng.normal(size=(60, 1)) for _ in range(series)])
    windows = whole.windows(8, stride=3, horizon=2, target=0)
    assert windows.overlap
    assert not whole.overlap
    data = Examples(windows, windows.targets, np.ones(len(windows), np.float32))
    train, judged = data.split(0.25, None, 0)
    assert len(judged) >= 0.2 * len(data)
    steps = [
        {row for a, b in zip(part.series.starts, part.series.stops, strict=True) for row in range(a, b + 2)}
        for part in (train, judged)
    ]
    assert steps[0] & steps[1] == set()


def test_windows_that_share_all_steps_are_refused() -> None:
    windows = Sequences.from_arrays(np.zeros((1, 10, 1))).windows(9)
    data = Examples(windows, np.zeros((2, 1)), np.ones(2, np.float32))
    with pytest.raises(DataError, match="none is left to train on; choose a larger stride"):
        data.split(0.5, None, 0)


@pytest.mark.parametrize("ids", [["a", "b", "c", "d", "e"], [3, 1, 2, 9, 5], None])
def test_an_estimator_holds_out_all_windows_of_a_series(monkeypatch: pytest.MonkeyPatch, ids: Any) -> None:
    rng = np.random.default_rng(0)
    whole = Sequences.from_arrays([rng.normal(size=(n, 1)) for n in (20, 25, 30, 22, 28)], ids=ids)
    windows = whole.windows(6, horizon=1, target=0)
    parts: list[tuple[Examples, Examples]] = []
    split = Examples.split
    monkeypatch.setattr(Examples, "split", lambda *args: parts.append(split(*args)) or parts[-1])
    regressor = LSTMRegressor(hidden_size=2, max_epochs=1, refit=False, random_state=0, verbose=False)
    regressor.fit(windows[rng.permutation(len(windows))])
    owner = np.repeat(np.arange(5), whole.lengths)
    sides = [{*owner[part.series.rows()].tolist()} for part in parts[0]]
    assert sides[0] & sides[1] == set()
    assert sides[0] | sides[1] == set(range(5))
    assert len(sides[1]) == 1


@pytest.mark.parametrize("fraction", [0.6, 0.9])
def test_a_series_is_left_to_train_on(fraction: float) -> None:
    windows = Sequences.from_arrays(np.random.default_rng(0).normal(size=(2, 30, 1))).windows(6)
    data = Examples(windows, np.zeros(len(windows)), np.ones(len(windows), np.float32))
    train, judged = data.split(fraction, None, 0)
    assert {*train.series.ids.tolist()} | {*judged.series.ids.tolist()} == {0, 1}
    assert len(train) == len(judged) == 25
