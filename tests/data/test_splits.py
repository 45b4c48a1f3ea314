"""Splits: every series on one side, shares and groups kept, and nothing of the future in the first part."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError


def _series(count: int, **beside: Any) -> Sequences:
    return Sequences.from_arrays(np.arange(count * 2.0).reshape(count, 2, 1), **beside)


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 9))
def test_every_series_is_in_one_part_on_the_same_values(count: int, fraction: float, seed: int) -> None:
    series = _series(count)
    if not 1 <= np.ceil(fraction * count) < count:
        return
    rest, part = series.split(fraction, random_state=seed)
    assert sorted([*rest.ids, *part.ids]) == list(range(count))
    assert len(part) == np.ceil(fraction * count)
    assert rest.values is part.values is series.values
    assert all((np.diff(one.ids) > 0).all() for one in (rest, part))
    assert np.array_equal(part[0], series[int(part.ids[0])])
    assert series.split(fraction, random_state=seed)[1].ids.tolist() == part.ids.tolist()


def test_another_seed_is_another_split() -> None:
    assert len({tuple(_series(30).split(0.3, random_state=seed)[1].ids) for seed in range(5)}) == 5


@pytest.mark.parametrize("given_labels", [False, True])
def test_the_shares_of_the_classes_are_kept(given_labels: bool) -> None:
    labels = np.array(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    series = _series(100, targets=None if given_labels else labels)
    rest, part = series.split(0.2, stratify=labels if given_labels else True, random_state=0)
    assert np.unique(labels[part.ids], return_counts=True)[1].tolist() == [12, 6, 2]
    assert np.unique(labels[rest.ids], return_counts=True)[1].tolist() == [48, 24, 8]


def test_the_shares_of_several_labels_are_kept() -> None:
    labels = np.array([[0, 0]] * 20 + [[0, 1]] * 20 + [[1, 1]] * 10)
    _, part = _series(50, targets=labels).split(0.2, stratify=True, random_state=0)
    assert np.unique(labels[part.ids], axis=0, return_counts=True)[1].tolist() == [4, 4, 2]


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=8, max_size=60), st.integers(0, 9))
def test_a_group_is_never_on_both_sides(groups: list[int], seed: int) -> None:
    if len(set(groups)) < 2:
        return
    series = _series(len(groups))
    rest, part = series.split(0.3, groups=groups, random_state=seed)
    assert not {groups[k] for k in rest.ids} & {groups[k] for k in part.ids}
    assert len(rest) + len(part) == len(groups)
    assert len(rest)
    assert len(part)


def test_windows_with_their_series_as_groups_share_no_row() -> None:
    windows = Sequences.from_arrays(np.zeros((6, 9, 1))).windows(4)
    rest, part = windows.split(0.4, groups=windows.ids, random_state=0)
    assert not set(rest.rows()) & set(part.rows())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), min_size=2, max_size=20),
    st.floats(0.05, 0.95),
)
def test_a_split_by_time_never_leaks(spans: list[tuple[int, int]], fraction: float) -> None:
    times = [np.arange(start, start + length) for start, length in spans]
    series = Sequences.from_arrays([np.zeros((length, 1)) for _, length in spans], times=times)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = min(len(spans) - 1, max(1, round(fraction * len(spans))))
        cut = sorted(start for start, _ in spans)[-count]
        if not any(one[-1] < cut for one in times):
            with pytest.raises(
                DataError, match=f"by_time: no series has ended by {cut}, where the last {count}"
            ):
                series.split(fraction, by_time=True)
            return
        rest, part = series.split(fraction, by_time=True)
    assert max(times[k][-1] for k in rest.ids) < min(times[k][0] for k in part.ids)
    assert len(part) >= count
    dropped = len(spans) - len(rest) - len(part)
    assert [str(one.message) for one in caught] == (
        [f"split by time: {dropped} of {len(spans)} series are under way at the cut and are in neither part"]
        if dropped
        else []
    )


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_the_steps_that_targets_are_from_do_not_leak_either(horizon: int) -> None:
    days = np.datetime64("2026-01-01") + np.arange(40)
    series = Sequences.from_arrays([np.arange(40.0)[:, None]], times=[days])
    windows = series.windows(5, horizon=horizon, target=0 if horizon else None)
    with pytest.warns(
        UserWarning, match=rf"split by time: {4 + horizon} of {36 - horizon} series are under way"
    ):
        rest, part = windows.split(0.25, by_time=True)
    first_of_part = part.values[part.starts, 0].min()
    known_of_rest = [rest.values[stop - 1, 0] for stop in rest.stops]
    if horizon:
        assert rest.targets is not None
        known_of_rest.append(rest.targets.max())
    assert max(known_of_rest) == first_of_part - 1
    assert part.starts.max() == windows.starts.max()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fraction": 0}, ArgumentError, "fraction: expected a number above 0 and below 1, got 0"),
        ({"fraction": 1.0}, ArgumentError, "fraction: expected .* got 1.0"),
        ({"fraction": float("nan")}, ArgumentError, "fraction: expected .* got nan"),
        ({"fraction": "a"}, ArgumentError, "fraction: expected .* got 'a'"),
        ({"stratify": True}, ArgumentError, "stratify: there are no targets to keep the shares of"),
        (
            {"stratify": [0, 1] * 2, "groups": [1] * 4},
            ArgumentError,
            "expected one of stratify, groups and by_time",
        ),
        (
            {"groups": [0, 1] * 2, "by_time": True},
            ArgumentError,
            "expected one of stratify, groups and by_time",
        ),
        (
            {"stratify": [0, 1]},
            DataError,
            r"stratify: expected one for each of the 4 series, got shape \(2,\)",
        ),
        ({"groups": [0, 1]}, DataError, r"groups: expected one for each of the 4 series, got shape \(2,\)"),
        ({"groups": [1] * 4}, DataError, "groups: all series are of one group, which cannot be split"),
        (
            {"stratify": [0, 0, 0, 1]},
            DataError,
            "the series cannot be split in this way: The least populated class",
        ),
        ({"groups": np.array([1, "a", 2, 3], object)}, DataError, "the series cannot be split in this way: "),
        ({"by_time": True}, DataError, "by_time: the series have no time stamps"),
    ],
)
def test_what_cannot_be_split_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _series(4).split(**{"fraction": 0.5, **arguments})


def test_one_series_cannot_be_split_and_overlapping_ones_not_by_time() -> None:
    with pytest.raises(DataError, match="a split needs two series or more, got 1"):
        _series(1).split(0.5)
    with pytest.raises(
        DataError, match="by_time: no series has ended by 0, where the last 2 begin; all of them overlap"
    ):
        _series(4, times=[[0, 1]] * 4).split(0.5, by_time=True)


def test_a_fraction_may_be_of_any_real_type() -> None:
    rest, part = _series(4).split(np.float32(0.5), random_state=0)  # type: ignore[arg-type]
    assert (len(rest), len(part)) == (2, 2)
