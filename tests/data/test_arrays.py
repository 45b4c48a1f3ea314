"""Arrays as users have them: what is taken over, with which values and type, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glasslstm.data import arrays
from glasslstm.data.arrays import first_not_finite, joined, narrowed, series_in, unpadded
from glasslstm.errors import ArgumentTypeError, DataError


class TestSeriesIn:
    @pytest.mark.parametrize(
        "X",
        [
            [[[1, 2], [3, 4]]],
            [((1, 2), (3, 4))],
            np.array([[[1, 2], [3, 4]]], np.uint8),
            np.array([[[1, 2], [3, 4]]], object),
            [torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)],
            torch.tensor([[[1, 2], [3, 4]]], dtype=torch.bfloat16),
            [np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])],
            [pd.DataFrame({"a": [1, 3], "b": [2, 4]})],
            [pl.DataFrame({"a": [1, 3], "b": [2, 4]})],
        ],
        ids=lambda X: type(X[0]).__name__,
    )
    def test_what_numpy_reads_is_taken(self, X: Any) -> None:
        (found,) = series_in(X)
        assert found.dtype.kind == "f"
        assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]

    def test_small_whole_numbers_become_float32_and_large_ones_float64(self) -> None:
        types = {
            np.bool_: 4,
            np.int8: 4,
            np.uint16: 4,
            np.int32: 8,
            np.uint64: 8,
            np.float16: 2,
            np.float64: 8,
        }
        assert {one: series_in([np.ones((1, 1), one)])[0].itemsize for one in types} == types
        assert series_in([np.full((1, 1), 65535, np.uint16)])[0][0, 0] == 65535

    def test_an_object_array_of_series_of_different_lengths(self) -> None:
        X = np.empty(2, object)
        X[:] = [np.zeros((2, 1)), np.ones((3, 1))]
        assert [len(one) for one in series_in(X)] == [2, 3]

    def test_masked_values_and_none_are_missing(self) -> None:
        masked = np.ma.MaskedArray([[[1, 2], [3, 4]]], mask=[[[0, 1], [0, 0]]])
        for X in (masked, list(masked), [[[1, None], [3, 4]]]):
            np.testing.assert_array_equal(series_in(X)[0], [[1, np.nan], [3, 4]])

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            ([], "X: expected at least one series, got none"),
            (np.zeros((0, 3, 2)), "X: expected at least one series, got none"),
            (
                [np.zeros((2, 1)), np.zeros((2, 3))],
                "X: series 1 has 3 channels and series 0 has 1; all series need",
            ),
            (
                [np.zeros((2, 1)), np.zeros((0, 1))],
                r"X: series 1 is empty, shape \(0, 1\); expected at least one step",
            ),
            (
                [np.zeros((2, 0))],
                r"X: series 0 has 0 feature\(s\) \(shape=\(2, 0\)\) while a minimum of 1 is required",
            ),
            (
                [np.zeros(3)],
                r"X: series 0 has shape \(3,\), expected \(T, F\).*a single channel is array\[:, None\]",
            ),
            ([1.0, 2.0], r"X: series 0 has shape \(\), expected \(T, F\)"),
            (
                np.zeros((3, 2)),
                r"got one array of shape \(3, 2\). Reshape your data: one series of T steps is \[X\]",
            ),
            (torch.zeros(3), r"got one array of shape \(3,\)"),
            ("text", r"X: expected a list of .* got str; read a table with glasslstm.data.read_series"),
            ({"a": 1}, "got dict"),
            (7, "got int"),
            (iter([np.zeros((2, 1))]), "got list_iterator"),
            (pd.DataFrame({"a": [1]}), "X: got a dataframe; read it with glasslstm.data.read_series"),
            (pl.DataFrame({"a": [1]}), "X: got a dataframe; read it with glasslstm.data.read_series"),
            ([[[1.0, 2.0], [3.0]]], "X: series 0: this is no array: "),
            ([np.array([["a"]])], "X: series 0 has values of type <U1, expected real numbers"),
            ([np.array([["2020"]], "M8[s]")], r"X: series 0 has values of type datetime64\[s\]"),
            (
                [np.array([["a"]], object)],
                "X: series 0 has values that are not numbers: could not convert string",
            ),
            ([np.array([[1j]])], "X: series 0 has complex values. Complex data not supported"),
            ([torch.zeros(2, 2).to_sparse()], "X: series 0: this is no array: "),
        ],
    )
    def test_what_is_no_series_is_refused(self, X: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            series_in(X)

    def test_objects_that_are_no_numbers_are_a_type_error(self) -> None:
        with pytest.raises(ArgumentTypeError, match="X: series 1 has values that are not numbers"):
            series_in([[[1.0]], np.array([[{}]], object)])

    def test_sparse_matrices_are_refused(self) -> None:
        sparse = pytest.importorskip("scipy.sparse")
        with pytest.raises(DataError, match="X: sparse matrices are not supported"):
            series_in(sparse.csr_array(np.eye(3)))


class TestUnpadded:
    @pytest.mark.parametrize(
        "kind", [np.asarray, np.ndarray.tolist, torch.from_numpy], ids=["numpy", "list", "torch"]
    )
    def test_the_first_steps_of_each_row(self, kind: Any) -> None:
        padded = np.arange(12.0).reshape(2, 3, 2)
        found = unpadded(kind(padded), torch.tensor([1, 3]))
        assert [np.asarray(one).tolist() for one in found] == [[[0, 1]], [[6, 7], [8, 9], [10, 11]]]

    def test_a_gradient_and_a_mask_are_no_obstacle(self) -> None:
        (found,) = series_in(unpadded(torch.ones(1, 2, 1, requires_grad=True), [1]))
        assert found.tolist() == [[1.0]]
        (found,) = series_in(unpadded(np.ma.masked_equal([[[5.0], [1.0]]], 5), [2]))
        np.testing.assert_array_equal(found, [[np.nan], [1.0]])

    @pytest.mark.parametrize(
        ("array", "lengths", "message"),
        [
            (np.zeros((2, 3)), [1, 1], r"array: expected shape \(N, T, F\), got \(2, 3\)"),
            ([[[1.0], [2.0, 3.0]]], [1], "array: this is no array"),
            (
                np.zeros((2, 3, 1)),
                [1],
                r"lengths: expected a whole number for each of the 2 series, got int64 of shape",
            ),
            (np.zeros((2, 3, 1)), [1.0, 2.0], "lengths: expected a whole number .* got float64"),
            (np.zeros((2, 3, 1)), [True, True], "lengths: expected a whole number .* got bool"),
            (np.zeros((2, 3, 1)), [[1], [1, 2]], "lengths: this is no array"),
            (np.zeros((2, 3, 1)), [3, 0], "lengths: series 1 has 0; expected 1 to 3"),
            (np.zeros((2, 3, 1)), [4, 1], "lengths: series 0 has 4; expected 1 to 3"),
            (np.zeros((2, 3, 1)), [1, -1], "lengths: series 1 has -1; expected 1 to 3"),
        ],
    )
    def test_lengths_that_do_not_fit(self, array: Any, lengths: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            unpadded(array, lengths)


class TestNarrowed:
    @pytest.mark.parametrize(
        ("channel", "kept"),
        [
            ([1.5, 2.5, -3.1], False),
            ([1e9, 1e9 + 1, 1e9 + 2], True),
            ([1e9 + 0.1] * 7, False),  # never changes, though its computed deviation is not 0
            ([2.0**24 - 1, 2.0**24 - 2, 2.0**24 - 3], False),  # exact
            ([1.7e9, 1.7e9 + 64 * 10**4, 1.7e9 - 64 * 10**6], False),  # far apart for what is rounded
            ([1e300, 2.0], True),
            ([1e300, 1e300], True),  # infinite in float32
            ([1e-50, 2e-50, 3e-50], True),  # zero in float32
            ([np.nan] * 3, False),
            ([np.nan, 1e9, 1e9 + 1], True),
            ([np.inf, 1.0, 2.0], False),
            ([-np.inf, 1e9, 1e9 + 1], True),
            ([], False),
        ],
        ids=str,
    )
    def test_float64_is_kept_where_float32_would_blur(self, channel: list[float], kept: bool) -> None:
        values = np.stack([channel, np.zeros(len(channel))], axis=1)
        found = narrowed(values)
        assert found.dtype == (np.float64 if kept else np.float32)
        np.testing.assert_array_equal(found, values if kept else values.astype(np.float32))

    @settings(deadline=None)
    @given(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(1, 40), st.integers(1, 3)),
            elements=st.floats(-1e30, 1e30) | st.just(np.nan) | st.just(np.inf) | st.floats(1e9, 1e9 + 10),
        ),
        st.integers(1, 7),
    )
    def test_the_rule_does_not_depend_on_the_blocks(self, values: np.ndarray, rows: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            whole = narrowed(values).dtype
            patch.setattr(arrays, "_ROWS", rows)
            in_blocks = narrowed(values).dtype
        expected = np.float32
        for channel in values.T:
            fine = channel[np.isfinite(channel)]
            if len(set(fine)) > 1 and np.abs(fine - fine.astype(np.float32)).max() > 1e-4 * fine.std():
                expected = np.float64
        assert in_blocks == whole == expected

    def test_nothing_is_copied_that_has_its_type(self) -> None:
        single, double = np.ones((2, 1), np.float32), np.array([[1e9], [1e9 + 1]])
        assert narrowed(single) is single
        assert narrowed(double) is double
        assert narrowed(single.astype(np.float16)).dtype == np.float32
        assert narrowed(double.astype(np.longdouble)).dtype == np.float64


def test_first_not_finite() -> None:
    values = np.array([[0.0, 1.0], [np.nan, 2.0], [3.0, -np.inf]])
    assert first_not_finite(values, nan=True) == (1, 0)
    assert first_not_finite(values, nan=False) == (2, 1)
    assert first_not_finite(values[:1], nan=True) is None
    assert first_not_finite(values[:2], nan=False) is None


def test_numbers_are_not_joined_to_text() -> None:
    assert joined("ids", [np.array([1]), np.array([2.5])]).tolist() == [1.0, 2.5]
    assert joined("ids", [np.array(["a"]), np.array(["long"])]).tolist() == ["a", "long"]
    with pytest.raises(DataError, match="ids: expected one type and width in all, got int64 and <U1"):
        joined("ids", [np.array([1]), np.array(["a"])])
