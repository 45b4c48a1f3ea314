from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.forecast import Forecast, symmetric_intervals

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.975)


@pytest.fixture
def found() -> Forecast:
    """Three series, two months."""
    times = np.array([["2024-01", "2024-02"], ["2023-12", "2024-01"], ["1969-05", "1969-06"]], "M8[M]")
    point = np.arange(6.0).reshape(3, 2)
    return Forecast(np.array(["b", "a", "c"]), times, point, LEVELS, point[..., None] + np.arange(5.0))


def test_intervals_are_between_levels_at_the_same_distance_from_the_median(found):
    low, high = found.interval(0.8)
    np.testing.assert_array_equal(low, found.quantiles[..., 1])
    np.testing.assert_array_equal(high, found.quantiles[..., 3])
    assert symmetric_intervals((0.025, 0.1, 0.3, 0.7, 0.9, 0.975)) == {0.95: (0, 5), 0.8: (1, 4), 0.4: (2, 3)}


def test_an_interval_that_is_not_there_says_which_are_and_what_it_needs(found):
    with pytest.raises(ArgumentError) as error:
        found.interval(0.9)
    assert str(error.value) == (
        "coverage: got 0.9; the quantiles of the forecast have the intervals: 0.8; choose one, or fit with the "
        "quantiles 0.05 and 0.95"
    )
    with pytest.raises(ArgumentError, match=r"coverage: got 0\.7"):
        found.interval(0.7)
    with pytest.raises(ArgumentError, match="have the intervals: none; choose one"):
        Forecast(found.ids, found.times, found.point).interval(0.8)


@pytest.mark.parametrize(
    ("k", "ids"),
    [(1, "a"), (-1, "c"), (slice(0, 2), "ba"), ([2, 0], "cb"), (np.array([True, False, True]), "bc")],
)
def test_one_or_several_series_are_chosen_by_position(found, k, ids):
    chosen = found[k]
    rows = [list(found.ids).index(name) for name in ids]
    assert list(chosen.ids) == list(ids)
    for name in ("times", "point", "quantiles"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(found, name)[rows])
    assert chosen.levels == LEVELS


def test_a_forecast_is_a_sequence_of_forecasts_of_one_series(found):
    assert [one.ids.tolist() for one in found] == [["b"], ["a"], ["c"]]
    with pytest.raises(IndexError):
        found[3]


def test_the_table_has_a_row_for_each_step(found):
    table = found.table()
    assert list(table) == [
        "unique_id",
        "ds",
        "prediction",
        *(f"prediction_q{q}" for q in ("5", "10", "50", "90", "97.5")),
    ]
    assert table["unique_id"].tolist() == list("bbaacc")
    assert table["ds"].astype(str).tolist()[1:4] == ["2024-02", "2023-12", "2024-01"]
    assert table["prediction"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["prediction_q97.5"].tolist() == [4, 5, 6, 7, 8, 9]


def test_the_columns_have_the_names_of_the_users_table(found):
    named = Forecast(found.ids, found.times, found.point, columns=("shop", "day"))
    assert list(named.table()) == ["shop", "day", "prediction"]
    clash = Forecast(found.ids, found.times, found.point, columns=("shop", "prediction"))
    with pytest.raises(DataError, match=r"a column 'prediction' of its own.*rename the user's"):
        clash.table()


@pytest.mark.parametrize("unit", ["M", "D", "s", "us", "ns"])
def test_frames_of_both_libraries_have_the_table(found, unit):
    times = found.times.astype(f"M8[{unit}]")
    dated = Forecast(found.ids, times, found.point, LEVELS, found.quantiles)
    pandas, polars = dated.to_frame(), dated.to_frame("polars")
    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    assert list(pandas.columns) == polars.columns == list(dated.table())
    for frame in (pandas, polars):
        np.testing.assert_array_equal(frame["ds"].to_numpy(), times.ravel())
        np.testing.assert_array_equal(frame["prediction_q90"].to_numpy(), found.quantiles[..., 3].ravel())
        assert frame["unique_id"].to_list() == list("bbaacc")


def test_times_that_are_numbers_stay_so(found):
    numbered = Forecast(found.ids, np.arange(6).reshape(3, 2), found.point)
    assert numbered.to_frame()["ds"].tolist() == [0, 1, 2, 3, 4, 5]


def test_another_library_is_refused(found):
    with pytest.raises(ArgumentError, match="library: expected 'pandas' or 'polars', got 'dask'"):
        found.to_frame("dask")
