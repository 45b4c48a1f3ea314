from __future__ import annotations

import numpy as np
import pytest

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.forecasting import figures
from glasslstm.forecasting.backtest import Answer, Backtest
from glasslstm.forecasting.forecast import Forecast
from glasslstm.insight.figures.style import LIGHT
from glasslstm.insight.report.tables import tables
from glasslstm.insight.scores import share

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.99)
MONTHS = np.datetime64("2020-01") + np.arange(200)


def forecast_of(N=2, H=3, levels=LEVELS, times=None):
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(size=(N, H, len(levels)))) if levels else None
    times = np.tile(np.arange(100, 100 + H), (N, 1)) if times is None else times
    return Forecast(
        np.array(["a", "<b>"], object)[:N], times, rng.normal(size=(N, H)), tuple(levels), quantiles
    )


def by_name(figure):
    return {trace.name: trace for trace in figure.data}


def backtest_of(starts=(10, 12), H=3, levels=LEVELS, ids=None):
    """Series whose value is the step; those of "b" start at the same steps."""
    rng = np.random.default_rng(1)
    W = len(starts)
    times = np.array(starts)[:, None] + np.arange(H)
    answers = {
        name: Answer(
            times + rng.normal(size=(W, H)), times[..., None] + np.sort(rng.normal(size=(W, H, len(levels))))
        )
        for name in ("lstm", "seasonal_naive", "theta")
    }
    return Backtest(
        np.array(["a"] * W if ids is None else ids),
        times[:, 0] - 1,
        times,
        times.astype(float),
        answers,
        tuple(levels),
        np.tile([2.0, 5.0], (W, 1)),
        1,
    )


class TestForecast:
    def test_the_lines_are_the_numbers(self):
        found = forecast_of()
        figure = figures.forecast(
            [97, 98, 99], [1.0, np.nan, 3.0], found, series="<b>", truth=[7.0, np.nan, 9.0]
        )
        lines = by_name(figure)
        assert [*lines] == [
            *("history", "truth", "forecast"),
            *("quantile 0.05", "quantile 0.1", "quantile 0.9", "quantile 0.99"),
            "80 % band",
        ]
        assert [*lines["history"].x] == [97, 98, 99]
        np.testing.assert_array_equal(lines["history"].y, [1, np.nan, 3])
        np.testing.assert_array_equal(lines["truth"].y, [7, np.nan, 9])
        np.testing.assert_array_equal(lines["forecast"].y, found.point[1])
        np.testing.assert_array_equal(lines["quantile 0.99"].y, found.quantiles[1, :, 4])
        assert all([*one.x] == [100, 101, 102] for name, one in lines.items() if name[0] in "tfq")
        assert figure.layout.title.text == "Forecast of &lt;b&gt;"
        assert not any(trace.connectgaps for trace in figure.data)

    def test_the_bands_are_nested_and_lighter_outwards(self):
        found = forecast_of(levels=(0.1, 0.25, 0.5, 0.75, 0.9))
        *_, wide, narrow = figures.forecast(None, [0.0] * 4, found).data
        assert (wide.name, narrow.name) == ("80 % band", "50 % band")
        assert wide.opacity < narrow.opacity
        for band, (low, high) in ((wide, (0, 4)), (narrow, (1, 3))):
            assert band.fill == "toself"
            around = [*found.quantiles[0, :, low], *found.quantiles[0, ::-1, high]]
            np.testing.assert_array_equal(band.y, around)
            assert [*band.x] == [100, 101, 102, 102, 101, 100]

    def test_each_line_is_told_apart_and_has_the_colour_of_the_page(self):
        lines = by_name(figures.forecast(None, [0.0] * 4, forecast_of(), truth=[1.0] * 3))
        assert lines["history"].line.color == lines["truth"].line.color != lines["forecast"].line.color
        assert lines["history"].line.dash != lines["truth"].line.dash
        for name in ("forecast", "quantile 0.1", "80 % band"):
            assert (lines[name].line.color, lines[name].meta) == (LIGHT.layout.colorway[0], {"colour": 0})
        assert [name for name, line in lines.items() if line.showlegend is False] == [
            f"quantile {level}" for level in (0.05, 0.1, 0.9, 0.99)
        ]

    def test_the_last_part_of_the_history(self):
        shown = [len(figures.forecast(None, np.zeros(500), forecast_of(H=H)).data[0].y) for H in (3, 20)]
        assert shown == [60, 80]

    def test_without_time_stamps_the_history_ends_at_the_forecast(self):
        assert [*figures.forecast(None, [5.0, 6.0], forecast_of()).data[0].x] == [98, 99]

    def test_dates(self):
        times = MONTHS[None, 2:5]
        figure = figures.forecast(MONTHS[:2], [1.0, 2.0], forecast_of(N=1, times=times))
        assert [*figure.data[0].x] == ["2020-01-01", "2020-02-01"]
        assert [*by_name(figure)["forecast"].x] == ["2020-03-01", "2020-04-01", "2020-05-01"]
        assert figure.layout.xaxis.type == "date"
        hours = np.datetime64("2020-01-01T00:30:00.25") + np.arange(4) * np.timedelta64(1, "h")
        figure = figures.forecast(hours[:1], [1.0], forecast_of(N=1, times=hours[None, 1:]))
        assert [*figure.data[0].x] == ["2020-01-01T00:30:00.250"]

    def test_without_quantiles_there_is_no_band(self):
        figure = figures.forecast(None, [1.0], forecast_of(levels=()))
        assert [*by_name(figure)] == ["history", "forecast"]

    def test_one_step_can_be_seen(self):
        lines = by_name(figures.forecast(None, np.zeros(100), forecast_of(H=1)))
        assert lines["forecast"].mode == lines["quantile 0.1"].mode == "lines+markers"
        assert lines["history"].mode == "lines"

    def test_a_value_between_two_gaps_can_be_seen(self):
        history = np.zeros(100)
        assert figures.forecast(None, history, forecast_of()).data[0].mode == "lines"
        history[-1] = np.nan
        assert figures.forecast(None, history, forecast_of()).data[0].mode == "lines+markers"

    @pytest.mark.parametrize(
        ("arguments", "options", "words"),
        [
            ((None, [1.0]), {"series": 2}, "series: got 2; expected one of the 2 there are, 0 to 1"),
            ((None, [1.0]), {"series": "c"}, "series: there is none with the id 'c'.* as of 'a', '<b>'"),
            ((None, [1.0]), {"truth": [1.0]}, r"truth: got the shape \(1,\); expected .* \(3,\)"),
            (([1, 2], [1.0]), {}, r"history: got values of the shape \(1,\) at times of the shape \(2,\)"),
            ((MONTHS[:1], [1.0]), {}, r"history_times: got datetime64\[M\], and forecasts at int64"),
        ],
    )
    def test_what_does_not_fit(self, arguments, options, words):
        with pytest.raises(ArgumentError, match=words):
            figures.forecast(*arguments, forecast_of(), **options)


class TestForecasts:
    @pytest.fixture
    def history(self):
        arrays = [np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([[3.0, 30.0], [4.0, 40.0], [5.0, 50.0]])]
        return Sequences.from_arrays(arrays, ids=["a", "<b>"], times=[[98, 99], [97, 98, 99]])

    def test_each_panel_is_the_figure_of_its_series(self, history):
        found, truth = forecast_of(), np.arange(6.0).reshape(2, 3)
        figure = figures.forecasts(history, found, channel=1, series=["<b>", 0], truth=truth)
        for k, axis, times, values in ((1, "x", [97, 98, 99], [30, 40, 50]), (0, "x2", [98, 99], [10, 20])):
            panel = [trace for trace in figure.data if trace.xaxis == axis]
            alone = figures.forecast(times, values, found, series=k, truth=truth[k]).data
            assert len(panel) == len(alone) == 8
            for own, expected in zip(panel, alone, strict=True):
                assert (own.name, own.fill) == (expected.name, expected.fill)
                np.testing.assert_array_equal(own.x, expected.x)
                np.testing.assert_array_equal(own.y, expected.y)
        assert [note.text for note in figure.layout.annotations] == ["&lt;b&gt;", "a"]

    def test_one_legend_for_all(self, history):
        figure = figures.forecasts(history, forecast_of())
        named = [trace.name for trace in figure.data if trace.showlegend]
        assert named == ["history", "forecast", "80 % band"]
        assert {trace.xaxis for trace in figure.data if trace.showlegend} == {"x"}
        assert [figure.layout[f"xaxis{k}"].title.text for k in ("", 2)] == [None, "time"]

    def test_of_many_series_nine_are_spread_evenly(self):
        history = Sequences.from_arrays(np.zeros((17, 4, 1)))
        found = Forecast(np.arange(17), np.tile([4, 5], (17, 1)), np.zeros((17, 2)))
        figure = figures.forecasts(history, found)
        assert [note.text for note in figure.layout.annotations] == [str(k) for k in range(0, 17, 2)]
        assert figure.layout.title.text == "Forecasts of 9 of 17 series"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"series": []}, "series: got 0; expected 1 to 9"),
            ({"series": [0] * 10}, "series: got 10; expected 1 to 9"),
            ({"channel": 2}, "channel: got 2; expected one of the 2, from 0"),
            ({"truth": [[1.0] * 3]}, "truth: got those of 1 series; expected one for each of the 2"),
        ],
    )
    def test_what_does_not_fit(self, history, options, words):
        with pytest.raises(ArgumentError, match=words):
            figures.forecasts(history, forecast_of(), **options)

    @pytest.mark.parametrize("chosen", [[0], [1, 0]])
    def test_forecasts_of_other_series(self, history, chosen):
        with pytest.raises(
            ArgumentError, match=f"history: got {len(chosen)} series, and forecasts of 2; exp"
        ):
            figures.forecasts(history.select(chosen), forecast_of())


class TestBacktest:
    def test_windows_apart_have_gaps_between(self):
        found = backtest_of(starts=(20, 10))
        lines = by_name(figures.backtest(found))
        assert [*lines] == ["truth", "forecast", "quantile 0.1", "quantile 0.9", "80 % band"]
        for name in ("truth", "forecast", "quantile 0.9"):
            assert [*lines[name].x] == [10, 11, 12, None, 20, 21, 22]
        np.testing.assert_array_equal(lines["truth"].y, [10, 11, 12, np.nan, 20, 21, 22])
        first, last = found.answers["lstm"].point[[1, 0]]
        np.testing.assert_array_equal(lines["forecast"].y, [*first, np.nan, *last])
        quantiles = found.answers["lstm"].quantiles[[1, 0]]
        np.testing.assert_array_equal(
            lines["quantile 0.9"].y, [*quantiles[0, :, 3], np.nan, *quantiles[1, :, 3]]
        )
        areas = [[*own[:, 1], *own[::-1, 3]] for own in quantiles]
        np.testing.assert_array_equal(lines["80 % band"].y, [*areas[0], np.nan, *areas[1]])
        assert [*lines["80 % band"].x] == [10, 11, 12, 12, 11, 10, None, 20, 21, 22, 22, 21, 20]

    def test_windows_that_overlap_share_their_truth(self):
        lines = by_name(figures.backtest(backtest_of()))
        assert [*lines["truth"].x] == [*lines["truth"].y] == [10, 11, 12, 13, 14]
        assert [*lines["forecast"].x] == [10, 11, 12, None, 12, 13, 14]

    def test_the_table_has_all_windows(self):
        found = backtest_of()
        (table,) = tables(figures.backtest(found))
        assert table.head == ["time", "truth", "forecast", "quantile 0.1", "quantile 0.9"]
        assert [row[0] for row in table.rows.values()] == [10, 11, 12, 13, 14, 12]
        answers = {(row[0], row[2]) for row in table.rows.values()}
        point = found.answers["lstm"].point
        assert answers == {*zip(found.times.ravel().tolist(), point.ravel().tolist(), strict=True)}

    def test_one_series_and_one_method(self):
        found = backtest_of(starts=(10, 30, 40), ids=["a", "b", "b"])
        for series in (1, "b"):
            figure = figures.backtest(found, series=series, method="theta")
            drawn = by_name(figure)["forecast"].y
            np.testing.assert_array_equal(drawn[:3], found.answers["theta"].point[1])
            assert len(drawn) == 7
            assert figure.layout.title.text == "b: 2 forecasts, 3 steps ahead"
        assert figures.backtest(found).layout.title.text == "a: 1 forecast, 3 steps ahead"

    def test_one_step_ahead_is_one_line(self):
        lines = by_name(figures.backtest(backtest_of(starts=(10, 11, 12), H=1)))
        assert all([*lines[name].x] == [10, 11, 12] for name in ("truth", "forecast", "quantile 0.1"))

    @pytest.mark.parametrize(
        ("levels", "band"),
        [
            ((0.05, 0.25, 0.75, 0.95), "90 % band"),
            ((0.05, 0.1, 0.9, 0.95), "80 % band"),
            ((0.2, 0.5), None),
            ((), None),
        ],
    )
    def test_the_band_next_to_80_percent(self, levels, band):
        drawn = [trace.name for trace in figures.backtest(backtest_of(levels=levels)).data if trace.fill]
        assert drawn == ([] if band is None else [band])

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"method": "arima"}, "method: got 'arima'; expected one of lstm, seasonal_naive, theta"),
            ({"series": 1}, "series: got 1; expected one of the 1 there are, 0 to 0"),
        ],
    )
    def test_what_there_is_not(self, options, words):
        with pytest.raises(ArgumentError, match=words):
            figures.backtest(backtest_of(), **options)


class TestErrors:
    @pytest.mark.parametrize(("metric", "scale", "unit"), [("mae", 1, "error"), ("mase", 2, "scaled error")])
    def test_by_step(self, metric, scale, unit):
        found = backtest_of()
        found.truth[0, 1] = np.nan
        figure = figures.error_by_step(found, metric)
        assert [trace.name for trace in figure.data] == ["LSTM", "seasonal naive", "theta"]
        for trace, answer in zip(figure.data, found.answers.values(), strict=True):
            assert [*trace.x] == [1, 2, 3]
            expected = np.nanmean(np.abs(found.truth - answer.point), axis=0) / scale
            np.testing.assert_allclose(trace.y, expected)
        assert len({trace.line.dash for trace in figure.data}) == 3
        assert figure.layout.yaxis.title.text == f"mean absolute {unit}"

    def test_coverage(self):
        found = backtest_of(starts=(10, 20, 30, 40, 50, 60))
        found.truth[0, 1] = np.nan
        figure = figures.coverage(found)
        window, step = np.nonzero(~np.isnan(found.truth))
        table = found.coverage()
        for trace, (method, answer) in zip(figure.data, found.answers.items(), strict=True):
            assert tuple(trace.x) == LEVELS
            below = found.truth[window, step, None] <= answer.quantiles[window, step]
            np.testing.assert_allclose(trace.y, below.mean(0))
            np.testing.assert_allclose(trace.y, table["observed"][table["method"] == method])
            low, high = np.array([share(one.astype(float), window)[1:] for one in below.T]).T
            np.testing.assert_allclose(np.subtract(trace.y, trace.error_y.arrayminus), low, atol=1e-12)
            np.testing.assert_allclose(np.add(trace.y, trace.error_y.array), high)
        (diagonal,) = figure.layout.shapes
        assert (diagonal.x0, diagonal.y0, diagonal.x1, diagonal.y1) == (0, 0, 1, 1)
        assert len({trace.line.dash for trace in figure.data}) == 3

    def test_a_truth_equal_to_the_quantile_is_covered(self):
        found = backtest_of(starts=(10, 20))
        found.answers["lstm"].quantiles[:] = found.truth[..., None]
        assert [*figures.coverage(found).data[0].y] == [1.0] * 5

    def test_of_one_window_there_is_no_interval(self):
        assert figures.coverage(backtest_of(starts=(10,))).data[0].error_y.array is None

    def test_what_cannot_be_drawn(self):
        with pytest.raises(ArgumentError, match="metric: got 'r2'; expected one of mae, rmse, mase"):
            figures.error_by_step(backtest_of(), "r2")
        with pytest.raises(ArgumentError, match=r"metric: got 'weighted_quantile_loss', .* no quantiles"):
            figures.error_by_step(backtest_of(levels=()), "weighted_quantile_loss")
        with pytest.raises(ArgumentError, match="found: the forecasts have no quantiles"):
            figures.coverage(backtest_of(levels=()))
        unknown = backtest_of()
        unknown.truth[:] = np.nan
        for draw in (figures.error_by_step, figures.coverage):
            with pytest.raises(ArgumentError, match="found: of 2 windows no truth is known"):
                draw(unknown)
