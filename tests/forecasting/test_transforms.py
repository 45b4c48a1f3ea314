"""The transforms undo themselves, and the one that is found is the one that a hand-made Guerrero measure names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glasslstm.forecasting.transforms import TRANSFORMS, found_transform

NAMES = ("none", "sqrt", "log1p", "log")
EPSILON = np.finfo(np.float64).eps


@pytest.mark.parametrize("name", NAMES)
@given(values=st.lists(st.floats(1e-150, 1e150), min_size=1))
def test_there_and_back_is_the_identity(name: str, values: list[float]) -> None:
    y = np.array(values)
    one = TRANSFORMS[name]
    assert one.takes(y).all()
    # A rounding of the transformed value z moves y by |z| roundings of a logarithm, and by two of a root.
    bound = 4 * EPSILON * (1 + np.abs(np.log(y)) * (name in ("log", "log1p")))
    assert (np.abs(one.back(one.forward(y)) - y) <= bound * y).all()


@pytest.mark.parametrize(
    ("name", "transformed"), [("none", 9.0), ("sqrt", 3.0), ("log1p", np.log(10.0)), ("log", np.log(9.0))]
)
def test_each_is_what_it_is_called(name: str, transformed: float) -> None:
    assert TRANSFORMS[name].forward(np.array([9.0]))[0] == pytest.approx(transformed, rel=1e-15)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("none", [1, 1, 1, 0, 0]),
        ("sqrt", [0, 1, 1, 0, 1]),
        ("log1p", [0, 1, 1, 0, 1]),
        ("log", [0, 0, 1, 0, 1]),
    ],
)
def test_what_each_takes(name: str, taken: list[int]) -> None:
    found = TRANSFORMS[name].takes(np.array([-1.0, 0.0, 2.0, np.nan, np.inf]))
    np.testing.assert_array_equal(found, np.array(taken, bool))


@given(st.lists(st.floats(-700, 700), min_size=1))
def test_the_way_back_rises_and_stays_where_the_values_are(numbers: list[float]) -> None:
    z = np.sort(numbers)
    for name, least in (("sqrt", 0.0), ("log1p", 0.0), ("log", np.finfo(np.float64).tiny / 1e4)):
        y = TRANSFORMS[name].back(z)
        assert (y >= least).all(), name
        assert (np.diff(y) >= 0).all(), name


@pytest.mark.parametrize("name", NAMES)
def test_zero_and_a_missing_value_stay_themselves(name: str) -> None:
    one = TRANSFORMS[name]
    if name != "log":
        assert one.back(one.forward(np.zeros(1)))[0] == 0
    assert np.isnan(one.back(one.forward(np.array([np.nan])))[0])


def stretches(power: float, levels: Any, length: int = 12) -> NDArray[np.float64]:
    """Return stretches whose spread is proportional to level^(1 - power)."""
    wave = np.sin(2 * np.pi * np.arange(length) / length)
    return np.concatenate([m + 0.3 * m ** (1 - power) * wave for m in levels])


RISING = [4.0, 9.0, 20.0, 50.0, 70.0]


@pytest.mark.parametrize(("power", "name"), [(1.0, "none"), (0.5, "sqrt"), (0.0, "log")])
def test_the_power_is_found_that_steadies_the_spread(power: float, name: str) -> None:
    y = stretches(power, RISING)
    assert found_transform([y], 12) == name
    assert found_transform([1e6 * stretches(power, RISING)], 12) in ("none", "sqrt", "log")
    gaps = np.insert(y, [3, 30], np.nan)
    assert found_transform([gaps], 12) == name
    np.testing.assert_array_equal(gaps, np.insert(y, [3, 30], np.nan))


def test_rare_counts_are_kept_at_0_or_more() -> None:
    assert found_transform([np.zeros(48)], 12) == "sqrt"
    assert found_transform([np.where(np.arange(48) % 20, 0.0, 3.0)], 12) in ("sqrt", "log1p")


def test_growth_with_zeros_is_that_of_counts() -> None:
    y = np.round(stretches(0.0, [40.0, 90.0, 300.0, 900.0]))
    assert found_transform([y], 12) == "log"
    assert found_transform([np.append(np.zeros(12), y)], 12) == "log1p"
    assert found_transform([y, np.zeros(24)], 12) == "log1p"  # of all series, whichever has the zero


def test_a_value_below_zero_anywhere_leaves_only_none() -> None:
    y = stretches(0.0, RISING)
    assert found_transform([y, np.array([5.0, -0.1])], 12) == "none"


def test_each_series_has_one_vote_and_the_plainer_wins_a_draw() -> None:
    root, log = stretches(0.5, RISING), stretches(0.0, RISING)
    assert found_transform([root, log, log], 12) == "log"
    assert found_transform([root, root, np.tile(log, 9)], 12) == "sqrt"
    assert found_transform([log, root], 12) == "sqrt"


@pytest.mark.parametrize(
    "histories",
    [[], [np.empty(0)], [np.arange(1.0, 8)], [np.full(48, 7.0)], [np.full(9, np.nan)]],
    ids=["no series", "empty", "short", "constant", "missing"],
)
def test_where_nothing_can_be_said_it_is_none(histories: list[Any]) -> None:
    assert found_transform(histories, 12) == "none"


def variation_by_hand(values: NDArray[np.float64], length: int, power: float) -> float:
    """Guerrero 1993, eq. 5, with the left-over steps at the start left out."""
    parts = values[len(values) % length :].reshape(-1, length)
    ratios = [float(np.std(part, ddof=1) / np.mean(part) ** (1 - power)) for part in parts]
    return float(np.std(ratios, ddof=1) / np.mean(ratios))


@pytest.mark.parametrize("season", [1, 4, 7])
@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_the_least_variation(seed: int, season: int) -> None:
    rng = np.random.default_rng(seed)
    level = np.exp(np.cumsum(rng.normal(scale=0.1, size=61))) * 10
    y = level * np.exp(rng.normal(scale=0.1, size=61) * level ** -rng.uniform(0, 1))
    powers = {"none": 1.0, "sqrt": 0.5, "log": 0.0}
    expected = min(powers, key=lambda name: variation_by_hand(y, max(season, 4), powers[name]))
    assert found_transform([y], season) == expected
