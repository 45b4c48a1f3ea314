"""Forecasts of one or many series: the estimator, its backtest, and what they are measured and drawn by."""

from glasslstm._extras import require

for _needed in ("pandas", "statsmodels"):
    require(_needed, extra="forecast")

from glasslstm.forecasting.backtest import Backtest  # noqa: E402
from glasslstm.forecasting.forecast import Forecast  # noqa: E402
from glasslstm.forecasting.forecaster import LSTMForecaster  # noqa: E402

__all__ = ["Backtest", "Forecast", "LSTMForecaster"]
