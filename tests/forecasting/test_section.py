from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.forecasting.backtest import Answer, Backtest
from glasslstm.forecasting.figures import backtest, coverage, error_by_step, forecast
from glasslstm.forecasting.forecast import Forecast
from glasslstm.forecasting.section import forecast_section
from glasslstm.insight.section import Choice
from glasslstm.insight.subject import subject_of

H = 3


def series_of(N):
    values = np.random.default_rng(0).normal(size=(N, 12, 2)).astype(np.float32)
    return Sequences.from_arrays(values, ids=[f"shop {k}" for k in range(N)], times=[np.arange(12)] * N)


def forecast_of(N):
    rng = np.random.default_rng(1)
    times = np.tile(12 + np.arange(H), (N, 1))
    quantiles = np.sort(rng.normal(size=(N, H, 2)))
    return Forecast(
        np.array([f"shop {k}" for k in range(N)]), times, rng.normal(size=(N, H)), (0.1, 0.9), quantiles
    )


def backtest_of(N):
    found = forecast_of(N)
    answer = Answer(found.point, found.quantiles)
    better = Answer(found.point / 2, found.quantiles)
    truth = np.zeros((N, H))
    answers = {"lstm": better, "seasonal_naive": answer}
    times = found.times - H
    return Backtest(found.ids, times[:, 0] - 1, times, truth, answers, (0.1, 0.9), np.full((N, 2), 2.0), 1)


def same(one, other):
    assert one.to_plotly_json()["layout"] == other.to_plotly_json()["layout"]
    for own, expected in zip(one.data, other.data, strict=True):
        np.testing.assert_array_equal(own.y, expected.y)
        np.testing.assert_array_equal(own.x, expected.x)


def test_the_figures_of_each_series_and_of_the_backtest():
    history, found, past = series_of(3), forecast_of(3), backtest_of(3)
    section = forecast_section(history, found, past, channel=1)
    (_, ahead), (_, before), (_, by_step), (_, levels) = section.parts
    assert isinstance(ahead, Choice)
    assert [*ahead.options] == [*before.options] == ["shop 0", "shop 1", "shop 2"]
    same(ahead.options["shop 2"](), forecast(np.arange(12), history[2][:, 1], found, series=2))
    same(before.options["shop 1"](), backtest(past, series=1))
    same(by_step(), error_by_step(past))
    same(levels(), coverage(past))


def test_the_errors_in_words():
    past = backtest_of(3)
    scaled = np.abs(past.answers["seasonal_naive"].point).mean() / 2
    errors = f"LSTM {scaled / 2:.3g}, seasonal naive {scaled:.3g}."
    lead = forecast_section(series_of(3), forecast_of(3), past).lead
    assert lead == (
        "3 series, 3 steps ahead. Mean absolute scaled error (MASE) on 3 windows of a backtest, less is better: "
        + errors
    )


def test_without_scales_the_errors_are_in_the_unit_of_the_series():
    past = replace(backtest_of(1), scales=np.full((1, 2), np.nan))
    found = np.abs(past.answers["lstm"].point).mean()
    lead = forecast_section(series_of(1), forecast_of(1), past).lead
    assert f"Mean absolute error on 1 window of a backtest, less is better: LSTM {found:.3g}" in lead


def test_without_a_truth_there_are_no_errors():
    past = replace(backtest_of(1), truth=np.full((1, H), np.nan))
    assert forecast_section(series_of(1), forecast_of(1), past).lead == "1 series, 3 steps ahead."


def test_of_many_series_twelve_are_spread_evenly():
    section = forecast_section(series_of(23), forecast_of(23), backtest_of(23))
    names = [f"shop {k}" for k in range(0, 23, 2)]
    assert [*section.parts[0][1].options] == [*section.parts[1][1].options] == names


def test_ids_that_look_alike_are_told_apart():
    history, found = series_of(2), forecast_of(2)
    ids = np.array(["x" * 70 + "a", "x" * 70 + "b"])
    section = forecast_section(replace(history, ids=ids), replace(found, ids=ids))
    assert [*section.parts[0][1].options] == ["x" * 60, "x" * 60 + " (2)"]


def test_other_series_than_those_forecast():
    with pytest.raises(ArgumentError, match="history: got 2 series, and forecasts of 3"):
        forecast_section(series_of(2), forecast_of(3))


class Forecaster:
    """What an estimator is to the report, with forecasts beside a small network."""

    def __init__(self, past):
        torch.manual_seed(0)
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.past = past

    def _subject(self, X, y):
        inputs = torch.from_numpy(np.stack([*X]))
        return replace(
            subject_of(self.lstm, inputs, y), sections=(forecast_section(X, forecast_of(len(X)), self.past),)
        )


@pytest.mark.parametrize("with_backtest", [True, False])
def test_the_page(tmp_path, with_backtest):
    model = Forecaster(backtest_of(3) if with_backtest else None)
    page = gl.report(model, series_of(3), path=tmp_path / "report.html").read_text("utf-8")
    section = page[page.index('<section id="forecast">') : page.index('<section id="findings">')]
    headings = [part.partition("</h4>")[0] for part in section.split("<h4>")[1:]]
    ahead = [f"Forecast of shop {k}" for k in range(3)]
    before = [f"shop {k}: 1 forecast, 3 steps ahead" for k in range(3)]
    errors = ["Mean absolute error by step ahead", "Coverage (line: as promised)"]
    assert headings == (ahead + before + errors if with_backtest else ahead)
    assert section.count("Not shown.") == (not with_backtest)
    assert ("How far such forecasts were right is not known" in section) == (not with_backtest)
