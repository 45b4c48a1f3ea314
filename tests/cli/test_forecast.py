"""``--task forecast`` on the command line: train, predict, evaluate and the rest with a forecaster."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

import glasslstm as gl
from glasslstm import cli, modelfile
from glasslstm.cli.forecasts import backtest_without_the_end, figures
from glasslstm.cli.job import read_config
from glasslstm.data import read_series
from glasslstm.forecasting.backtest import Answer, Backtest

QUICK = ("--max-updates", "5", "--hidden-size", "4", "--quiet", "--no-report", "--seed", "0")
SMALL = ("--task", "forecast", "--horizon", "3", "--season-length", "4", "--context", "8", *QUICK)
SETTINGS = {
    "horizon": 3,
    "season_length": 4,
    "context": 8,
    "max_updates": 5,
    "hidden_size": 4,
    "random_state": 0,
    "verbose": False,
}


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def done(*args):
    """Run what must go well, and return it."""
    result = run(*args)
    assert result.exit_code == 0, result.stderr
    return result


def table(extra: int = 0) -> pd.DataFrame:
    """Return 3 daily series of 30, 33 and 36 steps, and so many more; one lacks a step."""
    rng = np.random.default_rng(0)
    rows = []
    for i, name in enumerate(("x", "y", "z")):
        noise = rng.normal(size=60)
        for t in range(30 + 3 * i + extra):
            y = 20 + 10 * i + 5 * np.sin(t * np.pi / 2) + 3 * (t % 7 == 0) + noise[t]
            rows.append((name, np.datetime64("2024-01-30") + t, y, float(t % 7 == 0), "ab"[i % 2]))
    data = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "promo", "kind"])
    return data.drop(index=40).reset_index(drop=True)  # of series y, as the text of dates in CSV


def cut(extra: int) -> pd.DataFrame:
    """Return the rows after the end of each series of :func:`table`."""
    both = table(extra).merge(table()[["unique_id", "ds"]], how="left", indicator=True)
    return both[both["_merge"] == "left_only"].drop(columns="_merge")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the table as CSV, and runs without and with covariates."""
    folder = tmp_path_factory.mktemp("forecast")
    table()[["unique_id", "ds", "y"]].to_csv(folder / "plain.csv", index=False)
    table().to_csv(folder / "data.csv", index=False)
    cut(3).drop(columns=["y", "kind"]).to_csv(folder / "future.csv", index=False)
    done("train", folder / "plain.csv", *SMALL, "--out", folder / "plain")
    done("train", folder / "data.csv", *SMALL, *COVARIATES, "--out", folder / "promo")
    return folder


COVARIATES = ("--future-covariates", "promo", "--static", "kind", "--categories", "kind")


@pytest.fixture(scope="module")
def plain(place):
    """The model that the library gives for the first run."""
    return gl.LSTMForecaster(**SETTINGS).fit(table()[["unique_id", "ds", "y"]])


def frame_of(path) -> pd.DataFrame:
    return pd.read_csv(path, parse_dates=["ds"])


class TestTrain:
    def test_the_model_is_the_one_that_the_library_gives(self, place, plain) -> None:
        loaded = modelfile.load(place / "plain" / "model")
        np.testing.assert_array_equal(loaded.predict().quantiles, plain.predict().quantiles)
        assert loaded.table_ == {"id": "unique_id", "time": "ds", "target": "y"}

    def test_the_folder_holds_what_that_of_any_run_holds(self, place) -> None:
        names = ["config.toml", "history.csv", "log.txt", "metrics.json", "model"]
        assert sorted(path.name for path in (place / "plain").iterdir()) == names
        metrics = json.loads((place / "plain" / "metrics.json").read_text())
        expected = {"task": "forecast", "n_series": 3, "n_steps": 98, "seed": 0}
        assert {name: metrics[name] for name in expected} == expected
        assert "backtest" not in metrics
        config = read_config(place / "promo" / "config.toml")
        assert config["future_covariates"] == ["promo"]
        assert config["target"] == ["y"]
        assert (config["frequency"], config["transform"]) == ("none", "auto")

    @pytest.mark.parametrize("name", ["plain", "promo"])
    def test_it_can_be_repeated_to_the_bit(self, place, tmp_path, name) -> None:
        done("train", "--from", place / name, "--out", tmp_path / "r", "--quiet")
        assert read_config(tmp_path / "r" / "config.toml") == read_config(place / name / "config.toml")
        digests = {modelfile.inspect(run / "model").weights_sha256 for run in (place / name, tmp_path / "r")}
        assert len(digests) == 1

    def test_options_take_none_and_reach_the_estimator(self, place, tmp_path) -> None:
        given = ("--quantiles", "none", "--context", "none", "--max-updates", "none", "--max-epochs", "1")
        more = ("--transform", "none", "--no-calendar", "--frequency", "D", "--loss", "huber")
        done("train", place / "plain.csv", *SMALL, *given, *more, "--out", tmp_path / "r")
        model = modelfile.load(tmp_path / "r" / "model")
        expected = {"quantiles": None, "context": None, "max_updates": None, "max_epochs": 1, "horizon": 3}
        expected |= {"transform": "none", "calendar": False, "frequency": "D", "loss": "huber"}
        assert {name: model.get_params()[name] for name in expected} == expected

    def test_other_names_of_columns(self, tmp_path) -> None:
        names = {"unique_id": "shop", "ds": "day", "y": "sales"}
        data = table().rename(columns=names)
        data.to_parquet(tmp_path / "data.parquet")
        given = ("--id", "shop", "--time", "day", "--target", "sales", "--channels", "")
        columns = ("--id", "shop", "--time", "day", "--target", "sales", "--channels", "promo")
        assert (
            "--channels: expected names of columns, as a,b or a list"
            in run("train", tmp_path / "data.parquet", *SMALL, *given).stderr
        )
        done("train", tmp_path / "data.parquet", *SMALL, *columns, "--out", tmp_path / "r")
        model = modelfile.load(tmp_path / "r" / "model")
        assert (model.target, model.feature_names_in_.tolist()) == ("sales", ["sales", "promo"])
        done("predict", tmp_path / "r", "--out", tmp_path / "f.csv")
        header = (tmp_path / "f.csv").read_text().splitlines()[0]
        assert header == '"shop","day","prediction","prediction_q10","prediction_q50","prediction_q90"'
        done("train", "--from", tmp_path / "r", "--out", tmp_path / "s", "--quiet")

    def test_a_future_covariate_is_a_channel(self, tmp_path) -> None:
        data = table().assign(other=1.0 * np.arange(98))
        data.to_csv(tmp_path / "data.csv", index=False)
        given = ("--channels", "other", "--future-covariates", "promo", "--out", tmp_path / "r")
        done("train", tmp_path / "data.csv", *SMALL, *given)
        model = modelfile.load(tmp_path / "r" / "model")
        assert model.feature_names_in_.tolist() == ["y", "other", "promo"]

    def test_missing_values_need_no_option(self, tmp_path) -> None:
        data = table().assign(y=lambda data: data["y"].where(data.index % 9 != 4))
        data.to_csv(tmp_path / "data.csv", index=False)
        done("train", tmp_path / "data.csv", *SMALL, "--channels", "promo", "--out", tmp_path / "r")
        assert np.isnan(modelfile.load(tmp_path / "r" / "model").series_.values).any()
        given = ("--missing", "error", "--frequency", "D", "--out", tmp_path / "s")
        refused = run("train", tmp_path / "data.csv", *SMALL, "--channels", "promo", *given)
        assert (refused.exit_code, (tmp_path / "s").exists()) == (1, False)

    def test_auto_never_forecasts(self, place, tmp_path) -> None:
        columns = ("--id", "unique_id", "--time", "ds", "--target", "y", "--channels", "promo")
        result = done("train", place / "data.csv", *columns, *QUICK, "--out", tmp_path / "r")
        assert "task: tag (found from the target" in result.stdout
        wrong = run("train", place / "data.csv", *columns, *SMALL[2:], "--out", tmp_path / "s")
        assert "--horizon is a setting of the task forecast, and the task is tag" in wrong.stderr

    def test_the_report_is_written(self, place, tmp_path) -> None:
        loud = [option for option in SMALL if option != "--no-report"]
        done("train", place / "data.csv", *loud, *COVARIATES, "--out", tmp_path / "r")
        assert "<html" in (tmp_path / "r" / "report.html").read_text()[:200]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (("--validation", "v.csv"), "--validation does not fit a forecast, which is judged by the end"),
            (("--group", "kind"), "--group does not fit a forecast"),
            (("--target", "y,promo"), "--target: a forecast has one, got y, promo; train a model for each"),
            (("--target", "z"), "expected one of the channels y, promo, got 'z'"),
            (("--target-type", "label"), "--target-type is a setting of the task tag, and the task is forecast"),
            (("--horizon", "0"), "horizon: expected a whole number of 1 or more, got 0"),
            (("--pooling", "max"), "--pooling is a setting of the task classify and regress"),
            (("--context", "x"), "--context: expected None, or a whole number of 1 or more, written as <int>|none"),
            (("--future-covariates", "promo,"), "--future-covariates: expected a tuple or list of names, written as"),
            (("--future-covariates", "y"), "future_covariates: 'y' is no covariate; expected some of promo"),
            (("--backtest", "8"), "--backtest 8, which leaves out the last 24 steps: X: 2 of 3 series cannot be used"),
            (("--backtest", "20"), "3 of 3 series have no more: 'x', 'y', 'z'; take fewer windows"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_said(self, place, tmp_path, given, message) -> None:
        columns = ("--static", "kind", "--categories", "kind")
        result = run("train", place / "data.csv", *SMALL, *columns, *given, "--out", tmp_path / "r")
        assert result.exit_code == 1
        assert message in result.stderr
        assert not (tmp_path / "r" / "model").exists()

    def test_series_of_the_archive_have_no_columns(self, tmp_path) -> None:
        result = run("train", tmp_path / "data.ts", *SMALL, "--out", tmp_path / "r")
        assert "a .ts file has no columns; a forecast needs a table with unique_id, ds and y" in result.stderr

    def test_a_backtest_belongs_to_a_forecast(self, place, tmp_path) -> None:
        given = ("--id", "unique_id", "--time", "ds", "--target", "y", "--backtest", "2")
        result = run("train", place / "plain.csv", *given, "--out", tmp_path / "r")
        assert "--backtest belongs to a forecast; leave it out, or say --task forecast" in result.stderr


@pytest.fixture(scope="module")
def tested(place):
    """What a training with a backtest prints, and the backtest's figures."""
    result = done("train", place / "plain.csv", *SMALL, "--backtest", "2", "--out", place / "tested")
    metrics = json.loads((place / "tested" / "metrics.json").read_text())
    return result, metrics["backtest"]


class TestBacktest:
    """``train --backtest``."""

    def test_its_figures_are_of_a_model_that_never_saw_the_windows(self, tested) -> None:
        data = table()[["unique_id", "ds", "y"]]
        past = data[data["ds"] <= data.groupby("unique_id")["ds"].transform("max") - pd.Timedelta(days=6)]
        expected = gl.LSTMForecaster(**SETTINGS).fit(past).backtest(data, windows=2).metrics()
        found = pd.DataFrame(tested[1]["methods"])
        assert found["method"].tolist() == ["lstm", "seasonal_naive", "theta"]
        for name in ("rmse", "mase", "weighted_quantile_loss", "coverage_80"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)
        expected = {"task": "forecast", "n_series": 3, "n_windows": 6, "horizon": 3, "season_length": 4}
        assert {name: tested[1][name] for name in expected} == expected

    @pytest.mark.usefixtures("tested")
    def test_the_model_is_trained_on_everything_after_it(self, place) -> None:
        digests = {modelfile.inspect(place / name / "model").weights_sha256 for name in ("plain", "tested")}
        assert len(digests) == 1
        log = (place / "tested" / "log.txt").read_text()
        assert "backtest: training without the last 6 steps of each series" in log

    def test_it_is_shown_and_repeated(self, place, tested, tmp_path) -> None:
        assert "6 windows of 3 series, 3 steps each; a season has 4 steps" in tested[0].stdout
        done("train", "--from", place / "tested", "--out", tmp_path / "r", "--quiet")
        again = json.loads((tmp_path / "r" / "metrics.json").read_text())["backtest"]
        assert again == tested[1]

    def test_it_leaves_a_checkpoint_alone(self, place, tmp_path) -> None:
        series = read_series(place / "plain.csv", id="unique_id", time="ds")
        model = gl.LSTMForecaster(**SETTINGS, checkpoint=tmp_path / "c")
        assert len(backtest_without_the_end(model, series, 1)) == 3
        assert not (tmp_path / "c").exists()

    def test_ctrl_c_ends_it(self, place, tmp_path, monkeypatch) -> None:
        fit = gl.LSTMForecaster.fit

        def interrupted(self, *given, **named):
            found = fit(self, *given, **named)
            self.interrupted_ = True
            return found

        monkeypatch.setattr(gl.LSTMForecaster, "fit", interrupted)
        result = run("train", place / "plain.csv", *SMALL, "--backtest", "1", "--out", tmp_path / "r")
        assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")
        assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["config.toml", "log.txt"]


class TestPredict:
    def test_without_data_it_goes_on_from_the_training(self, place, tmp_path, plain) -> None:
        result = done("predict", place / "plain", "--out", tmp_path / "f.csv")
        assert result.stdout == f"3 series: {tmp_path / 'f.csv'}\n"
        assert (tmp_path / "f.csv").read_text().splitlines()[1].startswith('"x",2024-02-29,')
        found, expected = frame_of(tmp_path / "f.csv"), plain.predict().to_frame()
        assert found.columns.tolist() == expected.columns.tolist()
        assert found["ds"].tolist() == expected["ds"].tolist()
        assert found["unique_id"].tolist() == ["x"] * 3 + ["y"] * 3 + ["z"] * 3
        np.testing.assert_allclose(found.iloc[:, 2:], expected.iloc[:, 2:], rtol=1e-12)

    @pytest.mark.parametrize("library", ["csv", "pandas", "polars", "parts"])
    def test_it_goes_on_from_other_series(self, place, tmp_path, plain, library) -> None:
        data = table(5)[["unique_id", "ds", "y"]]
        data["unique_id"] = "new " + data["unique_id"]
        path = tmp_path / ("data.csv" if library == "csv" else "data.parquet")
        if library == "csv":
            data.to_csv(path, index=False)
        elif library == "pandas":
            data.to_parquet(path)
        elif library == "polars":
            pl.from_pandas(data).with_columns(pl.col("ds").cast(pl.Date)).write_parquet(path)
        else:
            path = tmp_path / "parts"
            path.mkdir()
            data[:50].to_parquet(path / "1.parquet")
            data[50:].to_parquet(path / "2.parquet")
        done("predict", place / "plain", path, "--horizon", "2", "--out", tmp_path / "f.csv", "--quiet")
        found, expected = frame_of(tmp_path / "f.csv"), plain.predict(data, 2).to_frame()
        assert found["ds"].tolist() == expected["ds"].tolist()
        assert found["unique_id"].unique().tolist() == ["new x", "new y", "new z"]
        np.testing.assert_allclose(found["prediction_q10"], expected["prediction_q10"], rtol=1e-6)

    def test_block_by_block_it_is_the_same(self, place, tmp_path, monkeypatch) -> None:
        done("predict", place / "plain", place / "plain.csv", "--out", tmp_path / "whole.csv")
        monkeypatch.setattr("glasslstm.cli.asked._STEPS", 9)
        done("predict", place / "plain", place / "plain.csv", "--out", tmp_path / "f.csv")
        whole, found = frame_of(tmp_path / "whole.csv"), frame_of(tmp_path / "f.csv")
        pd.testing.assert_frame_equal(found, whole, rtol=1e-5)

    def test_future_covariates(self, place, tmp_path) -> None:
        predict = ("predict", place / "promo", "--out", tmp_path / "f.csv", "--future")
        done(*predict, place / "future.csv")
        model = modelfile.load(place / "promo" / "model")
        future = cut(3).drop(columns=["y", "kind"])
        expected = model.predict(future=future).to_frame()
        found = frame_of(tmp_path / "f.csv")
        np.testing.assert_allclose(found["prediction"], expected["prediction"], rtol=1e-12)
        future.assign(promo=9.0).to_parquet(tmp_path / "other.parquet")
        done(*predict, tmp_path / "other.parquet")
        assert (frame_of(tmp_path / "f.csv")["prediction"] != found["prediction"]).all()

    def test_columns_of_other_names(self, place, tmp_path) -> None:
        names = {"unique_id": "shop", "ds": "day", "y": "sales", "promo": "offer"}
        table().rename(columns=names).to_csv(tmp_path / "data.csv", index=False)
        cut(3).rename(columns=names).to_csv(tmp_path / "future.csv", index=False)
        given = ("--id", "shop", "--time", "day", "--channels", "sales,offer", "--out", tmp_path / "f.csv")
        done("predict", place / "promo", tmp_path / "data.csv", *given, "--future", tmp_path / "future.csv")
        found = pd.read_csv(tmp_path / "f.csv")
        assert found.columns.tolist()[:2] == ["shop", "day"]
        done("predict", place / "promo", "--future", place / "future.csv", "--out", tmp_path / "g.csv")
        np.testing.assert_allclose(found["prediction"], frame_of(tmp_path / "g.csv")["prediction"], rtol=1e-6)

    @pytest.mark.parametrize(
        ("name", "given", "message"),
        [
            ("promo", (), "--future: the model forecasts with promo of the steps to come; give a table with unique_id"),
            ("promo", ("--future", "plain.csv"), "there is no column 'promo' (channel)"),
            ("promo", ("--future", "data.csv"), "End before the horizon: 3 series ('x', 'y', 'z')"),
            ("plain", ("--future", "future.csv"), "--future: the model has no future covariates; leave it out"),
            ("plain", ("--horizon", "4"), "horizon: expected a whole number from 1 to 3, that of the training, got 4"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_said(self, place, tmp_path, monkeypatch, name, given, message) -> None:
        monkeypatch.chdir(place)
        result = run("predict", name, *given, "--out", tmp_path / "f.csv")
        assert result.exit_code == 1
        assert message in result.stderr
        assert not (tmp_path / "f.csv").exists()

    def test_a_table_that_is_read_is_not_replaced(self, place) -> None:
        future = place / "future.csv"
        result = run("predict", place / "promo", "--future", future, "--out", future)
        assert f"--out {future} is the table to read; choose another name" in result.stderr

    def test_a_model_that_knows_no_table(self, tmp_path) -> None:
        gl.LSTMForecaster(**SETTINGS).fit([np.arange(20.0) + np.eye(20)[k] for k in range(2)]).save(
            tmp_path / "model"
        )
        done("predict", tmp_path / "model", "--out", tmp_path / "f.csv")
        found = pd.read_csv(tmp_path / "f.csv")
        assert found["unique_id"].tolist() == [0, 0, 0, 1, 1, 1]
        assert found["ds"].tolist() == [20, 21, 22] * 2


class TestEvaluate:
    def test_new_steps_are_forecast_and_compared(self, place, tmp_path, plain) -> None:
        table(6).to_csv(tmp_path / "new.csv", index=False)
        evaluate = ("evaluate", place / "plain", tmp_path / "new.csv")
        given = ("--windows", "2", "--stride", "2", "--json", "--out", tmp_path / "m.json")
        found = json.loads(done(*evaluate, *given).stdout)
        assert json.loads((tmp_path / "m.json").read_text()) == found
        backtest = plain.backtest(table(6)[["unique_id", "ds", "y"]], 2, 2)
        for rows, expected in (
            (found["methods"], backtest.metrics()),
            (found["steps"], backtest.metrics("step")),
            (found["coverage"], backtest.coverage()),
        ):
            assert list(rows[0]) == list(expected)
            for name, column in expected.items():
                values = [row[name] for row in rows]
                if column.dtype.kind == "f":
                    np.testing.assert_allclose(values, column, rtol=1e-6)
                else:
                    assert values == column.tolist()
        assert found["n_windows"] == 6

    def test_the_metrics_are_printed(self, place, tmp_path) -> None:
        table(3).to_csv(tmp_path / "new.csv", index=False)
        text = done("evaluate", place / "plain", tmp_path / "new.csv").stdout
        assert text.startswith("3 windows of 3 series, 3 steps each; a season has 4 steps\nmethod ")
        assert [line.split()[0] for line in text.splitlines()[2:5]] == ["lstm", "seasonal_naive", "theta"]
        assert "each quantile, and the share of the truth at or below it:" in text

    def test_windows_of_the_training_are_refused_unless_asked_for(self, place) -> None:
        evaluate = ("evaluate", place / "plain", place / "plain.csv")
        assert (
            "3 windows of 3 series overlap what the model knows of them: 'x', 'y', 'z'"
            in run(*evaluate).stderr
        )
        assert "3 windows of 3 series" in done(*evaluate, "--overlap").stdout

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (("--windows", "0", "--overlap"), "windows: expected a whole number of 1 or more, got 0"),
            (("--target", "y"), "--target: what a forecaster forecasts is one of its channels"),
        ],
    )
    def test_what_does_not_fit_is_said(self, place, given, message) -> None:
        result = run("evaluate", place / "plain", place / "plain.csv", *given)
        assert result.exit_code == 1
        assert message in result.stderr

    def test_what_is_no_number_is_null(self) -> None:
        found = Backtest(
            ids=np.array(["a"]),
            cutoffs=np.array([7]),
            times=np.array([[8, 9]]),
            truth=np.array([[1.0, np.nan]]),
            answers={"lstm": Answer(np.array([[2.0, 2.0]]), np.empty((1, 2, 0)))},
            levels=(),
            scales=np.zeros((1, 2)),
            season_length=1,
        )
        content = figures(found)
        assert (content["methods"][0]["mae"], content["methods"][0]["mase"]) == (1.0, None)
        assert content["steps"][1]["mae"] is None
        assert "NaN" not in json.dumps(content)


class TestOtherCommands:
    def test_info(self, place) -> None:
        text = done("info", place / "promo").stdout
        for line in (r"estimator +LSTMForecaster", r"season_length +4", r"alias +D", r"task +forecast"):
            assert pd.Series(text.splitlines()).str.fullmatch(line).any(), line
        assert "'x', 'y'" not in text  # a name for each series
        assert json.loads(done("info", place / "promo", "--json").stdout)["forecast"]["series"]

    def test_diagnose_and_report(self, place, tmp_path) -> None:
        given = ("diagnose", place / "promo", place / "data.csv", "--json", "--fail-on", "never")
        assert "findings" in json.loads(done(*given).stdout)
        page = tmp_path / "report.html"
        done("report", place / "promo", place / "data.csv", "--out", page)
        assert page.exists()
        for command in ("diagnose", "report"):
            wrong = run(command, place / "promo", place / "data.csv", "--target", "y")
            assert "--target: what a forecaster forecasts is one of its channels" in wrong.stderr
        wrong = run("report", place / "promo", place / "data.csv", "--train", place / "data.csv")
        assert "--train: a forecaster is measured against the seasonal naive forecast" in wrong.stderr

    def test_other_models_refuse_what_is_of_forecasts(self, place, tmp_path) -> None:
        columns = ("--id", "unique_id", "--time", "ds", "--target", "kind", "--channels", "promo")
        done(
            "train", place / "data.csv", *columns, *QUICK, "--validation-fraction", 0, "--out", tmp_path / "r"
        )
        out = ("--out", tmp_path / "p.csv")
        missing = run("predict", tmp_path / "r", *out)
        assert missing.exit_code == 2
        assert "DATA: needed; a forecaster alone goes on from its training" in missing.stderr
        for command, name, given in (
            ("predict", "horizon", ("--horizon", "3", *out)),
            ("predict", "future", ("--future", place / "future.csv", *out)),
            ("evaluate", "windows", ("--windows", "3")),
            ("evaluate", "stride", ("--stride", "3")),
            ("evaluate", "overlap", ("--overlap",)),
        ):
            wrong = run(command, tmp_path / "r", place / "data.csv", *given)
            assert f"--{name} belongs to a forecaster, and the task of the model is classify" in wrong.stderr


def test_without_the_extra_the_rest_works(place, tmp_path) -> None:
    code = """
import json, sys
sys.modules["statsmodels"] = None
from typer.testing import CliRunner
from glasslstm import cli
found = [CliRunner().invoke(cli.app, args) for args in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in found]))
"""
    data, run_of_it = str(place / "data.csv"), str(place / "plain")
    columns = ("--id", "unique_id", "--time", "ds", "--target", "kind", "--channels", "promo")
    (tmp_path / "run.toml").write_text('task = "forecast"\nhorizon = 3\n')
    commands = [
        ("train", data, "--task", "forecast", "--horizon", "3", "--out", "r"),
        ("train", data, "--task=forecast", "--horizon", "3", "--out", "r"),
        ("train", data, "--config", str(tmp_path / "run.toml"), "--out", "r"),
        ("train", "--from", run_of_it, "--out", "r"),
        ("predict", run_of_it, "--out", "f.csv"),
        ("train", data, *columns, *QUICK, "--validation-fraction", "0", "--out", str(tmp_path / "r")),
        ("predict", str(tmp_path / "r"), data, "--out", str(tmp_path / "p.csv")),
    ]
    command = [sys.executable, "-c", code, json.dumps(commands)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    line = "statsmodels is not installed; it comes with the extra \"forecast\": pip install 'glasslstm[forecast]'"
    for status, said, wrong in found[:5]:
        assert (status, said) == (1, "")
        assert re.fullmatch(f"error: (.*: )?{re.escape(line)}\n", wrong)
    assert [status for status, _, _ in found[5:]] == [0, 0]


def test_dates_with_a_time_and_numbers(tmp_path) -> None:
    """What time stamps are written as is what they were read as."""
    hours = np.datetime64("2024-03-01T00:00") + np.arange(40) * np.timedelta64(1, "h")
    y = np.sin(np.arange(40.0))
    for times, first in ((hours, "2024-03-02 16:00:00"), (np.arange(0, 20, 0.5), "20")):
        data = pd.DataFrame({"unique_id": 7, "ds": times, "y": y})
        data.to_csv(tmp_path / "data.csv", index=False)
        done("train", tmp_path / "data.csv", *SMALL, "--out", tmp_path / "r", "--force")
        done("predict", tmp_path / "r", "--out", tmp_path / "f.csv")
        row = (tmp_path / "f.csv").read_text().splitlines()[1]
        assert row.startswith(f"7,{first},")
    series = read_series(tmp_path / "data.csv", id="unique_id", time="ds")
    again = replace(series, values=series.values[::-1].copy())
    assert modelfile.load(tmp_path / "r" / "model").predict(again).times[0].tolist() == [20.0, 20.5, 21.0]
