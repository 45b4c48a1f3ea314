"""The command line: what it prints, writes and refuses, and with which status it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
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
QUICK = ("--max-epochs", "2", "--hidden-size", "4", "--no-refit", "--quiet", "--no-report")
SMALL = (*QUICK, "--seed", "0")
ROLES = {"id": "series", "time": "t", "target": "label"}
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
    """Return a folder with a table, data.csv, a run that was trained on it, and the run's model by itself."""
    folder = tmp_path_factory.mktemp("cli")
    table().to_csv(folder / "data.csv", index=False)
    result = run("train", folder / "data.csv", *COLUMNS, "--out", folder / "run", *SMALL)
    assert result.exit_code == 0, result.stderr
    shutil.copytree(folder / "run" / "model", folder / "model")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_names_the_command(command) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    glasslstm {command}" in result.stdout
    assert "\x1b" not in result.stdout


def test_version() -> None:
    result = run("--version")
    assert re.fullmatch(r"glasslstm \d+\.\d+\.\d+\S*\n", result.stdout)


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
    series = read_series(place / "data.csv", **ROLES)
    clf = modelfile.load(place / "model")
    assert written.columns.tolist() == ["id", "class", *(f"probability_{name}" for name in clf.classes_)]
    assert written["id"].tolist() == [f"s{i}" for i in range(20)]
    assert written["class"].tolist() == clf.predict(series).tolist()
    np.testing.assert_allclose(written.iloc[:, 2:], clf.predict_proba(series), rtol=1e-12)


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
    series = read_series(place / "data.csv", **ROLES)
    clf = modelfile.load(place / "model")
    predicted = clf.predict(series)
    assert scores["n_series"] == 20
    assert scores["accuracy"] == clf.score(series, series.targets)
    assert [row["class"] for row in scores["classes"]] == clf.classes_.tolist()
    f1 = f1_score(series.targets, predicted, average=None, labels=clf.classes_)
    np.testing.assert_allclose([row["f1"] for row in scores["classes"]], f1)
    assert [row["support"] for row in scores["classes"]] == [10, 10]
    confusion = [
        [np.sum((series.targets == c) & (predicted == p)) for p in clf.classes_] for c in clf.classes_
    ]
    assert scores["confusion_matrix"] == confusion


def test_evaluate_prints_hostile_names_as_they_are_but_for_control_characters(place) -> None:
    result = run("evaluate", place / "model", place / "data.csv")
    assert result.exit_code == 0
    figures = r"accuracy [01]\.\d{4}, balanced accuracy [01]\.\d{4}, log loss \d\.\d{4} on 20 series\n"
    assert re.match(figures, result.stdout)
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
    assert modelfile.inspect(tmp_path / "m" / "model").classes == ["01", "1"]
    assert run("predict", tmp_path / "m", tmp_path / "data.csv", "--out", tmp_path / "p.csv").exit_code == 0
    assert pd.read_csv(tmp_path / "p.csv", dtype=str)["id"].tolist() == [f"00{k}" for k in range(20)]


def test_info_says_what_the_model_is(place) -> None:
    about = json.loads(run("info", place / "model", "--json").stdout)
    assert about["estimator"] == "LSTMClassifier"
    assert about["preparation"]["names"] == ["a", "b"]
    assert about["table"] == {"id": "series", "time": "t", "target": "label"}
    assert "run" not in about
    of_run = json.loads(run("info", place / "run", "--json").stdout)
    assert {name: of_run[name] for name in about} == about
    assert of_run["run"]["data"] == str(place / "data.csv")
    assert (of_run["run"]["task"], of_run["run"]["n_series"]) == ("classify", 20)
    assert "hidden_size" not in of_run["run"]  # it stands with the model
    assert re.search(r"^fit_seconds +\d", run("info", place / "run").stdout, re.MULTILINE)
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
    "a run that is there": (
        ["train", "none.csv", *COLUMNS, "--out", "run"],
        "--out run has a run already; choose another folder, or replace it with --force",
    ),
    "a folder with something else": (
        ["train", "data.csv", *COLUMNS, "--out", ".", "--force"],
        "--out . holds other things (another_label.csv); a run is written into a folder of its own",
    ),
    "a file as folder": (
        ["train", "data.csv", *COLUMNS, "--out", "data.csv"],
        "--out data.csv is a file; a run is written into a folder of its own",
    ),
    "a file as parent": (
        ["train", "data.csv", *COLUMNS, "--out", "data.csv/m"],
        "data.csv is a file; expected a folder",
    ),
    "no model": (["info", "none"], "none: no model here"),
    "no model to predict with": (["predict", "none", "data.csv", "--out", "p.csv"], "none: no model here"),
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
    "no run to repeat": (
        ["train", "--from", "model", "--out", "m"],
        "--from model: there is no run here; expected a folder with a config.toml",
    ),
    "no file with options": (
        ["train", "data.csv", "--config", "none.toml", "--out", "m"],
        "none.toml: there is no such file; expected settings as TOML",
    ),
    "a file of options that is none": (
        ["train", "--config", "data.csv", "--out", "m"],
        "data.csv: cannot be read as TOML: ",
    ),
    "two files with options": (
        ["train", "--config", "run/config.toml", "--from", "run", "--out", "m"],
        "--config and --from are both files with options; give one of them",
    ),
    "two ways to validate": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--group", "a", "--validation", "data.csv"],
        "--group says how to cut a validation part, and --validation brings one; leave out one",
    ),
    "groups without a validation part": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--group", "series_2", "--validation-fraction", "0"],
        "--group says how to cut a validation part, and --validation-fraction 0 asks for none; leave out one",
    ),
    "a group that is no column": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--group", "sites"],
        "--group sites: data.csv: there is no column 'sites'",
    ),
    "a task that there is not": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--task", "guess"],
        "--task: expected auto, classify, regress, tag, forecast, got 'guess'",
    ),
    "a setting of another task": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--quantiles", "0.1,0.9"],
        "--quantiles is a setting of the task regress and forecast, and the task is classify; leave it out, or say",
    ),
    "a setting of another task that was named": (
        ["train", "none.csv", *COLUMNS, "--out", "m", "--task", "regress", "--label-smoothing", "0.1"],
        "--label-smoothing is a setting of the task classify, and the task is regress",
    ),
    "quantiles that are no numbers": (
        ["train", "none.csv", *COLUMNS, "--out", "m", "--quantiles", "low,high"],
        "--quantiles: expected None, or numbers above 0 and below 1, rising, written as 0.1,0.5,0.9|none",
    ),
    "quantiles that fall": (
        ["train", "none.csv", *COLUMNS, "--out", "m", "--task", "regress", "--quantiles", "0.9,0.1"],
        "quantiles: expected None, or numbers above 0 and below 1, rising, got (0.9, 0.1)",
    ),
    "a choice that there is not": (
        ["train", "none.csv", *COLUMNS, "--out", "m", "--task", "tag", "--schedule", "linear"],
        "schedule: expected 'auto', 'constant' or 'cosine', got 'linear'",
    ),
    "a weight of no class": (
        ["train", "data.csv", *COLUMNS, "--out", "m", "--class-weight", "up=2"],
        "--class-weight: 'up' is no class; expected some of [red]up[/red], do\\x1bwn",
    ),
    "columns of a file that has none": (
        ["train", "data.ts", *COLUMNS, "--out", "m"],
        "--target: data.ts is a .ts file, which has no columns; leave it out",
    ),
    "figures in a folder": (
        ["evaluate", "run", "data.csv", "--out", "run"],
        "--out run is a folder; expected",
    ),
    "a demo in a file": (["demo", "--out", "data.csv"], "data.csv is a file; expected a folder"),
}
if sys.platform == "linux":  # not even root can write into /proc
    REFUSED |= {
        "a run nowhere": (
            ["train", "data.csv", *COLUMNS, "--out", "/proc/new/m"],
            "/proc/new/m/config.toml cannot be written: nothing can be made in /proc (",
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
    monkeypatch.setattr("glasslstm.estimators.base.LSTMEstimator.fit", never)
    args, message = REFUSED[case]
    before = sorted(place.rglob("*"))
    assert message in error_of(run(*args))
    assert sorted(place.rglob("*")) == before


def test_a_model_without_names_asks_for_them(tmp_path, place) -> None:
    series = read_series(place / "data.csv", **ROLES)
    clf = LSTMClassifier(max_epochs=1, hidden_size=4, refit=False, random_state=0, verbose=False)
    clf.fit(list(series), series.targets).save(tmp_path / "m")
    evaluate = ["evaluate", tmp_path / "m", place / "data.csv"]
    for option, name in {"--id": "series", "--time": "t", "--target": "label"}.items():
        message = f"the model does not know the {option[2:]} column; name it with {option}"
        assert message in error_of(run(*evaluate))
        evaluate += [option, name]
    assert "names of its 2 channels; name their columns" in error_of(run(*evaluate))
    result = run(*evaluate, "--channels", "a,b", "--json")
    assert json.loads(result.stdout)["accuracy"] == clf.score(list(series), series.targets)


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
        (["train"], "Invalid value for DATA: needed"),
        (["train", "data.csv"], "Invalid value for --out: needed"),
        (["train", "data.csv", "--out", "m"], "Invalid value for --target: needed"),
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
