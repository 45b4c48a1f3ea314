"""One error names all series that no forecast can be learned from or made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from glasslstm.data import Sequences
from glasslstm.errors import ArgumentTypeError, DataError
from glasslstm.forecasting.checks import check_future, check_history
from glasslstm.forecasting.frequency import Frequency

NAN = np.nan


def histories(columns: dict[str, Any], names: tuple[str, ...] | None = ("y", "x")) -> Sequences:
    arrays = [np.array(one, np.float64).T for one in columns.values()]
    stops = np.cumsum([len(one) for one in arrays])
    starts = stops - [len(one) for one in arrays]
    return Sequences(np.concatenate(arrays), starts, stops, ids=np.array(list(columns)), channel_names=names)


GOOD = [[1, 2, 3, 4], [5, 5, 5, 5]]


def refused(series: Sequences, **arguments: Any) -> str:
    wanted: dict[str, Any] = {"steps": 4, "missing_allowed": False, **arguments}
    with pytest.raises(DataError) as caught:
        check_history(series, 0, **wanted)
    return str(caught.value)


class TestHistory:
    def test_good_ones_pass_with_a_covariate_that_is_constant(self) -> None:
        check_history(histories({"a": GOOD}), 0, steps=4, missing_allowed=False)
        gaps = histories({"a": [[1, NAN, 2], [NAN, NAN, NAN]]})
        check_history(gaps, 0, steps=3, missing_allowed=True)

    def test_too_short(self) -> None:
        series = histories({"a": GOOD, "b": [[1, 2], [0, 0]], "c": [[1, 2, 3], [0, 0, 0]]})
        assert refused(series, what="series") == (
            "series: 2 of 3 series cannot be used. Too short: 2 series ('b', 'c'), the shortest, 'b', with 2 steps, "
            "where 4 are needed; or choose a shorter context or horizon. Drop these series, or mend them"
        )

    def test_constant(self) -> None:
        series = histories({"a": GOOD, "b": [[7, NAN, 7, 7], [1, 2, 3, 4]], "c": [[0.5] * 4, [1, 2, 3, 4]]})
        assert refused(series, missing_allowed=True) == (
            "X: 2 of 3 series cannot be used. Constant target 'y': 2 series ('b', 'c'), such as 7 in all 4 steps of "
            "series 'b'; there is nothing to learn from it. Drop these series, or mend them"
        )
        check_history(series, 0, steps=4, missing_allowed=True, constant_allowed=True)
        with pytest.raises(DataError, match=r"Constant target 'x': 1 series \('a'\)"):
            check_history(series, 1, steps=4, missing_allowed=True)

    def test_missing_in_all_steps_and_channels_without_names(self) -> None:
        series = histories({"a": GOOD, "b": [[NAN] * 4, [1, 2, 3, 4]]}, names=None)
        assert refused(series, missing_allowed=True) == (
            "X: 1 of 2 series cannot be used. No target: 1 series ('b'), it is missing in all of their steps. Drop "
            "these series, or mend them"
        )

    def test_infinite_and_missing_values(self) -> None:
        series = histories(
            {"a": [[1, 2, 3, 4], [5, 5, np.inf, NAN]], "b": GOOD, "c": [[-np.inf, 2, 3, NAN], [5] * 4]}
        )
        infinite = (
            "Infinite values: 2 series ('a', 'c'), the first at step 2, channel 1 ('x') of series 'a' (counted from "
            "0), 2 values in all; replace them, or make them missing (NaN). "
        )
        end = "Drop these series, or mend them"
        begin = "X: 2 of 3 series cannot be used. "
        assert refused(series, missing_allowed=True) == begin + infinite + end
        assert refused(series) == begin + infinite + (
            "Missing values: 2 series ('a', 'c'), the first at step 3, channel 1 ('x') of series 'a' (counted from 0), "
            "2 values in all; fill them, or set missing='mask'. " + end
        )

    def test_all_kinds_come_at_once_and_ten_series_are_named(self) -> None:
        series = histories(
            {f"s{k}": [[1.0, 2.0], [0, 0]] for k in range(12)} | {"c": [[3.0] * 4, GOOD[1]], "a": GOOD}
        )
        message = refused(series)
        assert message.startswith("X: 13 of 14 series cannot be used. Too short: 12 series ('s0', 's1', ")
        assert "'s9' and 2 more), the shortest, 's0', with 2 steps" in message
        assert "Constant target 'y': 1 series ('c'), such as 3" in message

    def test_a_selection_is_checked_alone(self) -> None:
        series = histories({"a": GOOD, "b": [[7] * 4, [np.inf] * 4], "c": GOOD})
        check_history(series[[2, 0]], 0, steps=4, missing_allowed=False)
        assert refused(series[[2, 1]]).count("('b')") == 2


DAYS = np.arange("2024-02-20", "2024-03-20", dtype="M8[D]")


def past(*lengths: int, ids: tuple[str, ...] = ("a", "b", "c")) -> Sequences:
    """Histories of these lengths, from 20 February on."""
    arrays = [np.ones((length, 2)) for length in lengths]
    return Sequences.from_arrays(
        arrays, ids=ids[: len(lengths)], times=[DAYS[:k] for k in lengths], channel_names=["y", "x"]
    )


def ahead(**spans: list[int]) -> Sequences:
    """Known channels whose values are the day and its square, for some of the days."""
    arrays = [np.column_stack([one, np.square(one)]).astype(float) for one in spans.values()]
    return Sequences.from_arrays(
        arrays, ids=list(spans), times=[DAYS[one] for one in spans.values()], channel_names=["x", "z"]
    )


def future_of(history: Sequences, future: Any, known: tuple[str, ...] = ("x",), horizon: int = 3) -> Any:
    return check_future(history, future, known, horizon, Frequency("D"))


def future_refused(*arguments: Any, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        future_of(*arguments, **more)
    return str(caught.value)


class TestFuture:
    def test_the_steps_are_found_by_id_and_time(self) -> None:
        future = ahead(c=[2, 3, 4], b=[*range(20)], x=[0], a=[8, 9, 10, 11])
        found = future_of(past(8, 5, 2), future, ("z", "x"))
        assert found.dtype == np.float64
        assert found[..., 1].tolist() == [[8, 9, 10], [5, 6, 7], [2, 3, 4]]
        assert found[..., 0].tolist() == [[64, 81, 100], [25, 36, 49], [4, 9, 16]]

    def test_one_series_from_several_origins(self) -> None:
        whole = past(9)
        cuts = replace(whole[[0, 0]], stops=np.array([4, 9]))
        assert future_of(cuts, ahead(a=[*range(12)]))[..., 0].tolist() == [[4, 5, 6], [9, 10, 11]]

    def test_without_time_stamps_the_first_step_is_the_next(self) -> None:
        history = replace(past(3, 5), times=None)
        future = replace(ahead(b=[4, 5, 6], a=[1, 2, 3, 4]), times=None)
        found = check_future(history, future, ["x"], 3, Frequency(step=1.0))
        assert found[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]

    def test_numbers_may_be_a_little_beside_their_place(self) -> None:
        history = Sequences.from_arrays([np.ones((3, 1))], times=[[0.0, 0.1, 0.2]])
        future = Sequences.from_arrays([[[1.0], [2.0]]], times=[[0.1 * 3, 0.4005]], channel_names=["x"])
        assert check_future(history, future, ["x"], 2, Frequency(step=0.1)).tolist() == [[[1], [2]]]
        with pytest.raises(DataError, match="with 1 steps right after"):
            check_future(history, replace(future, times=np.array([0.3, 0.41])), ["x"], 2, Frequency(step=0.1))

    def test_nothing_known(self) -> None:
        assert future_of(past(3, 4), None, ()).shape == (2, 3, 0)

    def test_categories_have_the_codes_of_the_history(self) -> None:
        history = replace(past(2), categories={"x": ("low", "high")})
        future = replace(ahead(a=[2, 3, 4]), categories={"x": ("high", "huge", "low")})
        future.values[:, 0] = [2, 0, 1]
        assert future_of(history, future)[0, :, 0].tolist() == [0, 1, 2]

    def test_series_that_end_before_the_horizon_or_leave_a_step_out(self) -> None:
        history = past(8, 5, 2)
        assert future_refused(history, ahead(a=[8, 9], b=[5, 6, 7], c=[3, 4, 5])) == (
            "future: 2 of 3 series cannot be used. End before the horizon: 2 series ('a', 'c'), the shortest, 'c', "
            "with 0 steps right after its last, where 3 are needed; or choose a shorter horizon. Drop these series, or "
            "mend them"
        )
        assert "1 series ('b'), the shortest, 'b', with 1 steps" in future_refused(
            history, ahead(a=[8, 9, 10], b=[5, 7, 8, 9], c=[2, 3, 4])
        )
        assert "1 series ('b'), the shortest, 'b', with 0 steps" in future_refused(
            history, ahead(a=[8, 9, 10], b=[0, 1, 2], c=[2, 3, 4])
        )

    def test_missing_and_infinite_values_only_where_they_are_needed(self) -> None:
        future = ahead(a=[*range(14)], b=[5, 6, 7])
        future.values[[0, 12]] = np.nan
        assert future_of(past(8, 5), future).shape == (2, 3, 1)
        future.values[9, 0], future.values[15, 1] = np.nan, np.inf
        assert future_refused(past(8, 5), future, ("x", "z")) == (
            "future: 2 of 2 series cannot be used. Missing or infinite values: 2 series ('a', 'b'), such as 'x' of "
            "series 'a' in step 2 of the 3; fill them in. Drop these series, or mend them"
        )

    def test_what_is_not_there(self) -> None:
        history, future = past(8, 5, 2), ahead(a=[8, 9, 10])
        assert future_refused(history, None, ("x", "z")) == (
            "future: the forecast needs 'x', 'z' of the 3 steps after each series; give them"
        )
        assert future_refused(history, future) == (
            "future: 2 of 3 series are not in it: 'b', 'c'; give 'x' of each series"
        )
        assert future_refused(history, future, ("x", "w")) == (
            "future: there is no channel 'w'; expected 'x', 'w', got 'x', 'z'"
        )
        assert future_refused(history, replace(future, channel_names=None)) == (
            "future: there is no channel 'x'; expected 'x', got channels without names"
        )
        assert future_refused(history, future[[0, 0]]) == (
            "future: these ids are there more than once: 'a'; give each once"
        )
        assert future_refused(history, replace(future, times=None)) == (
            "future: it has no time stamps, and the series have; give both with them, or both without"
        )
        assert "it has time stamps, and the series have none" in future_refused(
            replace(history, times=None), future
        )
        assert future_refused(history, replace(future, times=np.arange(3))) == (
            "future: its time stamps are int64, and those of the series datetime64[D]; give both as dates, or both as "
            "numbers"
        )
        with pytest.raises(ArgumentTypeError, match=r"future: expected a Sequences .*, got dict"):
            future_of(history, {})
