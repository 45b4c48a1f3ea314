from __future__ import annotations

import numpy as np
import pytest

from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.metrics import seasonal_scales
from glasslstm.forecasting.origins import rolling_origin

IDS = np.array(["a", "b"])


def targets() -> list[np.ndarray]:
    """Two series of 20 and 15 steps."""
    random = np.random.default_rng(0)
    return [random.normal(size=20), random.normal(size=15)]


def test_the_last_window_ends_with_the_series_and_history_and_truth_meet():
    series = targets()
    times = [np.datetime64("2020-01-01") + np.arange(20), np.datetime64("2021-06-01") + np.arange(15)]
    found = rolling_origin(IDS, series, times, horizon=4, windows=3, stride=2, season_length=3)
    assert found.ids.tolist() == ["a"] * 3 + ["b"] * 3
    assert found.series.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.origins.tolist() == [12, 14, 16, 7, 9, 11]
    assert len(found) == 6
    for row, (k, origin) in enumerate(zip(found.series, found.origins, strict=True)):
        np.testing.assert_array_equal(found.histories[row], series[k][:origin])
        np.testing.assert_array_equal(found.truth[row], series[k][origin : origin + 4])
        np.testing.assert_array_equal(found.times[row], times[k][origin : origin + 4])
        assert found.cutoffs[row] == times[k][origin - 1]
        assert tuple(found.scales[row]) == seasonal_scales(series[k][:origin], 3)


def test_by_default_there_is_one_window_and_windows_do_not_overlap():
    assert rolling_origin(IDS, targets(), horizon=5).origins.tolist() == [15, 10]
    found = rolling_origin(IDS, targets(), horizon=5, windows=2)
    assert found.origins.tolist() == [10, 15, 5, 10]
    assert found.times[0].tolist() == [10, 11, 12, 13, 14]
    assert found.cutoffs.tolist() == [9, 14, 4, 9]


def test_a_series_that_is_just_long_enough_passes():
    assert rolling_origin(IDS[:1], [np.ones(9)], horizon=3, windows=2, history=3).origins.tolist() == [3, 6]
    with pytest.raises(DataError, match="each needs 9 steps"):
        rolling_origin(IDS[:1], [np.ones(8)], horizon=3, windows=2, history=3)


def test_all_series_that_are_too_short_are_named():
    series = [np.ones(20), np.ones(7), np.ones(12), np.ones(13)]
    with pytest.raises(DataError) as error:
        rolling_origin(np.array(["a", "b", "c", "d"]), series, horizon=3, windows=3, stride=2, history=6)
    assert str(error.value) == (
        "2 series are too short for horizon=3, windows=3, stride=2: each needs 13 steps, 6 before the first origin and "
        "7 after it, and the shortest has 7: 'b', 'c'; take fewer windows or leave these series out"
    )


def test_of_many_series_ten_are_named():
    with pytest.raises(DataError, match=r"^12 series are too short.*'s9' and 2 more; take"):
        rolling_origin(np.array([f"s{k}" for k in range(12)]), [np.ones(1)] * 12, horizon=1)


def test_series_without_a_known_value_before_an_origin_are_named():
    late = np.r_[np.full(6, np.nan), np.ones(4)]
    with pytest.raises(DataError) as error:
        rolling_origin(np.array(["a", "b"]), [late, np.ones(10)], horizon=2, windows=3)
    assert str(error.value) == (
        "1 series is without a known value before an origin: 'a'; take fewer windows or leave these series out"
    )
    assert len(rolling_origin(np.array(["a"]), [late], horizon=2, windows=1)) == 1


@pytest.mark.parametrize("name", ["horizon", "windows", "stride", "season_length", "history"])
def test_sizes_are_1_or_more(name):
    with pytest.raises(ArgumentError, match=f"{name}: expected a whole number of 1 or more, got 0"):
        rolling_origin(IDS, targets(), **{"horizon": 2, name: 0})
