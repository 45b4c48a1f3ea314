"""The grid, its parts by name, and sizes as a user writes them."""

from __future__ import annotations

import pytest

from glasslstm.bench.shapes import GRID, SCALING, SUBSETS, Shape, parse_shapes
from glasslstm.errors import ArgumentError


def test_single_small_and_large_are_the_grid_and_share_nothing() -> None:
    parts = [*SUBSETS["single"], *SUBSETS["small"], *SUBSETS["large"]]
    assert sorted(parts) == sorted(GRID)
    assert parse_shapes("all") == GRID
    assert {shape.B for shape in SUBSETS["single"]} == {1}
    assert max(s.B * s.H for s in SUBSETS["small"]) < min(s.B * s.H for s in SUBSETS["large"])


@pytest.mark.parametrize("shape", [*GRID, *SCALING])
def test_a_shape_is_read_as_it_is_written(shape) -> None:
    assert parse_shapes(str(shape)) == (shape,)


def test_words_are_joined_and_nothing_comes_twice() -> None:
    found = parse_shapes("5x4x3x2, single,5x4x3x2,100x1x16x32")
    assert found == (Shape(5, 4, 3, 2), *SUBSETS["single"])


@pytest.mark.parametrize("text", ["", "tiny", "5x4x3", "5x4x3x0", "5x4x3x2x1x1x1", "5x4x3x-2", "all,"])
def test_what_is_no_shape_is_refused_with_what_is_allowed(text) -> None:
    with pytest.raises(
        ArgumentError, match=r"is no shape; expected all, single, small, large, or sizes as TxBxIxH"
    ):
        parse_shapes(text)


def test_there_are_two_directions_at_most() -> None:
    with pytest.raises(ArgumentError, match="'5x4x3x2x1x3' has 3 directions; expected 1 or 2"):
        parse_shapes("5x4x3x2x1x3")


def test_operations_are_those_of_the_two_products() -> None:
    one = 2 * (64 + 128) * 4 * 128 * 100 * 32
    assert Shape(100, 32, 64, 128).flops == one
    two_layers_two_directions = 2 * one + 2 * 2 * (256 + 128) * 4 * 128 * 100 * 32
    assert Shape(100, 32, 64, 128, 2, 2).flops == two_layers_two_directions
