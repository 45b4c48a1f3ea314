"""``glasslstm train`` and the run that it leaves: tasks, options, files with options, and what is used afterwards."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    recall_score,
)
from typer.testing import CliRunner

from glasslstm import cli, modelfile
from glasslstm.cli.job import read_config
from glasslstm.cli.settings import SETTINGS, TASKS
from glasslstm.data import read_series
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.estimators.settings import settings_of

COLUMNS = ("--id", "series", "--time", "t")
QUICK = ("--max-epochs", "2", "--hidden-size", "3", "--no-refit", "--quiet", "--no-report")
SMALL = (*COLUMNS, *QUICK, "--channels", "a,b")


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def done(*args):
    """Run what must go well, and return it."""
    result = run(*args)
    assert result.exit_code == 0, result.stderr
    return result


def words_of(result) -> str:
    return " ".join(result.stdout.split())


def table() -> pd.DataFrame:
    """Return 24 series of 3 to 6 steps, with a target for each task."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        for t in range(rng.integers(3, 7)):
            a = (t if i % 2 else -t) + rng.normal() / 9
            rows.append(
                {
                    "series": f"s{i:02}",
                    "t": t,
                    "a": a,
                    "b": rng.normal(),
                    "label": ("up", "down")[i % 2],
                    "size": i / 4 + 0.1,
                    "count": i,
                    "few": i % 3,
                    "rare": i % 16,
                    "u": i % 2,
                    "v": int(i % 3 == 0),
                    "tag": "high" if a > 0 else "low",
                    "level": 2 * a + 0.5,
                    "site": f"site {i // 4}",
                    "colour": ("red", "blue", "green")[i % 3],
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the table as CSV and as a folder of Parquet parts, and a run for each kind of target."""
    folder = tmp_path_factory.mktemp("train")
    data = table()
    data.to_csv(folder / "data.csv", index=False)
    (folder / "parts").mkdir()
    data[:60].to_parquet(folder / "parts" / "1.parquet")  # in the midst of a series
    data[60:].to_parquet(folder / "parts" / "2.parquet")
    for name, more in RUNS.items():
        done("train", folder / "data.csv", *SMALL, *more, "--out", folder / name)
    return folder


RUNS = {
    "label": ("--target", "label", "--seed", "0"),
    "labels": ("--target", "u,v", "--class-weight", "v=3"),
    "size": ("--target", "size"),
    "quantiles": ("--target", "size", "--quantiles", "0.1,0.5,0.9", "--loss", "huber"),
    "tag": (
        "--seed",
        "0",
        "--target",
        "tag",
        "--categories",
        "colour",
        "--static",
        "colour",
        "--class-weight",
        "balanced",
    ),
    "level": ("--target", "level", "--causal"),
}


class TestTask:
    @pytest.mark.parametrize(
        ("target", "task"),
        [
            ("label", "classify"),
            ("few", "classify"),
            ("u,v", "classify"),
            ("size", "regress"),
            ("count", "regress"),  # more than 20
            ("rare", "regress"),  # most of them once
            ("size,count", "regress"),
            ("tag", "tag"),
            ("level", "tag"),
        ],
    )
    def test_it_is_found_from_the_target(self, place, tmp_path, monkeypatch, target, task) -> None:
        fitted = []

        def stop(self, *given, **named):
            fitted.append(self)
            raise KeyboardInterrupt

        monkeypatch.setattr(LSTMEstimator, "fit", stop)
        result = run("train", place / "data.csv", *SMALL, "--target", target, "--out", tmp_path / "r")
        assert f"task: {task} (found from the target; another one with --task)" in result.stdout
        assert [type(one) for one in fitted] == [TASKS[task]]
        assert read_config(tmp_path / "r" / "config.toml")["task"] == task

    def test_one_that_is_named_is_taken(self, place, tmp_path) -> None:
        result = done(
            "train",
            place / "data.csv",
            *SMALL,
            "--target",
            "few",
            "--task",
            "regress",
            "--out",
            tmp_path / "r",
        )
        assert "task: regress\n" in result.stdout
        assert modelfile.inspect(tmp_path / "r" / "model").estimator == "LSTMRegressor"

    def test_a_target_that_changes_is_no_class_of_a_series(self, place, tmp_path) -> None:
        given = ("--target", "tag", "--task", "classify", "--out", tmp_path / "r")
        result = run("train", place / "data.csv", *SMALL, *given)
        assert result.exit_code == 1
        assert "tag" in result.stderr
        assert not (tmp_path / "r").exists()


class TestOptions:
    def test_there_is_one_for_each_setting_of_each_task(self) -> None:
        text = run("train", "--help").stdout
        wanted = {name for estimator in TASKS.values() for name in settings_of(estimator)}
        renamed = {"random_state": "seed", "verbose": "quiet", "target": "target_type"}
        for name in wanted:
            assert f"--{renamed.get(name, name).replace('_', '-')} " in text, name

    def test_the_help_has_words_default_and_tasks(self) -> None:
        text = words_of(run("train", "--help"))
        for name in ("hidden_size", "max_epochs", "learning_rate", "validation_fraction"):
            default = re.escape(str(getattr(LSTMClassifier(), name)))
            assert re.search(rf"--{name.replace('_', '-')} [^-]*\[default: {default}[;\]]", text), name
        assert "--quantiles 0.1,0.5,0.9|none (regress, forecast) Levels of the quantiles" in text
        assert "--schedule auto|constant|cosine Of the learning rate" in text
        assert "--gradient-clip <float>|none The largest norm" in text

    def test_they_reach_the_estimator(self, place, tmp_path) -> None:
        given = (
            "--gradient-clip",
            "none",
            "--pooling",
            "max",
            "--no-bidirectional",
            "--weight-averaging",
            "0.5",
        )
        more = ("--precision", "bf16-mixed", "--class-weight", "up=2,down=0.5", "--seed", "7")
        done("train", place / "data.csv", *SMALL, "--target", "label", *given, *more, "--out", tmp_path / "r")
        model = modelfile.load(tmp_path / "r" / "model")
        expected = {
            "gradient_clip": None,
            "pooling": "max",
            "bidirectional": False,
            "weight_averaging": 0.5,
            "precision": "bf16-mixed",
            "class_weight": {"up": 2.0, "down": 0.5},
            "random_state": 7,
            "hidden_size": 3,
        }
        assert {name: model.get_params()[name] for name in expected} == expected

    def test_the_model_is_the_one_that_the_library_gives(self, place) -> None:
        series = read_series(place / "data.csv", id="series", time="t", target="label", channels=["a", "b"])
        same = LSTMClassifier(max_epochs=2, hidden_size=3, refit=False, random_state=0, verbose=False).fit(
            series
        )
        loaded = modelfile.load(place / "label" / "model")
        np.testing.assert_array_equal(loaded.predict_proba(series), same.predict_proba(series))

    def test_progress_goes_to_standard_error(self, place, tmp_path) -> None:
        loud = [option for option in SMALL if option != "--quiet"]
        result = done("train", place / "data.csv", *loud, "--target", "label", "--out", tmp_path / "r")
        assert "epoch 1 of at most 2" in result.stderr
        assert "\x1b" not in result.stderr
        assert "of at most" not in result.stdout

    def test_a_record_is_kept_where_it_is_asked_for(self, place, tmp_path) -> None:
        done("train", "--from", place / "label", "--record", "--quiet", "--out", tmp_path / "r")
        recorded, plain = (modelfile.load(folder / "model") for folder in (tmp_path / "r", place / "label"))
        assert recorded.record_["epoch"].tolist() == [0, 0, 1, 1, 2, 2]  # of both directions
        assert not hasattr(plain, "record_")
        about = run("info", tmp_path / "r").stdout
        assert re.search(r"^record +training, epoch, module, layer, direction, ", about, re.MULTILINE)

    def test_missing_values_are_masked_on_request(self, tmp_path) -> None:
        data = table()
        data.loc[data["t"] == 1, "a"] = np.nan  # in all series, whichever are trained on
        data.to_csv(tmp_path / "data.csv", index=False)
        train = ("train", tmp_path / "data.csv", *SMALL, "--target", "label", "--out", tmp_path / "r")
        result = run(*train)
        assert result.exit_code == 1
        assert "--missing mask" in result.stderr
        done(*train, "--missing", "mask")
        assert modelfile.load(tmp_path / "r" / "model").preparation_.gaps.tolist() == [True, False]
        done("predict", tmp_path / "r", tmp_path / "data.csv", "--out", tmp_path / "p.csv")

    def test_irregular_time_stamps_are_told(self, tmp_path, place) -> None:
        data = table()
        data["t"] = data["t"] ** 2
        data.to_csv(tmp_path / "data.csv", index=False)
        train = ("train", tmp_path / "data.csv", *SMALL, "--target", "label", "--out")
        told = "the time stamps are irregular: median step"
        assert told in done(*train, tmp_path / "r").stdout
        assert told not in done(*train, tmp_path / "s", "--step-duration").stdout
        assert modelfile.load(tmp_path / "s" / "model").step_duration is True
        assert (
            told
            not in run(
                "train", place / "data.csv", *SMALL, "--target", "label", "--out", tmp_path / "t"
            ).stdout
        )


class TestValidation:
    @pytest.fixture
    def fitted(self, monkeypatch):
        """What fit was given; it does nothing else."""
        seen = []

        def note(self, X, **named):
            seen.append((X, named.get("validation")))
            raise KeyboardInterrupt

        monkeypatch.setattr(LSTMEstimator, "fit", note)
        return seen

    def test_a_group_is_never_on_both_sides(self, place, tmp_path, fitted) -> None:
        run(
            "train",
            place / "data.csv",
            *SMALL,
            "--target",
            "label",
            "--group",
            "site",
            "--out",
            tmp_path / "r",
        )
        ((training, held_out),) = fitted
        site = table().groupby("series")["site"].first()
        sides = [set(site[part.ids]) for part in (training, held_out)]
        assert sides[0] | sides[1] == set(site)
        assert not sides[0] & sides[1]
        assert len(sides[1]) == 2  # 0.2 of 6 sites, and one more than less

    def test_the_column_of_groups_is_no_channel(self, tmp_path, fitted) -> None:
        data = table()[["series", "t", "a", "b", "label"]].assign(site=table()["count"] // 4)
        data.to_csv(tmp_path / "data.csv", index=False)
        train = ("train", tmp_path / "data.csv", *COLUMNS, *QUICK, "--target", "label")
        run(*train, "--group", "site", "--out", tmp_path / "r")
        run(*train, "--out", tmp_path / "s")
        assert [part.channel_names for part, _ in fitted] == [("a", "b"), ("a", "b", "site")]

    def test_a_table_of_its_own(self, place, tmp_path, fitted) -> None:
        held_out = table().query("count >= 16").assign(few=lambda data: data["few"].astype(float))
        held_out.to_parquet(tmp_path / "valid.parquet")  # 1.0 there is 1 here
        given = ("--target", "few", "--validation", tmp_path / "valid.parquet", "--out", tmp_path / "r")
        run("train", place / "data.csv", *SMALL, *given)
        ((training, part),) = fitted
        assert (len(training), part.ids.tolist()) == (24, [f"s{k}" for k in range(16, 24)])
        assert part.targets.tolist() == [k % 3 for k in range(16, 24)]
        assert part.targets.dtype == training.targets.dtype


class TestRun:
    def test_it_holds_all_there_is_to_know(self, place) -> None:
        folder = place / "label"
        names = ["config.toml", "history.csv", "log.txt", "metrics.json", "model"]
        assert sorted(path.name for path in folder.iterdir()) == names
        model = modelfile.load(folder / "model")
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["best"] == model.history_[model.best_epoch_ - 1]
        expected = {"task": "classify", "n_series": 24, "seed": 0, "epochs": 2, "interrupted": False}
        assert {name: metrics[name] for name in expected} == expected
        assert metrics["versions"]["torch"]
        history = pd.read_csv(folder / "history.csv")
        np.testing.assert_allclose(history["train_loss"], [row["train_loss"] for row in model.history_])
        log = (folder / "log.txt").read_text().splitlines()
        assert len(log) == 4
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", line) for line in log)
        assert f"search epoch 2: train_loss {model.history_[1]['train_loss']:.6g}, " in log[2]
        assert model.table_ == {"id": "series", "time": "t", "target": "label"}

    def test_its_config_has_every_setting(self, place) -> None:
        for name, task in (("label", "classify"), ("quantiles", "regress"), ("tag", "tag")):
            config = read_config(place / name / "config.toml")
            assert {it for it in config if it in SETTINGS} == {
                it for it, setting in SETTINGS.items() if task in setting.tasks
            }
            parameters = modelfile.inspect(place / name / "model").parameters
            assert config["seed"] == parameters["random_state"]
        assert config["categories"] == config["static"] == ["colour"]
        assert read_config(place / "quantiles" / "config.toml")["quantiles"] == [0.1, 0.5, 0.9]

    @pytest.mark.parametrize("name", RUNS)
    def test_it_can_be_repeated_to_the_bit(self, place, tmp_path, name) -> None:
        done("train", "--from", place / name, "--out", tmp_path / "again", "--quiet")
        for file in ("config.toml", "model/model.json"):
            assert (tmp_path / "again" / file).exists()
        assert read_config(tmp_path / "again" / "config.toml") == read_config(place / name / "config.toml")
        digests = {
            modelfile.inspect(folder / "model").weights_sha256
            for folder in (tmp_path / "again", place / name)
        }
        assert len(digests) == 1

    def test_without_a_seed_each_run_draws_one(self, place, tmp_path) -> None:
        for name in ("r", "s"):
            done("train", place / "data.csv", *SMALL, "--target", "label", "--out", tmp_path / name)
        seeds = {read_config(tmp_path / name / "config.toml")["seed"] for name in ("r", "s")}
        assert len(seeds) == 2

    def test_it_stays_until_force_replaces_it(self, place, tmp_path) -> None:
        train = ("train", "--from", place / "label", "--quiet", "--out", tmp_path / "r")
        done(*train)
        (tmp_path / "r" / "report.html").write_text("of the run before")
        old = modelfile.inspect(tmp_path / "r" / "model")
        assert "replace it with --force" in run(*train, "--seed", 1).stderr
        assert modelfile.inspect(tmp_path / "r" / "model") == old
        done(*train, "--seed", 1, "--force")
        assert modelfile.inspect(tmp_path / "r" / "model").parameters["random_state"] == 1
        assert read_config(tmp_path / "r" / "config.toml")["seed"] == 1
        assert not (tmp_path / "r" / "report.html").exists()

    def test_a_training_that_fails_leaves_no_model(self, place, tmp_path) -> None:
        train = ("train", place / "data.csv", *SMALL, "--target", "label", "--out", tmp_path / "r")
        result = run(*train, "--precision", "16-mixed", "--device", "cpu")
        assert result.exit_code == 1
        assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["config.toml", "log.txt"]
        assert (
            "ended without a model: precision: '16-mixed' needs an accelerator"
            in (tmp_path / "r" / "log.txt").read_text()
        )
        done(*train)  # which is no run yet

    def test_ctrl_c_saves_the_best_model_so_far(self, place, tmp_path, monkeypatch) -> None:
        def after_two(self, metrics, step=None):
            if step == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr("glasslstm.cli.runs.EpochLog.log_metrics", after_two)
        result = run(
            "train", "--from", place / "label", "--max-epochs", 50, "--quiet", "--out", tmp_path / "r"
        )
        assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")
        assert "the run is in" in result.stdout
        assert len(modelfile.inspect(tmp_path / "r" / "model").history) == 2
        assert json.loads((tmp_path / "r" / "metrics.json").read_text())["interrupted"] is True

    def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(self, place, tmp_path, monkeypatch) -> None:
        out, checkpoint = tmp_path / "r", tmp_path / "r" / "checkpoint"
        train = (
            "train",
            place / "data.csv",
            *SMALL,
            "--target",
            "label",
            "--out",
            out,
            "--checkpoint",
            checkpoint,
        )
        seen = []

        def die_once(self, metrics, step=None):
            seen.append(step)
            if seen == [1, 2]:
                raise SystemError("killed")

        monkeypatch.setattr("glasslstm.cli.runs.EpochLog.log_metrics", die_once)
        assert run(*train, "--max-epochs", 4).exit_code == 1
        seed = read_config(out / "config.toml")["seed"]
        done(*train, "--max-epochs", 4)
        assert modelfile.inspect(out / "model").parameters["random_state"] == seed
        assert len(seen) < 2 + 4  # not from the start

    def test_the_report_is_of_the_series_that_judge(self, place, tmp_path, monkeypatch) -> None:
        pages = []

        def page(model, X, y, *, path, sequence_names):
            path.write_text("a page")
            pages.append((X.ids.tolist(), y.tolist(), sequence_names))

        monkeypatch.setattr("glasslstm.insight.report.report", page)
        monkeypatch.setattr("glasslstm.cli.training._REPORTED", 5)
        again = ("train", "--from", place / "label", "--quiet", "--report")
        result = done(*again, "--out", tmp_path / "r")
        assert f"the report is in {tmp_path / 'r' / 'report.html'}" in result.stdout
        table().query("count < 4").to_csv(tmp_path / "valid.csv", index=False)
        done(*again, "--out", tmp_path / "s", "--validation", tmp_path / "valid.csv")
        assert [ids for ids, _, _ in pages] == [
            ["s00", "s05", "s11", "s17", "s23"],
            ["s00", "s01", "s02", "s03"],
        ]
        assert all(ids == names for ids, _, names in pages)
        assert pages[1][1] == ["up", "down", "up", "down"]

    def test_a_real_report(self, place, tmp_path) -> None:
        done("train", "--from", place / "label", "--quiet", "--report", "--out", tmp_path / "r")
        page = (tmp_path / "r" / "report.html").read_text("utf-8")
        assert re.search(r">s\d\d: true", page)  # the names of series


class TestConfig:
    def test_flags_win_over_it_and_it_over_the_defaults(self, place, tmp_path) -> None:
        file = tmp_path / "run.toml"
        file.write_text(
            f'data = "{place / "data.csv"}"\ntarget = "size"\nid = "series"\ntime = "t"\nchannels = ["b", "a"]\n'
            'hidden-size = 5\nmax_epochs = 7\nquantiles = "0.1,0.9"\nrefit = false\nreport = false\nsort = true\n'
            "[versions]\ntorch = '1.0'\n"
        )
        done("train", "--config", file, "--max-epochs", 1, "--out", tmp_path / "r", "--quiet")
        model = modelfile.load(tmp_path / "r" / "model")
        assert (model.hidden_size, model.max_epochs, model.quantiles) == (5, 1, (0.1, 0.9))
        assert model.dropout == 0.3
        assert model.feature_names_in_.tolist() == ["b", "a"]
        assert read_config(tmp_path / "r" / "config.toml")["sort"] is True

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "hiden_size = 3",
                "there is no option 'hiden_size'; did you mean 'hidden_size'? see glasslstm train --help for the names",
            ),
            (
                "[train]",
                "there is no option 'train'; see glasslstm train --help for the names; tables such as",
            ),
            ("checkpoint = 3", "checkpoint: expected None, or the name of a folder, got 3"),
            ("sort = 1", "sort: expected true or false, got 1"),
            ("channels = [1]", "channels: expected names of columns, as a,b or a list, got [1]"),
            ("id = 3", "id: expected the name of a column, got 3"),
            ("data = 3", "data: expected the name of a file or folder, got 3"),
            (
                'hidden_size = "many"',
                "--hidden-size: expected a whole number of 1 or more, written as <int>; got",
            ),
            ('task = "tag"\nhidden_size = 0', "hidden_size: expected a whole number of 1 or more, got 0"),
            ("a b", "cannot be read as TOML"),
        ],
    )
    def test_what_is_wrong_with_it_is_said(self, tmp_path, line, message) -> None:
        file = tmp_path / "run.toml"
        file.write_text(line)
        given = ("none.csv", "--target", "y", *COLUMNS, "--out", tmp_path / "r")
        if line.startswith(("id", "data")):
            given = ("--target", "y", "--time", "t", "--out", tmp_path / "r")
        result = run("train", *given, "--config", file)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr

    def test_names_of_columns_come_through_as_they_are(self, tmp_path) -> None:
        odd = 'a "b"\\ \x7f\té,ü'
        data = table().rename(columns={"a": odd})
        data.to_parquet(tmp_path / "data.parquet")
        (tmp_path / "run.toml").write_text("channels = [" + json.dumps(odd) + "]\n")
        given = (*COLUMNS, *QUICK, "--target", "label", "--config", tmp_path / "run.toml")
        done("train", tmp_path / "data.parquet", *given, "--out", tmp_path / "r")
        assert read_config(tmp_path / "r" / "config.toml")["channels"] == [odd]
        done("train", "--from", tmp_path / "r", "--out", tmp_path / "s", "--quiet")


class TestUse:
    """What the other commands do with each kind of run; the classifier's have tests of their own."""

    @pytest.fixture
    def scores(self, place):
        def of(name):
            return json.loads(done("evaluate", place / name, place / "parts", "--json").stdout)

        return of

    @pytest.fixture
    def series(self, place):
        def of(target, **named):
            source = place / "data.csv"
            return read_series(source, id="series", time="t", target=target, channels=["a", "b"], **named)

        return of

    def predictions(self, place, tmp_path, name) -> pd.DataFrame:
        done("predict", place / name, place / "parts", "--out", tmp_path / "p.parquet", "--quiet")
        return pd.read_parquet(tmp_path / "p.parquet")

    def test_a_classifier(self, place, scores, series) -> None:
        known = series("label")
        model = modelfile.load(place / "label" / "model")
        found = scores("label")
        assert found["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(known.targets, model.predict(known))
        )
        assert found["log_loss"] == pytest.approx(log_loss(known.targets, model.predict_proba(known)))

    def test_several_labels(self, place, tmp_path, scores, series) -> None:
        known = series(["u", "v"])
        model = modelfile.load(place / "labels" / "model")
        probability = model.predict_proba(known)
        written = self.predictions(place, tmp_path, "labels")
        assert written.columns.tolist() == ["id", "label_u", "label_v", "probability_u", "probability_v"]
        np.testing.assert_allclose(written.iloc[:, 3:], probability, rtol=1e-6)
        np.testing.assert_array_equal(written.iloc[:, 1:3], model.predict(known))
        found = scores("labels")
        assert found["accuracy"] == model.score(known, known.targets)
        recalls = recall_score(known.targets, model.predict(known), average=None, zero_division=0)
        np.testing.assert_allclose([row["recall"] for row in found["labels"]], recalls)
        assert [row["label"] for row in found["labels"]] == ["u", "v"]
        assert "each label:" in done("evaluate", place / "labels", place / "data.csv").stdout

    def test_numbers(self, place, tmp_path, scores, series) -> None:
        known = series("size")
        predicted = modelfile.load(place / "size" / "model").predict(known)
        written = self.predictions(place, tmp_path, "size")
        assert written.columns.tolist() == ["id", "prediction"]
        assert written["id"].tolist() == known.ids.tolist()
        np.testing.assert_allclose(written["prediction"], predicted, rtol=1e-6)
        found = scores("size")
        assert found["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - known.targets) ** 2)))
        assert found["mae"] == pytest.approx(mean_absolute_error(known.targets, predicted))
        assert found["r2"] == pytest.approx(r2_score(known.targets, predicted))
        text = done("evaluate", place / "size", place / "data.csv").stdout
        assert re.fullmatch(r"rmse \d\.\d{4}, mae \d\.\d{4}, r2 -?\d\.\d{4} on 24 series\n", text)

    def test_several_numbers(self, place, tmp_path, series) -> None:
        given = ("--target", "size,count", "--out", tmp_path / "r")
        done("train", place / "data.csv", *SMALL, *given)
        known = series(["size", "count"])
        model = modelfile.load(tmp_path / "r" / "model")
        found = json.loads(done("evaluate", tmp_path / "r", place / "data.csv", "--json").stdout)
        rmse = np.sqrt(np.mean((model.predict(known) - known.targets) ** 2, axis=0))
        assert [row["target"] for row in found["targets"]] == ["size", "count"]
        np.testing.assert_allclose([row["rmse"] for row in found["targets"]], rmse)
        assert found["rmse"] == pytest.approx(rmse.mean())
        done("predict", tmp_path / "r", place / "data.csv", "--out", tmp_path / "p.csv")
        assert pd.read_csv(tmp_path / "p.csv").columns.tolist() == [
            "id",
            "prediction_size",
            "prediction_count",
        ]
        wrong = run("evaluate", tmp_path / "r", place / "data.csv", "--target", "size")
        assert "--target: expected the 2 targets of the model, got 1" in wrong.stderr

    def test_quantiles(self, place, tmp_path, scores, series) -> None:
        known = series("size")
        quantiles = modelfile.load(place / "quantiles" / "model").predict_quantiles(known)
        written = self.predictions(place, tmp_path, "quantiles")
        assert written.columns.tolist() == ["id", "prediction_q10", "prediction_q50", "prediction_q90"]
        np.testing.assert_allclose(written.iloc[:, 1:], quantiles, rtol=1e-6)
        rows = scores("quantiles")["quantiles"]
        assert [row["quantile"] for row in rows] == [0.1, 0.5, 0.9]
        assert [row["coverage"] for row in rows] == [
            np.mean(known.targets <= quantiles[:, q]) for q in range(3)
        ]
        losses = [
            mean_pinball_loss(known.targets, quantiles[:, q], alpha=row["quantile"])
            for q, row in enumerate(rows)
        ]
        np.testing.assert_allclose([row["pinball_loss"] for row in rows], losses)

    def test_labels_of_steps(self, place, tmp_path, scores, series) -> None:
        data = table()
        written = self.predictions(place, tmp_path, "tag")
        assert written.columns.tolist() == ["id", "time", "label", "probability_high", "probability_low"]
        assert written["id"].tolist() == data["series"].tolist()
        assert written["time"].tolist() == data["t"].tolist()
        high = np.where(written["probability_high"] >= 0.5, "high", "low")
        assert written["label"].tolist() == high.tolist()
        found = scores("tag")
        assert found["accuracy"] == np.mean(written["label"] == data["tag"])
        recalls = [np.mean(written["label"][data["tag"] == one] == one) for one in ("high", "low")]
        assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        assert np.mean(recalls) != pytest.approx(found["accuracy"])
        assert (found["n_series"], found["n_steps"]) == (24, len(data))
        assert (
            "how many steps of the class on the left"
            in done("evaluate", place / "tag", place / "data.csv").stdout
        )
        known = series("tag", per_step=True, static=["colour"], categories=["colour"])
        tags = modelfile.load(place / "tag" / "model").predict(known)
        assert written["label"].tolist() == np.concatenate(tags).tolist()

    def test_numbers_of_steps(self, place, tmp_path, scores) -> None:
        written = self.predictions(place, tmp_path, "level")
        assert written.columns.tolist() == ["id", "time", "prediction"]
        error = written["prediction"] - table()["level"]
        assert scores("level")["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))

    def test_figures_go_into_a_file_too(self, place, tmp_path, scores) -> None:
        done("evaluate", place / "size", place / "parts", "--out", tmp_path / "new" / "metrics.json")
        assert json.loads((tmp_path / "new" / "metrics.json").read_text()) == scores("size")

    def test_prediction_is_the_same_block_by_block(self, place, tmp_path, monkeypatch) -> None:
        whole = self.predictions(place, tmp_path, "tag")
        monkeypatch.setattr("glasslstm.cli.asked._STEPS", 9)
        monkeypatch.setattr("glasslstm.cli.progress.SECONDS", -1.0)
        result = done("predict", place / "tag", place / "parts", "--out", tmp_path / "p.csv")
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "p.csv"), whole, rtol=1e-5)
        lines = result.stderr.splitlines()
        assert len(lines) > 5
        assert lines[-1] == f"{len(whole)} of {len(whole)} rows, 0 s left"
        assert result.stdout.startswith("24 series: ")

    @pytest.mark.parametrize("name", ["labels", "quantiles", "tag"])
    def test_info_and_diagnose_take_a_run(self, place, name) -> None:
        about = json.loads(done("info", place / name, "--json").stdout)
        assert (
            about["estimator"]
            == {"labels": "LSTMClassifier", "quantiles": "LSTMRegressor", "tag": "LSTMTagger"}[name]
        )
        assert about["run"]["n_series"] == 24
        assert done("info", place / name).stdout.startswith("\nmodel:\n")
        found = json.loads(
            run("diagnose", place / name, place / "data.csv", "--json", "--fail-on", "never").stdout
        )
        assert found


class TestSeriesFiles:
    """Files of the time-series archive, which have no columns."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "data.ts"
        lines = [f"{k},{k * 2},{k}:1,2,3:{'up' if k % 2 else 'down'}" for k in range(12)]
        path.write_text("@classLabel true up down\n@data\n" + "\n".join(lines) + "\n")
        return path

    def test_train_evaluate_and_predict(self, file, tmp_path) -> None:
        result = done("train", file, *QUICK, "--out", tmp_path / "r")
        assert "12 series, 36 steps, channels 2\ntask: classify (found" in result.stdout
        scores = json.loads(done("evaluate", tmp_path / "r", file, "--json").stdout)
        assert scores["n_series"] == 12
        done("predict", tmp_path / "r", file, "--out", tmp_path / "p.csv")
        written = pd.read_csv(tmp_path / "p.csv")
        assert written.columns.tolist() == ["id", "class", "probability_down", "probability_up"]
        done("train", "--from", tmp_path / "r", "--out", tmp_path / "s", "--quiet")
        assert run("diagnose", tmp_path / "r", file, "--codes", "one-end-only").exit_code in (0, 3)

    def test_columns_are_refused(self, file, tmp_path) -> None:
        done("train", file, *QUICK, "--out", tmp_path / "r")
        result = run("predict", tmp_path / "r", file, "--id", "x", "--out", tmp_path / "p.csv")
        assert f"--id: {file} is a .ts file, which has no columns; leave it out" in result.stderr

    def test_without_targets_there_is_nothing_to_learn(self, tmp_path) -> None:
        path = tmp_path / "data.ts"
        path.write_text("@classLabel false\n@data\n1,2\n3,4\n")
        result = run("train", path, *QUICK, "--out", tmp_path / "r")
        assert "there is nothing to learn in the data" in result.stderr


def test_a_full_disk_leaves_the_run_that_was_there(place, tmp_path, monkeypatch) -> None:
    given = ("train", place / "data.csv", "--target", "label", *SMALL, "--quiet", "--no-report", "--seed")

    def files(folder: Path) -> dict[Path, bytes]:
        return {
            file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "log.txt"
        }

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out, fresh = tmp_path / "r", tmp_path / "fresh"
    done(*given, 1, "--out", out)
    before = files(out)
    for name in ("write_json", "write_table"):
        with monkeypatch.context() as patch:
            patch.setattr(f"glasslstm.cli.runs.{name}", full)
            failed = [run(*given, 2, "--out", out, "--force"), run(*given, 1, "--out", fresh)]
        assert [result.exit_code for result in failed] == [1, 1]
        assert f"{out}: the run cannot be written (No space left on device); make room" in failed[0].stderr
        assert files(out) == before
        assert sorted(file.name for file in fresh.iterdir()) == ["config.toml", "log.txt"]
    done(*given, 1, "--out", fresh)
    assert (fresh / "model" / "model.json").exists()


def test_from_the_shell(place, tmp_path) -> None:
    """The whole way in processes of their own: train, repeat, predict."""

    def shell(*args):
        command = [sys.executable, "-m", "glasslstm", *map(str, args)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    shell("train", "--from", place / "label", "--out", "runs/1", "--quiet")
    again, first = (
        modelfile.inspect(folder / "model") for folder in (tmp_path / "runs" / "1", place / "label")
    )
    assert again.weights_sha256 == first.weights_sha256
    shell("predict", "runs/1", place / "parts", "--out", "p.csv", "--quiet")
    done("predict", place / "label", place / "parts", "--out", tmp_path / "here.csv", "--quiet")
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "here.csv").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_completion_of_bash(monkeypatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script = CliRunner().invoke(cli.app, ["--show-completion", "bash"], prog_name="glasslstm").stdout
    assert "_GLASSLSTM_COMPLETE=complete_bash" in script
    assert "complete -o default -F _glasslstm_completion glasslstm" in script
    monkeypatch.setenv("_GLASSLSTM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "glasslstm train --hidd")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert CliRunner().invoke(cli.app, [], prog_name="glasslstm").stdout.split() == ["--hidden-size"]
