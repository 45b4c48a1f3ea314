"""Figures of forecasts and of their errors, in the templates of :mod:`glasslstm.insight.figures`."""

from glasslstm.forecasting.figures.errors import coverage, error_by_step
from glasslstm.forecasting.figures.over_time import backtest, forecast, forecasts

__all__ = ["backtest", "coverage", "error_by_step", "forecast", "forecasts"]
