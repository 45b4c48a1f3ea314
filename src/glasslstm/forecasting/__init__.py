"""Forecasts of one or many series: the estimator, its backtest, and what they are measured and drawn by."""

from importlib import import_module

from glasslstm._extras import require

for _needed in ("pandas", "statsmodels"):
    require(_needed, extra="forecast")

from glasslstm.forecasting.backtest import Backtest  # noqa: E402
from glasslstm.forecasting.forecast import Forecast  # noqa: E402
from glasslstm.forecasting.forecaster import LSTMForecaster  # noqa: E402

__all__ = ["Backtest", "Forecast", "LSTMForecaster", "figures"]


def __getattr__(name: str) -> object:
    if name == "figures":  # which need an extra
        return import_module("glasslstm.forecasting.figures")
    raise AttributeError(f"module 'glasslstm.forecasting' has no attribute {name!r}")
