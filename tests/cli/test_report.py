"""``glasslstm report``: what it passes on to the library, prints, and refuses. The page has tests of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import glasslstm as gl
from glasslstm import cli
from glasslstm.data import read_series

HOSTILE = ("<script>alert(1)</script>", "$x$ \x1b[31m")
TABLE = {"id": "series", "time": "t", "target": "label"}
CODE = """
import torch
model, x, y = torch.nn.LSTM(2, 3), torch.zeros(5, 4, 2), torch.zeros(5, 4, 3)
pair = (model, x)
named = {"model": model, "inputs": x, "targets": y, "loss": torch.nn.functional.mse_loss}
three = (model, x, y)
five = (model, x, y, None, None)
"""


def run(*args):
    return CliRunner().invoke(cli.app, ["report", *map(str, args)])


def table(labels=HOSTILE) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (f"<b>{k}</b>", t, *rng.normal(size=2), labels[k % 2], ("north", "south")[k % 3 == 0], k // 4)
        for k in range(12)
        for t in range(3 + k % 4)
    ]
    return pd.DataFrame(rows, columns=["series", "t", "a", "<i>b</i>", "label", "site", "day"])


def train(data: Path, out: Path, channels=("a", "<i>b</i>")) -> gl.LSTMClassifier:
    series = read_series(data, **TABLE, channels=channels)
    clf = gl.LSTMClassifier(hidden_size=3, max_epochs=1, refit=False, random_state=0, verbose=False)
    clf.fit(series)
    clf.table_ = TABLE
    clf.save(out)
    return clf


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tables, and models that were trained on them."""
    folder = tmp_path_factory.mktemp("report")
    table().to_csv(folder / "data.csv", index=False)
    table().drop(columns="label").to_csv(folder / "unlabelled.csv", index=False)
    table(labels=("up", "down")).to_csv(folder / "other.csv", index=False)
    table().iloc[::-1].to_csv(folder / "backward.csv", index=False)
    train(folder / "data.csv", folder / "model")
    train(folder / "data.csv", folder / "second")
    train(folder / "data.csv", folder / "turned", channels=("<i>b</i>", "a"))
    train(folder / "other.csv", folder / "other")
    return folder


@pytest.fixture
def calls(place, monkeypatch):
    """The arguments of each call of the library's function, which is not made; the folder is the current one."""
    seen = []
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    stub = SimpleNamespace(report=lambda *given, **named: seen.append((given, named)))
    monkeypatch.setitem(sys.modules, "glasslstm.insight.report", stub)
    return seen


def test_a_folder_and_a_table(calls) -> None:
    result = run("model", "data.csv", "--out", "new/page.html")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "the report is in new/page.html: open it in a browser\n"
    ((model, X, y), named) = calls[0]
    series = read_series("data.csv", **TABLE, channels=["a", "<i>b</i>"])
    assert isinstance(model, gl.LSTMClassifier)
    np.testing.assert_array_equal(model.predict_proba(series), gl.load("model").predict_proba(series))
    assert [one.tolist() for one in X] == [one.tolist() for one in series]
    assert y.tolist() == series.targets.tolist() == [*HOSTILE] * 6
    assert named == {
        "path": Path("new/page.html"),
        "names": ["model"],
        "train": None,
        "groups": None,
        "channel_names": ("a", "<i>b</i>"),
        "sequence_names": [f"<b>{k}</b>" for k in range(12)],
    }
    assert not Path("new").exists()  # nothing is left of the trial whether it can be written


def test_the_page_is_report_html_where_no_name_is_given(calls) -> None:
    assert "the report is in report.html" in run("model", "data.csv").stdout
    assert calls[0][1]["path"] == Path("report.html")


def test_without_labels_there_are_none(calls) -> None:
    assert run("model", "unlabelled.csv").exit_code == 0
    assert calls[0][0][2] is None


def test_columns_are_named_as_for_diagnose(calls) -> None:
    table().rename(columns={"series": "s", "t": "when", "label": "class", "a": "c"}).to_csv(
        "r.csv", index=False
    )
    names = ("--id", "s", "--time", "when", "--target", "class", "--channels", "c,<i>b</i>")
    assert run("model", "r.csv", *names, "--train", "r.csv").exit_code == 0
    assert run("model", "data.csv").exit_code == 0
    (renamed, with_train), (usual, _) = calls
    for one, other in zip(renamed[1], usual[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert renamed[2].tolist() == usual[2].tolist() == with_train["train"][1].tolist()
    assert "is not sorted by time" in run("model", "backward.csv").stderr
    assert run("model", "backward.csv", "--sort").exit_code == 0


def test_the_table_of_the_training_goes_to_the_baselines(calls) -> None:
    table().iloc[:20].to_parquet("small.parquet")
    assert run("model", "unlabelled.csv", "--train", "small.parquet").exit_code == 0
    X, y = calls[0][1]["train"]
    series = read_series("small.parquet", **TABLE, channels=["a", "<i>b</i>"])
    assert [one.tolist() for one in X] == [one.tolist() for one in series]
    assert y.tolist() == series.targets.tolist()


def test_models_stand_side_by_side(calls) -> None:
    assert run("model", "data.csv", "--compare", "second", "--compare", "model").exit_code == 0
    (models, _, _), named = calls[0]
    assert [type(model) for model in models] == [gl.LSTMClassifier] * 3
    assert named["names"] == ["model", "second", "model"]


def test_groups_are_columns_of_the_table(calls) -> None:
    assert run("model", "data.csv", "--group", "site", "--group", "day", "--group", "label").exit_code == 0
    groups = calls[0][1]["groups"]
    by_series = table().groupby("series", sort=False).first()
    assert list(groups) == ["site", "day", "label"]
    for name, values in groups.items():
        assert values == by_series[name].tolist()


@pytest.mark.parametrize("name", ["pair", "three", "named"])
def test_code_brings_its_own(calls, name) -> None:
    Path("code_of_report.py").write_text(CODE)
    assert run(f"code_of_report.py:{name}", "--out", "p.HTML").exit_code == 0
    given, named = calls[0]
    assert named == {"path": Path("p.HTML")}
    assert isinstance(given[0], torch.nn.LSTM)
    assert given[1].shape == (5, 4, 2)
    assert given[2:] == () if name == "pair" else given[2].shape == (5, 4, 3)
    assert len(given) == {"pair": 2, "three": 3, "named": 4}[name]


REFUSED = {
    "no model": (["none", "data.csv"], 1, "none: no model here"),
    "no table": (["model"], 2, "DATA: needed, because MODEL is a folder"),
    "a table that is none": (["model", "none.csv"], 1, "none.csv: there is no such file"),
    "another suffix": (
        ["model", "data.csv", "--out", "data.csv"],
        1,
        "--out data.csv: expected a name that ends in .html, such as report.html",
    ),
    "a folder as page": (["model", "data.csv", "--out", "a.html"], 1, "--out a.html is a folder"),
    "a file as folder": (
        ["model", "data.csv", "--out", "data.csv/p.html"],
        1,
        "data.csv is a file; expected a folder",
    ),
    "code with a table": (
        ["code.py:pair", "data.csv"],
        2,
        "DATA: goes with the folder of a model, not with code",
    ),
    "code with a training": (
        ["code.py:pair", "--train", "data.csv"],
        2,
        "--train: goes with the folder of a",
    ),
    "code with a comparison": (["code.py:pair", "--compare", "model"], 2, "--compare: goes with the folder"),
    "code with a group": (["code.py:pair", "--group", "site"], 2, "--group: goes with the folder of a model"),
    "code that is no example": (["code.py:five"], 1, "code.py:five: expected (model, inputs) or (model"),
    "no code": (["gone.py:pair"], 1, "gone.py: there is no such file"),
    "other classes": (
        ["model", "data.csv", "--compare", "other"],
        1,
        "its classes are down, up, and those of MODEL are $x$ \\x1b[31m, <script>alert(1)</script>; models to",
    ),
    "other channels": (
        ["model", "data.csv", "--compare", "turned"],
        1,
        "--compare turned: its channels are <i>b</i>, a, and those of MODEL are a, <i>b</i>; models to",
    ),
    "no model to compare": (["model", "data.csv", "--compare", "none"], 1, "none: no model here"),
    "a label that is no class": (["model", "other.csv"], 1, "its label 'up' is no class of the model"),
    "a training without labels": (
        ["model", "data.csv", "--train", "unlabelled.csv"],
        1,
        "unlabelled.csv: there is no column 'label' (target)",
    ),
    "a group that is no column": (
        ["model", "data.csv", "--group", "sites"],
        1,
        "--group sites: data.csv: there is no column 'sites' (target). Did you mean 'site'?",
    ),
    "a group that changes within a series": (
        ["model", "data.csv", "--group", "t"],
        1,
        "--group t: data.csv: column 't' is used twice, for time and target",
    ),
    "a hostile path": (["model\x1b[31m", "data.csv"], 1, "model\\x1b[31m: no model here"),
}
if sys.platform == "linux":  # not even root can write into /proc
    REFUSED["a page nowhere"] = (
        ["model", "data.csv", "--out", "/proc/p.html"],
        1,
        "/proc/p.html cannot be written: nothing can be made in /proc (",
    )


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_is_one_line_before_the_work(case, calls, monkeypatch) -> None:
    Path("code.py").write_text(CODE)
    Path("a.html").mkdir(exist_ok=True)
    before = sorted(Path().rglob("*"))
    args, status, message = REFUSED[case]
    result = run(*args)
    assert (result.exit_code, result.stdout, calls) == (status, "", [])
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr)
    assert message in result.stderr
    assert [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts] == before


def test_without_the_extra_one_line_says_what_to_install(calls, monkeypatch) -> None:
    drawing = ("glasslstm.insight.report", "glasslstm.insight.figures")
    for name in [name for name in sys.modules if name.startswith(drawing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    result = run("model", "data.csv")
    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: .*plotly is not installed.*pip install 'glasslstm\[report\]'\n", result.stderr
    )


def test_the_page_itself_has_the_scores_of_evaluate(place, monkeypatch) -> None:
    """No stand-in: the command writes the page, from the folder and the tables alone."""
    monkeypatch.chdir(place)
    result = run(
        "model",
        "data.csv",
        "--train",
        "data.csv",
        "--group",
        "site",
        "--compare",
        "second",
        "--out",
        "p.html",
    )
    assert (result.exit_code, result.stderr) == (0, "")
    page = Path("p.html").read_text("utf-8")
    said = CliRunner().invoke(cli.app, ["evaluate", "model", "data.csv", "--json"])
    accuracy = json.loads(said.stdout)["accuracy"]
    assert f"<dt>accuracy, model</dt><dd>{accuracy:.1%}<small>" in page
    assert "<dt>accuracy, second</dt>" in page
    assert "on the training data" in page
    assert ">&lt;b&gt;0&lt;/b&gt;: true" in page  # the names of series, as text
