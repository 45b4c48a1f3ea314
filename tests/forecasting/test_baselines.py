from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.forecasting.theta import ThetaModel

from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.baselines import seasonal_naive, theta

NAN = np.nan
LEVELS = (0.1, 0.5, 0.9)
Z90 = norm.ppf(0.9)


def spread(answer) -> np.ndarray:
    """The standard deviations that the quantiles have."""
    return (answer.quantiles[..., 2] - answer.quantiles[..., 1]) / Z90


def monthly(steps: int = 96, *, trend: float = 0.2, noise: float = 0.5) -> np.ndarray:
    step = np.arange(steps)
    season = 1 + 0.3 * np.sin(2 * np.pi * step / 12)
    return (20 + trend * step) * season + np.random.default_rng(3).normal(0, noise, steps)


def smoothing_with_drift(windows: int, steps: int, alpha: float, drift: float) -> np.ndarray:
    """Draw series whose one-step errors have the variance 1."""
    errors = np.random.default_rng(7).normal(size=(windows, steps))
    return 50 + np.cumsum(drift + alpha * errors, axis=1) + (1 - alpha) * errors


def share_inside(answer, truth: np.ndarray) -> float:
    return float(((answer.quantiles[..., 0] <= truth) & (truth <= answer.quantiles[..., 2])).mean())


class TestSeasonalNaive:
    def test_it_is_the_last_season_over_and_over(self):
        history = np.array([9.0, 9.0, 9.0, 1.0, 2.0, 3.0])
        found = seasonal_naive([history, history[1:]], 7, 3)
        assert found.point.tolist() == [[1, 2, 3, 1, 2, 3, 1]] * 2
        assert found.quantiles.shape == (2, 7, 0)

    def test_its_spread_grows_with_the_seasons(self):
        history = np.random.default_rng(0).normal(size=40)
        found = seasonal_naive([history], 9, 4, LEVELS)
        sigma = np.sqrt(np.mean((history[4:] - history[:-4]) ** 2))
        expected = sigma * np.sqrt([1, 1, 1, 1, 2, 2, 2, 2, 3])
        np.testing.assert_allclose(spread(found)[0], expected)
        np.testing.assert_allclose(found.quantiles[..., 1], found.point)
        np.testing.assert_allclose(found.quantiles[0, :, 0], found.point[0] - Z90 * expected)

    def test_a_missing_value_is_that_of_the_season_before_and_a_season_wider(self):
        history = np.array([1.0, 2.0, 3.0, 5.0, NAN, 7.0])
        found = seasonal_naive([history], 5, 3, LEVELS)
        assert found.point.tolist() == [[5, 2, 7, 5, 2]]
        np.testing.assert_allclose(spread(found)[0], 4 * np.sqrt([1, 2, 1, 2, 3]))

    def test_a_place_that_was_never_known_gets_the_last_known_value(self):
        found = seasonal_naive([np.array([1.0, NAN, 3.0, 4.0, NAN, 6.0])], 3, 3, LEVELS)
        assert found.point.tolist() == [[4, 6, 6]]
        np.testing.assert_allclose(spread(found)[0], [3, 3, 3])

    def test_a_history_without_a_seasonal_difference_has_a_season_of_1(self):
        histories = [np.array([1.0, 3.0, 4.0]), np.array([1.0, 3.0, 4.0, NAN, NAN])]
        short, gone = (seasonal_naive([history], 2, 3, LEVELS) for history in histories)
        assert short.point.tolist() == gone.point.tolist() == [[4, 4]]
        np.testing.assert_allclose(spread(short)[0], np.sqrt(2.5) * np.sqrt([1, 2]))
        np.testing.assert_allclose(spread(gone)[0], np.sqrt(2.5) * np.sqrt([3, 4]))

    def test_one_value_has_no_spread(self):
        found = seasonal_naive([np.array([NAN, 4.0])], 2, 12, LEVELS)
        assert (found.quantiles == 4).all()

    def test_its_intervals_hold_what_they_say_on_seasonal_random_walks(self):
        walks = np.random.default_rng(0).normal(size=(400, 30, 4)).cumsum(axis=1).reshape(400, 120)
        found = seasonal_naive(list(walks[:, :108]), 12, 4, LEVELS)
        assert share_inside(found, walks[:, 108:]) == pytest.approx(0.8, abs=0.03)  # 4 walks each: about 3 sd


class TestTheta:
    @pytest.mark.parametrize("shift", [0.0, -60.0])  # multiplicative, additive
    def test_it_is_that_of_statsmodels(self, shift):
        history = monthly() + shift
        expected = ThetaModel(history, period=12).fit().forecast(15)
        np.testing.assert_allclose(theta([history], 15, 12).point[0], expected, rtol=2e-4)

    def test_below_two_seasons_none_is_taken_out(self):
        history = np.random.default_rng(207).random(23)  # shows a season in its autocorrelation
        with pytest.raises(ValueError, match="2 complete cycles"):
            ThetaModel(history, period=12).fit()
        expected = ThetaModel(history, deseasonalize=False).fit().forecast(5)
        np.testing.assert_allclose(theta([history], 5, 12).point[0], expected, rtol=1e-3)

    def test_its_spread_is_that_of_smoothing_with_drift(self):
        history = smoothing_with_drift(1, 150, 0.4, 0.3)[0]
        model = ThetaModel(history, deseasonalize=False).fit()
        slope, alpha = model.params
        # Exponential smoothing without drift, and the drift that statsmodels adds to its forecast, step by step.
        level, _ = lfilter([alpha], [1, alpha - 1], history, zi=[(1 - alpha) * history[0]])
        steps = np.arange(1, 150)
        ahead = level[:-1] + slope / 2 * (1 - (1 - alpha) ** steps) / alpha
        variance = ((history[1:] - ahead) ** 2).sum() / 147
        expected = np.sqrt(variance * (1 + np.arange(8) * alpha**2))
        np.testing.assert_allclose(spread(theta([history], 8, 1, LEVELS))[0], expected, rtol=1e-3)

    @pytest.mark.parametrize("season", [0.0, 4.0])
    def test_its_intervals_hold_what_they_say(self, season):
        series = smoothing_with_drift(60, 156, 0.5, 0.05)
        series += season * np.sin(2 * np.pi * np.arange(156) / 12)
        found = theta(list(series[:, :144]), 12, 12, LEVELS)
        # The errors of one window go together: the share's standard deviation is about 0.03.
        assert share_inside(found, series[:, 144:]) == pytest.approx(0.8, abs=0.08)

    def test_where_the_season_multiplies_the_spread_does_too(self):
        random = np.random.default_rng(1)
        history = 100 * np.tile([1.0, 4.0], 60) * np.exp(random.normal(0, 0.05, 120))
        high, low = spread(theta([history[:119]], 2, 2, LEVELS))[0]
        assert high / low == pytest.approx(4, rel=0.1)

    @pytest.mark.parametrize("size", [1e-12, 1e12])
    def test_the_unit_of_the_values_does_not_matter(self, size):
        history = monthly()
        one, other = theta([history], 5, 12, LEVELS), theta([history * size], 5, 12, LEVELS)
        np.testing.assert_allclose(other.quantiles, size * one.quantiles, rtol=1e-6)

    def test_gaps_are_lines_the_start_is_dropped_and_the_end_is_held(self):
        history = monthly()
        history[:5], history[30:33], history[-2:] = NAN, NAN, NAN
        filled = history[5:].copy()
        filled[25:28] = filled[24] + (filled[28] - filled[24]) * np.array([0.25, 0.5, 0.75])
        filled[-2:] = filled[-3]
        np.testing.assert_allclose(theta([history], 5, 12).point, theta([filled], 5, 12).point)

    def test_what_was_interpolated_tells_nothing_of_the_spread(self):
        history = np.random.default_rng(0).normal(size=300)
        history[100:200] = NAN
        line = np.interp(np.arange(300), np.flatnonzero(~np.isnan(history)), history[~np.isnan(history)])
        missing, known = (spread(theta([part], 1, 1, LEVELS)).item() for part in (history, line))
        assert missing == pytest.approx(np.sqrt(297 / 197) * known, rel=0.02)
        history[1::2] = NAN  # on a line, these have errors too
        line = np.interp(np.arange(300), np.flatnonzero(~np.isnan(history)), history[~np.isnan(history)])
        missing, known = (spread(theta([part[:99]], 1, 1, LEVELS)).item() for part in (history, line))
        assert missing == pytest.approx(known, rel=0.15)

    @pytest.mark.parametrize(
        "history",
        [
            np.full(30, 0.1),
            np.zeros(30),
            np.r_[NAN, np.full(30, 7.0)],
            np.tile([0.1, 0.7, 0.3], 10),
            np.array([1.0, 5.0, 2.0, 3.0]),
            np.r_[1.0, np.full(40, NAN), 5.0, 2.0, 3.0],
        ],
        ids=["constant", "zeros", "constant after a gap", "periodic", "short", "short with a gap"],
    )
    def test_where_there_is_nothing_to_smooth_it_is_the_seasonal_naive_forecast(self, history):
        found, expected = (method([history], 4, 3, LEVELS) for method in (theta, seasonal_naive))
        np.testing.assert_array_equal(found.point, expected.point)
        np.testing.assert_array_equal(found.quantiles, expected.quantiles)

    def test_a_constant_within_one_season_goes_on(self):
        assert (theta([np.full(6, 0.1)], 4, 12, LEVELS).quantiles == 0.1).all()

    @pytest.mark.parametrize("steps", [5, 6, 24, 25])
    def test_short_histories_have_finite_forecasts(self, steps):
        found = theta([np.random.default_rng(steps).random(steps)], 4, 12, LEVELS)
        assert np.isfinite(found.quantiles).all()
        assert (np.diff(found.quantiles) > 0).all()

    def test_each_history_is_forecast_for_itself(self):
        histories = [monthly(), monthly(60)[::-1], np.arange(4.0)]
        together = theta(histories, 3, 12, LEVELS)
        for k, history in enumerate(histories):
            np.testing.assert_array_equal(together.quantiles[k], theta([history], 3, 12, LEVELS).quantiles[0])

    def test_that_a_search_does_not_converge_is_silent_and_other_warnings_are_not(self, monkeypatch):
        fit = ThetaModel.fit

        def warning(self, category):
            warnings.warn("from the fit", category, stacklevel=1)
            return fit(self)

        monkeypatch.setattr(ThetaModel, "fit", lambda self: warning(self, ConvergenceWarning))
        assert np.isfinite(theta([monthly()], 3, 12).point).all()
        monkeypatch.setattr(ThetaModel, "fit", lambda self: warning(self, RuntimeWarning))
        with pytest.warns(RuntimeWarning, match="from the fit"):
            theta([monthly()], 3, 12)


@pytest.mark.parametrize("method", [seasonal_naive, theta])
class TestBoth:
    @pytest.mark.parametrize(("arguments", "name"), [((0, 1), "horizon"), ((1, 0), "season_length")])
    def test_sizes_are_1_or_more(self, method, arguments, name):
        with pytest.raises(ArgumentError, match=f"{name}: expected 1 or more, got 0"):
            method([np.ones(3)], *arguments)

    @pytest.mark.parametrize("level", [0.0, 1.0, 50.0])
    def test_levels_are_between_0_and_1(self, method, level):
        with pytest.raises(ArgumentError, match="levels: expected numbers above 0 and below 1, got"):
            method([np.ones(3)], 1, 1, (0.5, level))

    def test_histories_without_a_known_value_are_named(self, method):
        histories = [np.full(3, NAN), np.ones(3), np.array([])]
        with pytest.raises(DataError, match=r"2 of 3 have no known value \(at 0, 2\); leave them out"):
            method(histories, 1, 1)
        with pytest.raises(DataError, match="histories: there are none"):
            method([], 1, 1)
