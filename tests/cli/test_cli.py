"""The command line: what it prints, writes and refuses, and with which status it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from glasslstm import cli, modelfile
from glasslstm.__main__ import main
from glasslstm._console import printable
from glasslstm.data import read_series
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.ops import cpu

COMMANDS = ("demo", "train", "predict", "evaluate", "diagnose", "report", "info", "doctor", "bench")
COLUMNS = ("--target", "label", "--id", "series", "--time", "t")
SMALL = ("--max-epochs", "2", "--hidden-size", "4", "--no-refit", "--seed", "0", "--quiet")
LABELS = ("[red]up[/red]", "do\x1bwn")


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def error_of(result) -> str:
    """Return the one line of an error, and check that it is one and that nothing else was printed."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr)
    return result.stderr


def table(labels=LABELS, n=20) -> pd.DataFrame:
    """Return a long table of `n` series of 3 to 6 steps that rise or fall, with the labels in turn."""
    rng = np.random.default_rng(0)
    rows = [
        (f"s{i}", t, (t if i % 2 else -t) + rng.normal() / 9, rng.normal(), labels[i % 2])
        for i in range(n)
        for t in range(rng.integers(3, 7))
    ]
    return pd.DataFrame(rows, columns=["series", "t", "a", "b", "label"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a table, data.csv, and a model that was trained on it."""
    folder = tmp_path_factory.mktemp("cli")
    table().to_csv(folder / "data.csv", index=False)
    result = run("train", folder / "data.csv", *COLUMNS, "--out", folder / "model", *SMALL)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_names_the_command(command) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    glasslstm {command}" in result.stdout
    assert "\x1b" not in result.stdout


def test_help_shows_the_defaults_of_the_classifier() -> None:
    text = " ".join(run("train", "--help").stdout.split())
    for name in ("hidden_size", "max_epochs", "learning_rate", "validation_fraction"):
        option = f"--{name.replace('_', '-')}"
        default = getattr(LSTMClassifier(), name)
        assert re.search(rf"{option} [^-]*\[default: {re.escape(str(default))}\]", text), option


def test_train_has_every_parameter_of_the_classifier_as_an_option() -> None:
    text = run("train", "--help").stdout
    options = {f"--{name.replace('_', '-')}" for name in LSTMClassifier().get_params()}
    renamed = {"--random-state": "--seed", "--verbose": "--quiet"}
    for option in {renamed.get(option, option) for option in options}:
        assert f"{option} " in text, option
    assert "Epochs of the search, at most." in text


def test_version() -> None:
    result = run("--version")
    assert re.fullmatch(r"glasslstm \d+\.\d+\.\d+\S*\n", result.stdout)


def test_train_says_what_it_trained_and_saves_columns_and_parameters(tmp_path) -> None:
    data = tmp_path / "data.parquet"
    table().assign(note="text").to_parquet(data)
    result = run("train", data, *COLUMNS, "--out", tmp_path / "new" / "m", *SMALL, "--channels", "b, a")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("20 series, 2 classes, channels b, a\nbest epoch ")
    clf = modelfile.load(tmp_path / "new" / "m")
    assert clf.table_ == {"id": "series", "time": "t", "target": "label"}
    assert clf.feature_names_in_.tolist() == ["b", "a"]
    assert (clf.hidden_size, clf.max_epochs, clf.refit, clf.random_state) == (4, 2, False, 0)


@pytest.mark.parametrize(("given", "kept"), [("0", None), ("0.5", 0.5)])
def test_train_passes_on_how_to_train(place, tmp_path, given, kept) -> None:
    more = ("--precision", "bf16-mixed", "--weight-averaging", "0.5", "--gradient-clip", given)
    result = run("train", place / "data.csv", *COLUMNS, "--out", tmp_path / "m", *SMALL, *more)
    assert result.exit_code == 0, result.stderr
    parameters = modelfile.inspect(tmp_path / "m").parameters
    assert [parameters[name] for name in ("precision", "weight_averaging", "gradient_clip")] == [
        "bf16-mixed",
        0.5,
        kept,
    ]


def test_train_gives_the_model_that_the_library_gives(place) -> None:
    series = read_series(place / "data.csv", id="series", time="t", target="label")
    same = LSTMClassifier(max_epochs=2, hidden_size=4, refit=False, random_state=0, verbose=False)
    same.fit(series.X, series.y)
    loaded = modelfile.load(place / "model")
    np.testing.assert_array_equal(loaded.predict_proba(series.X), same.predict_proba(series.X))


def test_train_keeps_a_record_where_it_is_asked_for(place, tmp_path) -> None:
    train = ("train", place / "data.csv", *COLUMNS, *SMALL)
    assert run(*train, "--out", tmp_path / "m", "--record").exit_code == 0
    recorded, plain = modelfile.load(tmp_path / "m"), modelfile.load(place / "model")
    assert recorded.record_["epoch"].tolist() == [0, 0, 1, 1, 2, 2]  # of both directions
    assert not hasattr(plain, "record_")
    series = read_series(place / "data.csv", id="series", time="t", target="label")
    np.testing.assert_array_equal(recorded.predict_proba(series.X), plain.predict_proba(series.X))
    about = run("info", tmp_path / "m").stdout
    assert re.search(r"^record +training, epoch, module, layer, direction, ", about, re.MULTILINE)
    assert "record" not in run("info", place / "model").stdout
    assert json.loads(run("info", tmp_path / "m", "--json").stdout)["record"]["training"] == ["search"]


def test_progress_goes_to_standard_error_and_quiet_is_quiet(place, tmp_path) -> None:
    loud = [option for option in SMALL if option != "--quiet"]
    result = run("train", place / "data.csv", *COLUMNS, "--out", tmp_path / "m", *loud)
    assert "epoch 1 of at most 2" in result.stderr
    assert "\x1b" not in result.stderr
    assert "of at most" not in result.stdout


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_writes_a_row_a_series(place, tmp_path, suffix) -> None:
    out = tmp_path / "new" / f"predictions{suffix}"
    shuffled = tmp_path / "shuffled.csv"
    data = table().assign(extra="text").drop(columns="label")
    data[["b", "extra", "t", "a", "series"]].to_csv(shuffled, index=False)
    result = run("predict", place / "model", shuffled, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == f"20 series: {out}\n"

    written = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    series = read_series(place / "data.csv", id="series", time="t", target="label")
    clf = modelfile.load(place / "model")
    assert written.columns.tolist() == ["id", "class", *(f"probability_{name}" for name in clf.classes_)]
    assert written["id"].tolist() == [f"s{i}" for i in range(20)]
    assert written["class"].tolist() == clf.predict(series.X).tolist()
    np.testing.assert_allclose(written.iloc[:, 2:], clf.predict_proba(series.X), rtol=1e-12)


def test_class_names_cannot_collide_with_the_columns(tmp_path) -> None:
    data = tmp_path / "data.csv"
    table(labels=("id", "class")).to_csv(data, index=False)
    assert run("train", data, *COLUMNS, "--out", tmp_path / "m", *SMALL).exit_code == 0
    assert run("predict", tmp_path / "m", data, "--out", tmp_path / "p.csv").exit_code == 0
    columns = pd.read_csv(tmp_path / "p.csv").columns
    assert columns.tolist() == ["id", "class", "probability_class", "probability_id"]


def test_columns_of_another_name_and_unsorted_rows_can_be_asked_for(place, tmp_path) -> None:
    data = tmp_path / "other.csv"
    renamed = table().rename(columns={"series": "run", "t": "when", "label": "class"})
    renamed.iloc[::-1].to_csv(data, index=False)
    names = ("--id", "run", "--time", "when", "--target", "class")
    assert "is not sorted by time" in error_of(run("evaluate", place / "model", data, *names))
    other = json.loads(run("evaluate", place / "model", data, *names, "--sort", "--json").stdout)
    usual = json.loads(run("evaluate", place / "model", place / "data.csv", "--json").stdout)
    assert other == usual


def test_evaluate_gives_the_scores_of_scikit_learn(place) -> None:
    result = run("evaluate", place / "model", place / "data.csv", "--json")
    scores = json.loads(result.stdout)
    series = read_series(place / "data.csv", id="series", time="t", target="label")
    clf = modelfile.load(place / "model")
    predicted = clf.predict(series.X)
    assert scores["n_series"] == 20
    assert scores["accuracy"] == clf.score(series.X, series.y)
    assert [row["class"] for row in scores["classes"]] == clf.classes_.tolist()
    f1 = f1_score(series.y, predicted, average=None, labels=clf.classes_)
    np.testing.assert_allclose([row["f1"] for row in scores["classes"]], f1)
    assert [row["support"] for row in scores["classes"]] == [10, 10]
    confusion = [[np.sum((series.y == c) & (predicted == p)) for p in clf.classes_] for c in clf.classes_]
    assert scores["confusion_matrix"] == confusion


def test_evaluate_prints_hostile_names_as_they_are_but_for_control_characters(place) -> None:
    result = run("evaluate", place / "model", place / "data.csv")
    assert result.exit_code == 0
    assert re.match(r"accuracy [01]\.\d{4} on 20 series\n", result.stdout)
    assert "[red]up[/red]" in result.stdout
    assert "do\\x1bwn" in result.stdout
    assert "\x1b" not in result.stdout
    header = next(line for line in result.stdout.splitlines() if line.startswith("class"))
    assert header.split() == ["class", "precision", "recall", "f1", "support"]


KINDS = {"text": ("0", "1"), "integers": (0, 1), "floats": (0.0, 1.0)}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Return a folder with a model and tables whose labels are the same numbers in each type."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, labels in {**KINDS, "booleans": (False, True)}.items():
        table(labels).to_parquet(folder / f"{name}.parquet")
        table(labels).to_csv(folder / f"{name}.csv", index=False)
        train = run("train", folder / f"{name}.parquet", *COLUMNS, "--out", folder / name, *SMALL)
        assert train.exit_code == 0, train.stderr
    return folder


@pytest.mark.parametrize("trained_on", KINDS)
@pytest.mark.parametrize("data", [f"{name}.parquet" for name in KINDS] + ["integers.csv"])
def test_labels_are_the_classes_that_are_the_same_number(kinds, trained_on, data) -> None:
    usual = json.loads(run("evaluate", kinds / trained_on, kinds / f"{trained_on}.parquet", "--json").stdout)
    result = run("evaluate", kinds / trained_on, kinds / data, "--json")
    assert json.loads(result.stdout) == usual
    assert [row["class"] for row in usual["classes"]] == list(KINDS[trained_on])


@pytest.mark.parametrize(("trained_on", "data"), [("integers", "floats.csv"), ("booleans", "booleans.csv")])
def test_the_text_of_a_csv_file_is_compared_with_numbers_and_booleans_as_such(
    kinds, trained_on, data
) -> None:
    usual = run("evaluate", kinds / trained_on, kinds / f"{trained_on}.parquet", "--json")
    assert json.loads(run("evaluate", kinds / trained_on, kinds / data, "--json").stdout) == json.loads(
        usual.stdout
    )


def test_numbers_that_are_none_of_the_classes_are_refused_and_texts_differ_as_texts(kinds) -> None:
    table(labels=(0, 2)).to_csv(kinds / "two.csv", index=False)
    assert "series s1: its label '2' is no class of the model" in error_of(
        run("evaluate", kinds / "floats", kinds / "two.csv")
    )
    table(labels=("00", "1")).to_csv(kinds / "zeros.csv", index=False)
    assert "series s0: its label '00' is no class of the model" in error_of(
        run("evaluate", kinds / "text", kinds / "zeros.csv")
    )


def test_ids_and_labels_of_a_csv_file_come_out_as_they_stand_there(tmp_path) -> None:
    data = table(labels=("01", "1"))
    data["series"] = "00" + data["series"].str[1:]
    data.to_csv(tmp_path / "data.csv", index=False)
    assert run("train", tmp_path / "data.csv", *COLUMNS, "--out", tmp_path / "m", *SMALL).exit_code == 0
    assert modelfile.inspect(tmp_path / "m").classes == ["01", "1"]
    assert run("predict", tmp_path / "m", tmp_path / "data.csv", "--out", tmp_path / "p.csv").exit_code == 0
    assert pd.read_csv(tmp_path / "p.csv", dtype=str)["id"].tolist() == [f"00{k}" for k in range(20)]


def test_info_says_what_the_model_is(place) -> None:
    about = json.loads(run("info", place / "model", "--json").stdout)
    assert about["estimator"] == "LSTMClassifier"
    assert about["channel_names"] == ["a", "b"]
    assert about["table"] == {"id": "series", "time": "t", "target": "label"}
    plain = run("info", place / "model").stdout
    assert re.search(r"^classes +\[red\]up\[/red\], do\\x1bwn$", plain, re.MULTILINE)
    assert re.search(r"^hidden_size +4$", plain, re.MULTILINE)


def test_doctor_says_what_runs_here() -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert found["versions"]["torch"]
    assert found["machine"]["cores"] >= 1
    assert found["extras"]["report"].keys() == {"plotly", "scikit-learn", "scipy"}
    rows = {(row["device"], row["work"]): row for row in found["kernels"]}
    assert rows["cpu", "with all gates"]["kernel"] == ("plain" if cpu.NATIVE is None else "native")
    assert rows["cpu", "torch.func transforms"]["kernel"] == "equations"
    native = found["machine"]["native_kernels"]
    assert native.startswith("not built") if cpu.NATIVE is None else native in cpu.NATIVE.instruction_sets()
    plain = run("doctor").stdout
    for row in found["kernels"]:
        assert row["reason"] in plain
    assert [line for line in plain.splitlines() if line != line.rstrip()] == []
    assert "\x1b" not in plain


def test_doctor_names_the_command_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasslstm.doctor.installed_extras", lambda: {"report": {"plotly": None}})
    assert "missing: pip install 'glasslstm[report]'" in run("doctor").stdout


def test_demo_leaves_model_metrics_and_report(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(LSTMClassifier, max_epochs=1, hidden_size=4, refit=False)
    monkeypatch.setattr("glasslstm.demo.LSTMClassifier", quick)
    out = tmp_path / "runs" / "demo"
    for seed in (1, 2):  # a second run replaces the first
        result = run("demo", "--out", out, "--seed", seed, "--quiet")
        assert result.exit_code == 0, result.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics) == [
        "dataset",
        "n_train",
        "n_test",
        "test_accuracy",
        "fit_seconds",
        "seed",
        "versions",
    ]
    assert (metrics["dataset"], metrics["n_train"], metrics["n_test"], metrics["seed"]) == (
        "Japanese Vowels",
        270,
        370,
        2,
    )
    assert f"test accuracy {metrics['test_accuracy']:.4f} on 370 utterances" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "model", "report.html"]
    assert "Japanese Vowels" in (out / "report.html").read_text(encoding="utf-8")
    shipped = files("glasslstm.data") / "japanese_vowels.parquet"
    scores = run("evaluate", out / "model", shipped, "--json")
    assert json.loads(scores.stdout)["n_series"] == 640


def test_an_interrupted_demo_leaves_nothing_behind(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasslstm.demo.LSTMClassifier.fit", interrupt)
    result = run("demo", "--out", tmp_path / "demo")
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")
    assert not list(tmp_path.glob("demo/*"))


def interrupt(*_, **__):
    raise KeyboardInterrupt


def never(*_, **__):
    raise AssertionError("training began")


REFUSED = {
    "no such table": (["train", "none.csv", *COLUMNS, "--out", "m"], "none.csv: there is no such file"),
    "an unknown column": (
        ["train", "data.csv", "--target", "lable", *COLUMNS[2:], "--out", "m"],
        "data.csv: there is no column 'lable' (target). Did you mean 'label'?",
    ),
    "a parameter out of range": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--dropout", "2"],
        "dropout: expected a number from 0 to below 1, got 2.0",
    ),
    "a model that is there": (
        ["train", "none.csv", *COLUMNS, "--out", "model"],
        "--out model has a model already; choose another folder, or replace it with --force",
    ),
    "a folder with something else": (
        ["train", "data.csv", *COLUMNS, "--out", ".", "--force"],
        ".: holds other things",
    ),
    "a file as folder": (
        ["train", "data.csv", *COLUMNS, "--out", "data.csv"],
        "data.csv: is a file; a model is saved into a folder of its own",
    ),
    "a file as parent": (
        ["train", "data.csv", *COLUMNS, "--out", "data.csv/m"],
        "data.csv is a file; expected a folder",
    ),
    "no model": (["info", "none"], "none: no model here"),
    "no model to predict with": (["predict", ".", "data.csv", "--out", "p.csv"], ".: no model here"),
    "another suffix": (
        ["predict", "model", "data.csv", "--out", "p.txt"],
        "p.txt: expected a name that ends in .csv, .parquet or .pq",
    ),
    "the table itself": (
        ["predict", "model", "data.csv", "--out", "data.csv"],
        "--out data.csv is the table to read; choose another name",
    ),
    "a missing channel": (
        ["predict", "model", "without_b.csv", "--out", "p.csv"],
        "without_b.csv: there is no column 'b' (channel). The columns are",
    ),
    "a label that is no class": (
        ["evaluate", "model", "another_label.csv"],
        "series s1: its label 'sideways' is no class of the model; expected one of",
    ),
    "another number of channels": (
        ["predict", "model", "data.csv", "--out", "p.csv", "--channels", "a"],
        "--channels: expected the 2 channels of the model (a, b), in the order of the training; got 1: a",
    ),
    "a checkpoint in a file": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--checkpoint", "data.csv"],
        "data.csv is a file; expected a folder",
    ),
    "a demo in a file": (["demo", "--out", "data.csv"], "data.csv is a file; expected a folder"),
}
if sys.platform == "linux":  # not even root can write into /proc
    REFUSED |= {
        "a model nowhere": (
            ["train", "data.csv", *COLUMNS, "--out", "/proc/new/m"],
            "/proc/new/m/model.json cannot be written: nothing can be made in /proc (",
        ),
        "a checkpoint nowhere": (
            ["train", "data.csv", *COLUMNS, "--out", "m", "--checkpoint", "/proc/new"],
            "/proc/new/search.ckpt cannot be written: nothing can be made in /proc (",
        ),
        "predictions nowhere": (
            ["predict", "model", "data.csv", "--out", "/proc/p.csv"],
            "/proc/p.csv cannot be written: nothing can be made in /proc (",
        ),
        "a demo nowhere": (
            ["demo", "--out", "/proc/demo"],
            "/proc/demo/report.html cannot be written: nothing can be made in /proc (",
        ),
    }


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_is_one_line_before_any_training(case, place, monkeypatch: pytest.MonkeyPatch) -> None:
    table().drop(columns="b").to_csv(place / "without_b.csv", index=False)
    table(labels=(LABELS[0], "sideways")).to_csv(place / "another_label.csv", index=False)
    monkeypatch.chdir(place)
    monkeypatch.setattr("glasslstm.estimators.classifier.train", never)
    args, message = REFUSED[case]
    before = sorted(place.rglob("*"))
    assert message in error_of(run(*args))
    assert sorted(place.rglob("*")) == before


def test_a_model_that_is_there_stays_until_force_replaces_it(place, tmp_path) -> None:
    out = tmp_path / "m"
    train = ("train", place / "data.csv", *COLUMNS, "--out", out, *SMALL)
    assert run(*train).exit_code == 0
    old = modelfile.inspect(out)
    assert "replace it with --force" in error_of(run(*train, "--seed", 1))
    assert modelfile.inspect(out) == old
    assert run(*train, "--seed", 1, "--force").exit_code == 0
    assert modelfile.inspect(out).parameters["random_state"] == 1


def test_a_model_without_names_asks_for_them(tmp_path, place) -> None:
    series = read_series(place / "data.csv", id="series", time="t", target="label")
    clf = LSTMClassifier(max_epochs=1, hidden_size=4, refit=False, random_state=0, verbose=False)
    clf.fit(series.X, series.y).save(tmp_path / "m")
    evaluate = ["evaluate", tmp_path / "m", place / "data.csv"]
    for option, name in {"--id": "series", "--time": "t", "--target": "label"}.items():
        message = f"the model does not know the {option[2:]} column; name it with {option}"
        assert message in error_of(run(*evaluate))
        evaluate += [option, name]
    assert "names of its 2 channels; name their columns" in error_of(run(*evaluate))
    result = run(*evaluate, "--channels", "a,b", "--json")
    assert json.loads(result.stdout)["accuracy"] == clf.score(series.X, series.y)


def test_ctrl_c_in_training_saves_the_best_model_so_far(
    place, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []

    def after_two(row) -> None:
        rows.append(row)
        if len(rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("glasslstm.estimators.classifier.shown", lambda *_: _Shown(after_two))
    out = tmp_path / "m"
    result = run("train", place / "data.csv", *COLUMNS, "--out", out, *SMALL, "--max-epochs", 50)
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted\n"
    assert "the model is in" in result.stdout
    assert len(modelfile.inspect(out).history) == 2


class _Shown:
    def __init__(self, on_epoch) -> None:
        self.on_epoch = on_epoch

    def __enter__(self):
        return self.on_epoch

    def __exit__(self, *_) -> None:
        return None


def test_an_unexpected_error_is_one_line_too(place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_):
        raise RuntimeError("two\nlines \x1b")

    monkeypatch.setattr(modelfile, "inspect", fail)
    message = error_of(run("info", place / "model"))
    assert message.startswith("error: unexpected RuntimeError: two lines \\x1b (run again with --debug")


def test_an_os_error_names_the_file(place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_):
        raise PermissionError(13, "Permission denied", "model.json")

    monkeypatch.setattr(modelfile, "inspect", fail)
    assert error_of(run("info", place / "model")) == "error: model.json: Permission denied\n"


@pytest.mark.parametrize("args", [["--debug", "info", "none"], ["info", "none", "--debug"]])
def test_debug_lets_the_error_through(args) -> None:
    result = run(*args)
    assert isinstance(result.exception, modelfile.ModelFileError)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["info"], "Missing argument"),
        (["info", "m", "--fly"], "No such option: --fly"),
        (["train", "data.csv", "--hidden-size", "many"], "Invalid value for '--hidden-size'"),
        (["train", "data.csv"], "Missing option '--target'"),
        (["--fly"], "No such option: --fly"),
        (["info", "m", "--jso"], "Possible options: --json"),
        (["fly", "--debug"], "No such command 'fly'"),
    ],
)
def test_a_wrong_use_is_one_line_with_a_hint_and_status_2(args, message) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    command = " train" if args[0] == "train" else " info" if args[0] == "info" else ""
    assert re.fullmatch(
        rf"error: [^\n]*{re.escape(message)}[^\n]* \(see \S+{command} --help\)\n", result.stderr
    )


def test_without_arguments_there_is_help() -> None:
    assert run().stdout == run("--help").stdout
    assert "Commands:" in run().stdout


def test_control_characters_are_made_visible() -> None:
    assert printable("a\x1b[31m\n\x85é[/]") == "a\\x1b[31m\\n\\x85é[/]"


@pytest.mark.parametrize("module", ["typer", "sklearn", "narwhals", "pydantic"])
def test_without_the_extra_one_line_says_what_to_install(
    module, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "glasslstm.estimators")
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert re.fullmatch(
        rf"error: .*{module} is not installed.*pip install 'glasslstm\[train\]'\n", capsys.readouterr().err
    )


def test_ctrl_c_while_libraries_load_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("glasslstm.__main__.require", interrupt)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_the_module_runs_as_a_program(tmp_path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "glasslstm", "info", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"error: none: no model here [^\n]*\n", result.stderr)


def test_a_reader_that_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody_reads:
        monkeypatch.setattr(sys, "stdout", nobody_reads)
        with pytest.raises(SystemExit) as caught:
            cli.app(["doctor", "--json"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == ""
