"""The container against naive loops: rows, batches, windows, times and joined parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data.sequences import Intervals, Sequences, as_numbers
from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def _arrays(lengths: list[int], channels: int = 2) -> list[np.ndarray]:
    """Series in which every value is another one."""
    edges = np.cumsum([0, *lengths])
    values = np.arange(edges[-1] * channels, dtype=np.float32).reshape(-1, channels)
    return [values[a:b] for a, b in pairwise(edges)]


def _series(lengths: list[int], **beside: Any) -> Sequences:
    return Sequences.from_arrays(_arrays(lengths), **beside)


def _whole(lengths: list[int]) -> Sequences:
    """Series with everything that a series can have."""
    return replace(
        _series(
            lengths,
            ids=[f"id {k}" for k in range(len(lengths))],
            channel_names=["a", "b"],
            times=[np.arange(n) + 100 * k for k, n in enumerate(lengths)],
            targets=np.arange(len(lengths)) * 1.5,
            step_targets=[np.full(n, k) for k, n in enumerate(lengths)],
            static=np.arange(len(lengths))[:, None],
            static_names=["age"],
        ),
        target_names=("dose",),
        categories={"b": ("x", "y")},
    )


def _same(found: Any, expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


class TestConstruction:
    def test_from_arrays_keeps_the_values_and_all_that_is_beside_them(self) -> None:
        series = _whole([3, 1, 4])
        assert _same(series, _arrays([3, 1, 4]))
        assert series.values.dtype == np.float32
        assert (series.channels, series.steps, len(series)) == (2, 8, 3)
        assert series.offsets.tolist() == [0, 3, 4, 8]
        assert series.ids.tolist() == ["id 0", "id 1", "id 2"]
        assert series.channel_names == ("a", "b")
        assert series.times is not None
        assert series.times.tolist() == [0, 1, 2, 100, 200, 201, 202, 203]
        assert series.targets is not None
        assert series.targets.tolist() == [0.0, 1.5, 3.0]
        assert series.step_targets is not None
        assert series.step_targets.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
        assert series.static is not None
        assert series.static.tolist() == [[0.0], [1.0], [2.0]]
        assert series.static_names == ("age",)

    def test_ids_are_positions_by_default_and_are_kept_by_a_selection(self) -> None:
        series = _series([2, 3, 4])
        assert series.ids.tolist() == [0, 1, 2]
        assert series[[2, 0]].ids.tolist() == [2, 0]

    def test_repr_is_short(self) -> None:
        assert repr(_series([2, 3])) == "Sequences(2 series, 5 steps, 2 channels, float32)"

    def test_the_values_are_a_copy(self) -> None:
        given_array = np.zeros((2, 3, 1), np.float32)
        series = Sequences.from_arrays(given_array)
        given_array += 1
        assert not series.values.any()

    def test_sequences_are_given_back_and_checked(self) -> None:
        series = Sequences.from_arrays([[[np.nan]]], missing="mask")
        assert Sequences.from_arrays(series, missing="mask") is series
        with pytest.raises(DataError, match="series 0 has NaN at step 0, channel 0"):
            Sequences.from_arrays(series)

    @pytest.mark.parametrize(
        "beside",
        [
            {"ids": [1]},
            {"channel_names": ["a"]},
            {"times": [[1]]},
            {"targets": [1]},
            {"step_targets": [[1]]},
            {"static": [[1]]},
            {"static_names": ["a"]},
        ],
        ids=lambda beside: next(iter(beside)),
    )
    def test_nothing_beside_sequences_is_left_out_in_silence(self, beside: dict[str, Any]) -> None:
        series = Sequences.from_arrays([[[1.0]]])
        with pytest.raises(ArgumentError, match=f"{next(iter(beside))}: X is a Sequences, which has its own"):
            Sequences.from_arrays(series, **beside)

    @pytest.mark.parametrize(
        ("beside", "message"),
        [
            ({"ids": [1]}, r"ids: expected one for each of the 2 series, got shape \(1,\)"),
            ({"ids": [[1], [2]]}, r"ids: expected one for each of the 2 series, got shape \(2, 1\)"),
            ({"targets": 3}, r"targets: expected one for each of the 2 series, got shape \(\)"),
            ({"targets": [[1], [1, 2]]}, "targets: this is no array: "),
            ({"targets": np.zeros((2, 1, 1))}, r"targets: .*got shape \(2, 1, 1\)"),
            ({"channel_names": ["a"]}, "channel_names: expected 2, one for each channel of X, got 1"),
            (
                {"channel_names": ["a", "a"]},
                r"channel_names: expected different names, as text, got \['a', 'a'\]",
            ),
            ({"channel_names": [1, 2]}, r"channel_names: expected different names, as text, got \[1, 2\]"),
            (
                {"static": [[1.0]]},
                r"static: expected \(N, G\) with a row for each of the 2 series, got \(1, 1\)",
            ),
            ({"static": [1.0, 2.0]}, r"static: expected \(N, G\).*got \(2,\)"),
            ({"static": [["a"], ["b"]]}, r"static: expected numbers, \(N, G\): could not convert"),
            (
                {"static": [[0, 1], [2, np.nan]]},
                "static: series 1 has nan in column 1; fill or drop it first",
            ),
            (
                {"static": [[0], [1]], "static_names": ["a", "b"]},
                "static_names: expected 1, one for each static feature, got 2",
            ),
            ({"static_names": ["a"]}, "static_names: there are no static features that they could name"),
            ({"step_targets": [[1, 2]]}, "step_targets: expected one array for each of the 2 series, got 1"),
            ({"step_targets": 5}, "step_targets: expected one array for each of the 2 series, got int"),
            (
                {"step_targets": [[1, 2], [1, 2]]},
                r"step_targets: series 1 has 3 steps; expected shape \(3,\), got \(2,\)",
            ),
            (
                {"step_targets": [["a", "b"], [1, 2, 3]]},
                "step_targets: expected one type and width in all, got <U1 and int64",
            ),
            ({"missing": "fill"}, "missing: expected 'error' or 'mask', got 'fill'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, beside: dict[str, Any], message: str) -> None:
        with pytest.raises((ArgumentError, DataError), match=message):
            _series([2, 3], **beside)

    def test_static_names_may_be_an_array_and_have_a_default(self) -> None:
        assert _series([1], static=[[1, 2]], static_names=np.array(["a", "b"])).static_names == ("a", "b")
        assert _series([1], static=[[1, 2]]).static_names == ("static_0", "static_1")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ids": np.arange(5)}, "ids: expected 2, got 5"),
            ({"stops": np.array([3])}, "stops: expected 2, got 1"),
            (
                {"static": np.zeros((2, 3)), "static_names": ("a",)},
                r"static_names: expected one for each column of static, of shape \(2, 3\), got 1",
            ),
            ({"times": np.arange(4)}, "times: expected 5, got 4"),
            ({"targets": np.arange(3)}, "targets: expected 2, got 3"),
            ({"step_targets": np.arange(2)}, "step_targets: expected 5, got 2"),
            ({"channel_names": ("a",)}, "channel_names: expected 2, got 1"),
            ({"values": np.zeros(5)}, r"values: expected \(S, F\), got shape \(5,\)"),
            (
                {"stops": np.array([2, 6])},
                "series 1 has the rows from 2 to before 6; expected one or more, within 0 to 5",
            ),
            ({"stops": np.array([0, 5])}, "series 0 has the rows from 0 to before 0"),
            ({"starts": np.array([-1, 2])}, "series 0 has the rows from -1 to before 2"),
            ({"horizon": 1}, "series 1 has the rows from 2 to before 5; expected one or more, within 0 to 4"),
        ],
    )
    def test_parts_that_do_not_fit_together_are_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            replace(_series([2, 3]), **changes)

    @settings(deadline=None)
    @given(LENGTHS)
    def test_unpadding_undoes_padding(self, lengths: list[int]) -> None:
        series = _series(lengths)
        padded, found = series.pad(range(len(series)))
        again = Sequences.from_padded(padded.transpose(1, 0, 2), found)
        assert found.tolist() == lengths
        assert _same(again, list(series))


class TestFinite:
    def test_the_first_nan_is_named_with_its_place_and_share(self) -> None:
        arrays = _arrays([3, 4])
        values = [arrays[0], arrays[1].copy()]
        values[1][2, 1] = np.nan
        values[1][3, 0] = np.inf
        with pytest.raises(DataError) as caught:
            Sequences.from_arrays(values, channel_names=["p", "q"])
        assert str(caught.value) == (
            "X: series 1 has NaN at step 2, channel 1 ('q') (all counted from 0; 2 of 14 values, 14.29%, are NaN or "
            "infinite); fill or drop them first, or set missing='mask'"
        )
        with pytest.raises(DataError) as caught:
            Sequences.from_arrays(values, missing="mask")
        assert str(caught.value) == (
            "X: series 1 has infinity (inf) at step 3, channel 0 (all counted from 0; 1 of 14 values, 7.14%, are "
            "infinite); fill or drop them first"
        )

    def test_all_series_that_have_such_values_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = [array.copy() for array in _arrays([3, 4, 2, 5])]
        arrays[1][2, 1] = arrays[3][0] = np.nan
        series = Sequences.from_arrays(arrays, ids=["a", "b", "c", "d"], missing="mask")
        blocks = Sequences.blocks
        monkeypatch.setattr(Sequences, "blocks", lambda self: blocks(self, 7))
        with pytest.raises(
            DataError, match=r"3 of 28 values.* missing='mask'; 2 series have this: 'b', 'd'$"
        ):
            Sequences.from_arrays(series)
        with pytest.raises(
            DataError, match=r"3 of 24 values.* missing='mask'; 2 series have this: 'd', 'b'$"
        ):
            Sequences.from_arrays(series[[3, 0, 1, 0]][[0, 2, 1]])

    def test_a_selection_is_searched_in_its_own_order_and_only_there(self) -> None:
        arrays = [array.copy() for array in _arrays([3, 4, 2])]
        arrays[1][2, 1] = np.nan
        series = Sequences.from_arrays(arrays, missing="mask")
        assert series.first_not_finite() == (1, 2, 1)
        assert series.first_not_finite(nan=False) is None
        assert series[[2, 0, 1]].first_not_finite() == (2, 2, 1)
        assert series[[2, 0]].first_not_finite() is None
        assert series.select([]).first_not_finite() is None

    def test_the_first_step_of_a_series_is_not_the_end_of_the_one_above(self) -> None:
        series = Sequences.from_arrays([[[1.0]], [[np.nan], [2.0]]], missing="mask")
        assert series.first_not_finite() == (1, 0, 0)

    def test_a_place_in_a_later_block_is_right(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = [array.copy() for array in _arrays([3, 4, 2, 5])]
        arrays[3][4, 0] = np.nan
        series = Sequences.from_arrays(arrays, missing="mask")
        blocks = Sequences.blocks
        monkeypatch.setattr(Sequences, "blocks", lambda self: blocks(self, 5))
        assert series.first_not_finite() == (3, 4, 0)

    def test_windows_say_in_which_window_and_step_it_is(self) -> None:
        values = np.zeros((6, 1))
        values[3] = np.nan
        windows = Sequences.from_arrays([values], missing="mask").windows(3)
        assert windows.first_not_finite() == (1, 2, 0)
        assert windows.mask[:, 0].tolist() == [False] * 3 + [False, False, True] + [False, True, False] + [
            True,
            False,
            False,
        ]


class TestSelection:
    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            (slice(1, 3), [1, 2]),
            (slice(None, None, -1), [3, 2, 1, 0]),
            (slice(-2, None), [2, 3]),
            ([-1, 0, 0], [3, 0, 0]),
            (np.array([True, False, False, True]), [0, 3]),
            ([False, True, False, False], [1]),
            (np.array([2], np.uint8), [2]),
            ([], []),
            (range(1, 3), [1, 2]),
        ],
        ids=str,
    )
    def test_series_of_a_key_share_the_values(self, key: Any, expected: list[int]) -> None:
        whole = _whole([3, 1, 4, 2])
        part = whole[key]
        assert part.values is whole.values
        assert part.times is whole.times
        assert part.step_targets is whole.step_targets
        assert _same(part, [_arrays([3, 1, 4, 2])[k] for k in expected])
        assert part.ids.tolist() == [f"id {k}" for k in expected]
        assert part.targets is not None
        assert part.targets.tolist() == [1.5 * k for k in expected]
        assert part.static is not None
        assert part.static[:, 0].tolist() == expected
        assert part.categories == whole.categories

    def test_one_series_is_a_view(self) -> None:
        series = _series([3, 1, 4])
        assert np.shares_memory(series[1], series.values)
        assert np.array_equal(series[-1], series[np.int64(2)])
        assert np.array_equal(series[2], _arrays([3, 1, 4])[2])

    @pytest.mark.parametrize("k", [3, -4])
    def test_a_series_that_is_not_there(self, k: int) -> None:
        with pytest.raises(IndexError, match=f"series {k} is out of range: there are 3"):
            _series([3, 1, 4])[k]

    @pytest.mark.parametrize("key", [[0.5], np.array(1), [[0, 1]], [True, False], ["a"]], ids=str)
    @pytest.mark.parametrize("method", ["select", "rows", "pad", "__getitem__"])
    def test_what_is_neither_positions_nor_a_mask_is_refused(self, method: str, key: Any) -> None:
        with pytest.raises(
            ArgumentTypeError, match=r"indices: expected whole numbers, \(K,\), or a mask of 3"
        ):
            getattr(_series([3, 1, 4]), method)(key)

    def test_a_mask_is_no_list_of_zeros_and_ones(self) -> None:
        series = _series([3, 1, 4])
        mask = np.array([False, False, True])
        assert series.select(mask).lengths.tolist() == [4]
        assert series.pad(mask)[1].tolist() == [4]
        assert series.rows(mask).tolist() == [4, 5, 6, 7]

    def test_no_series_at_all(self) -> None:
        none = _whole([3, 1]).select([])
        assert (len(none), none.steps, none.offsets.tolist(), list(none.batches(2, 10))) == (0, 0, [0], [])
        assert none.rows().tolist() == []
        assert none.mask.shape == (0, 2)
        assert none.intervals() is None
        assert list(none.blocks()) == []
        padded, lengths = none.pad([])
        assert padded.shape == (0, 0, 2)
        assert lengths.tolist() == []
        assert len(none.windows(2)) == 0

    @settings(deadline=None)
    @given(LENGTHS, st.data())
    def test_rows_are_those_of_the_series_one_below_the_other(
        self, lengths: list[int], data: st.DataObject
    ) -> None:
        series = _series(lengths)
        chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1)))
        expected = [row for k in chosen for row in range(series.starts[k], series.stops[k])]
        assert series.rows(chosen).tolist() == expected
        assert series.select(chosen).rows().tolist() == expected

    @settings(deadline=None)
    @given(LENGTHS, st.data())
    def test_padding_is_a_loop(self, lengths: list[int], data: st.DataObject) -> None:
        series = _series(lengths)
        chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1))
        expected = np.zeros((max(lengths[k] for k in chosen), len(chosen), 2))
        for b, k in enumerate(chosen):
            expected[: lengths[k], b] = series[k]
        padded, found = series.pad(chosen)
        assert np.array_equal(padded, expected)
        assert found.tolist() == [lengths[k] for k in chosen]

    def test_rows_of_one_dimension_are_padded_too(self) -> None:
        series = _whole([1, 3])
        assert series.step_targets is not None
        padded = series.pad_rows(series.step_targets + 5, np.array([1, 0]))
        assert padded.tolist() == [[6, 5], [6, 0], [6, 0]]

    def test_mapped_values_stay_on_disk(self, tmp_path: Path) -> None:
        mapped = np.memmap(tmp_path / "values", np.float32, "w+", shape=(10, 2))
        mapped[:] = np.arange(20).reshape(10, 2)
        series = Sequences(mapped, np.array([0, 4]), np.array([4, 10]), times=np.arange(10))
        rest, part = series.split(0.5, by_time=True)
        for one in (series.select([1]), series.windows(3), rest, part):
            assert one.values is mapped
        assert np.shares_memory(series[1], mapped)
        assert all(np.shares_memory(values, mapped) for _, values in series.blocks())
        padded, _ = series.pad([1])
        assert type(padded) is np.ndarray
        assert padded[:, 0].tolist() == mapped[4:].tolist()


class TestBatchesAndBlocks:
    @settings(deadline=None)
    @given(LENGTHS, st.integers(1, 6), st.integers(1, 30))
    def test_batches_have_each_series_once_within_the_limits(
        self, lengths: list[int], size: int, steps: int
    ) -> None:
        batches = list(_series(lengths).batches(size, steps))
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        longest = [[lengths[k] for k in batch] for batch in batches]
        for one, following in zip(longest, [*longest[1:], None], strict=True):
            assert len(one) == 1 or len(one) * max(one) <= steps
            assert len(one) <= size
            if following is not None:  # as few batches as the limits allow
                assert len(one) == size or (len(one) + 1) * following[0] > steps
                assert max(one) <= min(following)

    def test_padding_is_little(self) -> None:
        lengths = np.random.default_rng(0).integers(10, 200, 1000)
        series = Sequences.from_arrays([np.zeros((n, 1), np.float32) for n in lengths])
        padded = sum(len(batch) * max(lengths[batch]) for batch in series.batches(32, 1 << 20))
        assert series.steps <= padded < 1.05 * series.steps

    @pytest.mark.parametrize(("size", "steps", "name"), [(0, 10, "size"), (-3, 10, "size"), (2, 0, "steps")])
    def test_batches_of_nothing_are_refused(self, size: int, steps: int, name: str) -> None:
        with pytest.raises(ArgumentError, match=f"{name}: expected 1 or more, got {min(size, steps)}"):
            next(_series([3]).batches(size, steps))

    @settings(deadline=None)
    @given(LENGTHS, st.integers(1, 20), st.data())
    def test_blocks_have_every_row_once_in_order(
        self, lengths: list[int], steps: int, data: st.DataObject
    ) -> None:
        series = _series(lengths)
        series = series.select(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1)))
        blocks = list(series.blocks(steps))
        assert np.concatenate([chosen for chosen, _ in blocks]).tolist() == list(range(len(series)))
        for chosen, values in blocks:
            assert np.array_equal(values, np.concatenate([series[int(k)] for k in chosen]))
            assert len(values) <= steps or len(chosen) == 1

    def test_blocks_are_as_full_as_may_be(self) -> None:
        assert [chosen.tolist() for chosen, _ in _series([2, 2, 1, 3, 9, 1]).blocks(4)] == [
            [0, 1],
            [2, 3],
            [4],
            [5],
        ]

    def test_blocks_are_views_where_series_stand_together_and_copies_where_not(self) -> None:
        series = _series([2, 3, 4])
        assert all(np.shares_memory(values, series.values) for _, values in series.blocks())
        ((_, gathered),) = series[[0, 2]].blocks()
        assert np.array_equal(gathered, np.concatenate([series[0], series[2]]))
        windows = series.windows(2)
        assert np.array_equal(
            np.concatenate([v for _, v in windows.blocks(5)]), np.concatenate(list(windows))
        )


class TestWindows:
    @settings(deadline=None)
    @given(
        st.lists(st.integers(9, 20), min_size=1, max_size=5),
        st.integers(1, 6),
        st.integers(1, 5),
        st.integers(0, 3),
    )
    def test_windows_are_a_loop(self, lengths: list[int], length: int, stride: int, horizon: int) -> None:
        series = _whole(lengths)
        windows = series.windows(length, stride=stride, horizon=horizon, target="b" if horizon else None)
        expected, owners, targets = [], [], []
        for k, values in enumerate(series):
            for start in range(0, len(values) - length - horizon + 1, stride):
                expected.append(values[start : start + length])
                targets.append(values[start + length : start + length + horizon, 1])
                owners.append(k)
        assert _same(windows, expected)
        assert windows.values is series.values
        assert windows.ids.tolist() == [f"id {k}" for k in owners]
        assert windows.static is not None
        assert windows.static[:, 0].tolist() == owners
        assert windows.targets is not None
        wanted = (
            [1.5 * k for k in owners]
            if not horizon
            else np.array(targets)[:, slice(None) if horizon > 1 else 0]
        )
        assert np.array_equal(windows.targets, wanted)
        assert windows.target_names == (() if horizon else ("dose",))

    def test_windows_of_a_selection(self) -> None:
        windows = _series([3, 4, 5])[[2, 0]].windows(3, stride=2)
        assert windows.ids.tolist() == [2, 2, 0]
        assert windows.starts.tolist() == [7, 9, 0]

    def test_windows_of_windows(self) -> None:
        assert _same(_series([4]).windows(3).windows(2), [_arrays([4])[0][a : a + 2] for a in (0, 1, 1, 2)])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"length": 0}, "length: expected a whole number of 1 or more, got 0"),
            ({"length": 2.0}, "length: expected a whole number of 1 or more, got 2.0"),
            ({"length": 2, "stride": 0}, "stride: expected a whole number of 1 or more, got 0"),
            ({"length": 2, "horizon": -1}, "horizon: expected a whole number of 0 or more, got -1"),
            ({"length": 2, "target": 0}, "horizon: a target needs one of 1 or more, got 0"),
            ({"length": 2, "horizon": 1, "target": "c"}, "target: 'c' is no channel; expected one of a, b"),
            ({"length": 2, "horizon": 1, "target": -1}, "target: -1 is no channel; expected one of a, b"),
            ({"length": 2, "horizon": 1, "target": 2}, "target: 2 is no channel"),
            (
                {"length": 3, "horizon": 1},
                "series id 1 has 3 steps, and a window of 3 with a horizon of 1 needs 4; 1 of 2 series are too short",
            ),
        ],
        ids=str,
    )
    def test_what_makes_no_windows_is_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises((ArgumentError, DataError), match=message):
            _whole([5, 3]).windows(**arguments)

    def test_a_channel_without_a_name(self) -> None:
        with pytest.raises(ArgumentError, match="target: 'a' is no channel; expected one of 0 to 1"):
            _series([5]).windows(2, horizon=1, target="a")

    def test_windows_with_a_horizon_make_no_more_windows(self) -> None:
        windows = _series([6]).windows(3, horizon=2, target=0)
        with pytest.raises(ArgumentError, match="these are windows with a horizon of 2 already"):
            windows.windows(2)


class TestTimes:
    def test_intervals_do_not_reach_from_one_series_to_the_next(self) -> None:
        series = _series([3, 1, 4], times=[[0.0, 2.0, 4.0], [7.0], [0.0, 2.0, 4.5, 6.5]])
        assert series.intervals() == Intervals(2.0, 1, 5)
        assert str(series.intervals()) == "median step 2; 1 of 5 steps (20.0%) differ from it"
        assert series[[2, 0]].intervals() == Intervals(2.0, 1, 5)
        assert series[[0]].intervals() == Intervals(2.0, 0, 2)
        assert series[[1]].intervals() is None
        assert _series([3]).intervals() is None
        assert str(Intervals(1.0, 0, 0)) == "median step 1; 0 of 0 steps (0.0%) differ from it"

    def test_dates_are_measured_in_seconds_to_the_nanosecond(self) -> None:
        times = np.datetime64("2026-01-01", "ns") + np.array([0, 100, 200, 302])
        series = _series([4], times=[times])
        assert series.times is not None
        assert series.times.dtype == "M8[ns]"
        found = series.intervals()
        assert found is not None
        assert found.median == pytest.approx(1e-7, rel=1e-12)
        assert (found.irregular, found.steps) == (1, 3)
        months = _series([3], times=[np.array(["2025-01", "2025-02", "2025-03"], "M8[M]")]).intervals()
        assert months is not None
        assert months.median == 29.5 * 86400

    def test_large_whole_numbers_are_not_rounded_together(self) -> None:
        base = 1_700_000_000_000_000_000
        assert _series([3], times=[[base, base + 1, base + 2]]).intervals() == Intervals(1.0, 0, 2)
        unsigned = np.array([1, 2, 4], np.uint8)
        assert _series([3, 3], times=[unsigned, unsigned]).intervals() == Intervals(1.5, 4, 4)

    def test_as_numbers(self) -> None:
        assert as_numbers(np.array(["1970-01-02T00:00:00.5"], "M8[ms]")).tolist() == [86400.5]
        assert as_numbers(np.array([3], np.uint8)).tolist() == [3.0]

    @pytest.mark.parametrize(
        ("times", "message"),
        [
            ([[0, 1], [0, 2, 2]], "of series 1, that of step 2 does not rise from the one before; sort"),
            ([[1, 0], [0, 1, 2]], "of series 0, that of step 1 does not rise"),
            ([[0, 1], [0.0, np.nan, 2]], "of series 1, that of step 1 is missing or infinite"),
            ([[0, 1], [0.0, 1, np.inf]], "of series 1, that of step 2 is missing or infinite"),
            (
                [np.array(["NaT", "2020"], "M8[s]"), np.array(["2020", "2021", "2022"], "M8[s]")],
                "of series 0, that of step 0 is missing",
            ),
            ([[0, 1]], "expected one array for each of the 2 series, got 1"),
            ([[0, 1], [0, 1]], r"series 1 has 3 steps; expected shape \(3,\), got \(2,\)"),
            ([["a", "b"], ["a", "b", "c"]], r"expected numbers or dates \(numpy.datetime64\), got <U1"),
            (
                [[0, 1], np.array(["2020", "2021", "2022"], "M8[s]")],
                "expected one type and width in all, got int64 and",
            ),
            ([[0, 1], [[0], [1, 2], 3]], "this is no array"),
        ],
    )
    def test_times_that_are_none(self, times: Any, message: str) -> None:
        with pytest.raises(DataError, match=f"^times: {message}"):
            _series([2, 3], times=times)

    def test_all_series_with_times_that_do_not_rise_are_named(self) -> None:
        with pytest.raises(
            DataError, match=r"^times: of series 0, .* drop duplicates; 2 series have this: 0, 2$"
        ):
            _series([2, 1, 3], times=[[1, 1], [0], [0, 2, 1]])

    def test_a_series_may_start_before_the_one_above_it_ends(self) -> None:
        series = _series([2, 2], times=[[5, 6], [5, 6]])
        assert series.times is not None
        assert series.times.tolist() == [5, 6, 5, 6]


class TestConcatenate:
    @settings(deadline=None)
    @given(LENGTHS, st.integers(0, 12))
    def test_the_parts_become_the_whole(self, lengths: list[int], at: int) -> None:
        whole = _whole(lengths)
        again = Sequences.concatenate([whole[:at], whole[at:]])
        assert _same(again, list(whole))
        for name in ("ids", "times", "targets", "step_targets", "static", "values", "starts", "stops"):
            assert np.array_equal(getattr(again, name), getattr(whole, name)), name
        assert (again.channel_names, again.categories) == (whole.channel_names, whole.categories)

    def test_only_the_rows_that_are_used_are_taken_along(self) -> None:
        whole = _series([3, 4, 5])
        again = Sequences.concatenate([whole[1:2], whole[2:]])
        assert len(again.values) == 9
        assert not np.shares_memory(again.values, whole.values)
        assert _same(again, _arrays([3, 4, 5])[1:])

    def test_parts_between_each_other_share_what_they_are_from(self) -> None:
        whole = _whole([3, 4, 5, 6])
        again = Sequences.concatenate([whole[::2], whole[1::2]])
        assert again.values is whole.values
        assert again.times is whole.times
        assert _same(again, [whole[k] for k in (0, 2, 1, 3)])
        assert again.ids.tolist() == whole.ids[[0, 2, 1, 3]].tolist()

    def test_order_and_overlap_are_kept(self) -> None:
        windows = _whole([6, 7]).windows(3, horizon=1, target="a")
        parts = [windows[[3, 0]], windows[5:]]
        again = Sequences.concatenate(parts)
        assert _same(again, [*parts[0], *parts[1]])
        assert again.horizon == 1
        assert again.times is not None
        assert windows.times is not None
        after = [windows.times[stop] for part in parts for stop in part.stops]
        assert again.times[again.stops].tolist() == after

    def test_the_wider_type_is_kept(self) -> None:
        wide = Sequences.from_arrays([[[1e9], [1e9 + 1]]])
        assert wide.values.dtype == np.float64
        again = Sequences.concatenate([Sequences.from_arrays([[[1.0]]]), wide])
        assert again.values.tolist() == [[1.0], [1e9], [1e9 + 1]]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"channel_names": ("a", "c")},
                r"channel_names: part 1 has \('a', 'c'\) and part 0 has \('a', 'b'\)",
            ),
            ({"static_names": ("size",)}, "static_names: part 1 has"),
            ({"target_names": ("x",)}, "target_names: part 1 has"),
            ({"categories": {"a": ("x",)}}, "categories: part 1 has"),
            ({"targets": None}, "targets: 1 of 2 parts have them; give them to all, or to none"),
            ({"times": None}, "times: 1 of 2 parts have them"),
            (
                {"targets": np.array(["a", "b"])},
                "targets: expected one type and width in all, got float64 and <U1",
            ),
            (
                {"targets": np.zeros((2, 3))},
                r"targets: expected one type and width in all, got \(2,\) and \(2, 3\)",
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_parts_that_differ_are_refused(self, changes: dict[str, Any], message: str) -> None:
        whole = _whole([3, 4])
        with pytest.raises(DataError, match=message):
            Sequences.concatenate([whole, replace(whole, **changes)])

    def test_other_channels_and_no_parts(self) -> None:
        with pytest.raises(DataError, match="channels: part 1 has 3 and part 0 has 2"):
            Sequences.concatenate([_series([2]), Sequences.from_arrays(np.zeros((1, 2, 3)))])
        with pytest.raises(DataError, match="parts: expected at least one, got none"):
            Sequences.concatenate([])

    def test_empty_parts_bring_nothing(self) -> None:
        whole = _whole([3, 4])
        assert _same(Sequences.concatenate([whole.select([]), whole]), list(whole))
        assert len(Sequences.concatenate([whole.select([]), whole.select([])])) == 0


def test_parts_with_other_categories_get_codes_that_mean_the_same() -> None:
    def part(codes: list[float], texts: tuple[str, ...], static: float) -> Sequences:
        values = np.array([[1.0, code] for code in codes], np.float32)
        made = Sequences.from_arrays([values], missing="mask", channel_names=["x", "valve"])
        made = made.with_static([[static]], ["maker"])
        return replace(made, categories={"valve": texts, "maker": texts})

    one, other = part([0, 1, np.nan], ("open", "shut"), 1.0), part([1, 0], ("jammed", "shut"), 0.0)
    both = Sequences.concatenate([one, other])
    assert both.categories == dict.fromkeys(("valve", "maker"), ("open", "shut", "jammed"))
    np.testing.assert_array_equal(both.values[:, 1], [0, 1, np.nan, 1, 2])
    np.testing.assert_array_equal(both.static, [[1.0], [2.0]])
    np.testing.assert_array_equal(other.values[:, 1], [1, 0])  # as it was
