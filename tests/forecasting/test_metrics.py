from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, root_mean_squared_error

from glasslstm.forecasting import metrics

NAN = np.nan
METRICS = {
    "mae": metrics.mae,
    "rmse": metrics.rmse,
    "smape": metrics.smape,
    "mase": lambda truth, point: metrics.mase(truth, point, np.full(truth.shape[:-1], 2.0)),
    "rmsse": lambda truth, point: metrics.rmsse(truth, point, np.full(truth.shape[:-1], 2.0)),
    "wql": lambda truth, point: metrics.weighted_quantile_loss(truth, point[..., None], (0.3,)),
    "coverage": lambda truth, point: metrics.coverage(truth, point - 0.5, point + 0.5),
}


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Truths of 5 windows of 4 steps, some missing, none known in one window; and forecasts."""
    random = np.random.default_rng(1)
    truth, point = random.normal(3, 2, (2, 5, 4))
    truth[0, 1] = truth[2, 3] = truth[4] = NAN
    return truth, point


def test_errors_are_those_of_scikit_learn_over_the_known_truths(pair):
    truth, point = pair
    known = ~np.isnan(truth)
    assert metrics.mae(truth, point) == pytest.approx(mean_absolute_error(truth[known], point[known]))
    assert metrics.rmse(truth, point) == pytest.approx(root_mean_squared_error(truth[known], point[known]))


def test_the_quantile_loss_is_pooled_over_windows_then_a_mean_over_levels(pair):
    truth, point = pair
    levels = (0.1, 0.5, 0.9)
    quantiles = point[..., None] + np.array([-1.0, 0.0, 1.5])
    known = ~np.isnan(truth)
    losses = [
        2 * mean_pinball_loss(truth[known], quantiles[known][:, q], alpha=level) * known.sum()
        for q, level in enumerate(levels)
    ]
    expected = np.mean([loss / np.abs(truth[known]).sum() for loss in losses])
    assert metrics.weighted_quantile_loss(truth, quantiles, levels) == pytest.approx(expected)


def test_scaled_errors_are_of_each_window_by_its_own_scale():
    truth = np.array([[1.0, 2.0, NAN], [100.0, 200.0, 300.0]])
    point = np.array([[2.0, 4.0, 9.0], [100.0, 200.0, 600.0]])
    assert metrics.mase(truth, point, np.array([0.5, 50.0])) == pytest.approx((1.5 / 0.5 + 100 / 50) / 2)
    expected = (np.sqrt(2.5 / 0.4) + np.sqrt(30_000 / 1000)) / 2
    assert metrics.rmsse(truth, point, np.array([0.4, 1000.0])) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.0, NAN])
def test_windows_without_a_scale_or_a_truth_are_left_out(scale):
    truth = np.array([[1.0], [1.0], [NAN]])
    point = np.array([[3.0], [9.0], [9.0]])
    scales = np.array([4.0, scale, 1.0])
    assert metrics.scalable(truth, scales).tolist() == [True, False, False]
    assert metrics.mase(truth, point, scales) == 0.5
    assert metrics.rmsse(truth, point, scales) == 1.0
    assert np.isnan(metrics.mase(truth[1:], point[1:], scales[1:]))


def test_smape_is_in_percent_and_0_where_both_are_0():
    truth, point = np.array([[0.0, 0.0, 2.0, -1.0]]), np.array([[0.0, 3.0, 6.0, 1.0]])
    assert metrics.smape(truth, point) == pytest.approx((0 + 200 + 100 + 200) / 4)


def test_both_ends_of_an_interval_are_in_it():
    truth = np.array([[1.0, 2.0, 3.0, 4.0, NAN]])
    assert metrics.coverage(truth, np.full((1, 5), 2.0), np.full((1, 5), 3.0)) == 0.5


@pytest.mark.parametrize("name", METRICS)
def test_groups_are_measured_each_for_itself(pair, name):
    truth, point = pair
    groups = np.array([[0, 1], [2, 3], [4, 4]])
    found = METRICS[name](truth[groups], point[groups])
    expected = [METRICS[name](truth[rows], point[rows]) for rows in groups]
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found[2])
    assert np.isfinite(found[:2]).all()


@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"coverage"}))
def test_a_forecast_that_is_nan_gains_nothing(pair, name):
    truth, point = pair
    point[0, 0] = NAN
    assert np.isnan(METRICS[name](truth, point))
    point[0, 0], point[0, 1] = 1.0, NAN  # where the truth is missing, it does not count
    assert np.isfinite(METRICS[name](truth, point))


def test_an_interval_that_is_nan_holds_nothing():
    assert metrics.coverage(np.ones((1, 1)), np.full((1, 1), NAN), np.full((1, 1), NAN)) == 0


def test_truths_of_0_have_no_weighted_quantile_loss():
    assert np.isnan(metrics.weighted_quantile_loss(np.zeros((1, 2)), np.ones((1, 2, 1)), (0.5,)))


def test_seasonal_scales_are_of_the_pairs_that_are_known():
    history = np.array([1.0, 5.0, 4.0, NAN, 6.0, 1.0, 6.0])
    pairs = [(1, 4), (4, 6), (6, 6)]  # two steps apart
    differences = np.array([later - earlier for earlier, later in pairs])
    assert metrics.seasonal_scales(history, 2) == pytest.approx(
        (np.abs(differences).mean(), (differences**2).mean())
    )


@pytest.mark.parametrize("history", [[1.0, 2.0], [1.0, 2.0, NAN, NAN], [NAN, NAN, 1.0, 2.0]])
def test_a_history_without_a_seasonal_difference_has_no_scale(history):
    assert np.isnan(metrics.seasonal_scales(np.array(history), 2)).all()
