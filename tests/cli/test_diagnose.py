"""``glasslstm diagnose`` and ``LSTMClassifier.diagnose``: what they look at, print and end with."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import glasslstm as gl
from glasslstm import cli, modelfile
from glasslstm._objects import find_object
from glasslstm.data import read_series
from glasslstm.errors import ArgumentError, DataError
from glasslstm.insight.rules import RULES

EXAMPLES = """
import torch
from torch import nn
import glasslstm as gl
from beside_{n} import LENGTH

x = torch.randn(LENGTH, 4, 3, generator=torch.Generator().manual_seed(0))

def _model(read):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 6, bidirectional=True), nn.Linear(12, 2)
        def forward(self, x):
            return self.head(read(self.lstm, x))
    torch.manual_seed(0)
    return Model()

good = _model(lambda lstm, x: lstm(x)[0])
bad = _model(lambda lstm, x: lstm(x)[0][-1])

def healthy():
    return good, x

def faulty():
    return {{"model": bad, "inputs": x}}

def noted():
    class Streaming(type(good)):
        states = None
        def reset(self): ...
        def forward(self, x):
            output, self.states = self.lstm(x, self.states)
            return self.head(output)
    good.__class__ = Streaming
    return good, x

def dropping():
    good.drop = nn.Dropout(0.5).eval()
    return good, x

pair = (bad, x)
with_loss = {{"model": bad, "inputs": x, "targets": torch.zeros(4).long(), "loss": nn.functional.cross_entropy}}
three = (bad, x, x)
other = {{"model": bad, "input": x}}
number = 3
def fails():
    raise KeyError("mine")
class Kept:
    example = pair
"""
CODES = ("--codes", "one-end-only,state-carried-over, dropout-without-effect")


def run(*args):
    return CliRunner().invoke(cli.app, ["diagnose", *map(str, args)])


@pytest.fixture
def code(tmp_path, monkeypatch, request):
    """A file with examples, of a module name of its own, beside one that it imports."""
    n = abs(hash(request.node.name))
    (tmp_path / f"beside_{n}.py").write_text("LENGTH = 9\n")
    (tmp_path / f"examples_{n}.py").write_text(EXAMPLES.format(n=n))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / f"examples_{n}.py"
    for name in (f"beside_{n}", f"examples_{n}"):
        sys.modules.pop(name, None)
        sys.modules.pop(f"glasslstm_code_{name}", None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table and a model that was trained on it."""
    folder = tmp_path_factory.mktemp("diagnose")
    rng = np.random.default_rng(0)
    rows = [
        (f"s{k}", t, (t if k % 2 else -t) + rng.normal() / 9, rng.normal(), ("up", "down")[k % 2])
        for k in range(20)
        for t in range(rng.integers(3, 7))
    ]
    table = pd.DataFrame(rows, columns=["series", "t", "a", "b", "label"])
    table.to_csv(folder / "data.csv", index=False)
    table.drop(columns="label").to_csv(folder / "unlabelled.csv", index=False)
    series = read_series(folder / "data.csv", id="series", time="t", target="label")
    clf = gl.LSTMClassifier(hidden_size=4, max_epochs=3, refit=False, random_state=0, verbose=False)
    clf.fit(series)
    clf.table_ = {"id": "series", "time": "t", "target": "label"}
    clf.save(folder / "model")
    return folder


class TestStatus:
    @pytest.mark.parametrize(
        ("name", "fail_on", "status"),
        [
            ("healthy", None, 0),
            ("healthy", "note", 0),
            ("noted", None, 0),
            ("noted", "note", 3),
            ("noted", "error", 0),
            ("dropping", None, 3),
            ("dropping", "warning", 3),
            ("dropping", "error", 0),
            ("faulty", None, 4),
            ("faulty", "error", 4),
            ("faulty", "never", 0),
        ],
    )
    def test_by_severity(self, code, name, fail_on, status) -> None:
        result = run(f"{code}:{name}", *CODES, *(("--fail-on", fail_on) if fail_on else ()))
        assert result.exit_code == status, result.output
        assert result.stderr == ""

    def test_an_error_of_the_command_is_1_and_a_wrong_use_2(self, code, place) -> None:
        for wrong, status, words in (
            ((f"{code}:nothing",), 1, f"error: '{code}:nothing': there is no nothing in {code}, which has"),
            (("no_such_folder",), 1, "error: no_such_folder"),
            ((code.name + ":healthy", "--codes", "x"), 1, "error: codes: expected a list of some of"),
            ((place / "model",), 2, "DATA: needed, because MODEL is a folder"),
            ((f"{code}:healthy", place / "data.csv"), 2, "DATA: goes with the folder of a model"),
            ((f"{code}:healthy", "--fail-on", "sometimes"), 2, "'sometimes'"),
        ):
            result = run(*wrong)
            assert (result.exit_code, result.stdout) == (status, "")
            assert words in result.stderr

    def test_the_help_says_them(self) -> None:
        result = CliRunner().invoke(cli.app, ["diagnose", "--help"])
        words = " ".join(result.stdout.split())
        assert (
            "exit status is 3 if a note or a warning fails, by --fail-on, and 4 if an error does; 0 if"
            in words
        )
        assert "1 says that the command went wrong and 2 that it was called wrongly" in words
        assert "Example: glasslstm diagnose" in words


class TestOutput:
    def test_a_table_and_words(self, code) -> None:
        lines = run(f"{code}:faulty", *CODES).stdout.splitlines()
        assert lines[0] == "1 error; 3 codes looked for"
        assert lines[1:4] == [
            "",
            "findings:",
            "severity  code          where                   value  threshold",
        ]
        assert lines[4] == "error     one-end-only  lstm, layer 0, reverse      1          1"
        found = gl.diagnose(*find_object(f"{code}:pair"), codes=["one-end-only"])
        assert lines[5:] == str(found).splitlines()[1:]

    def test_what_was_not_looked_for_with_the_reason(self, code) -> None:
        result = run(f"{code}:healthy", "--codes", "padding-matters")
        assert result.stdout == (
            "nothing found; 0 codes looked for, 1 could not be: padding-matters\n"
            "\n"
            "not looked for:\n"
            "  padding-matters: no padding was found: give a batch of sequences of different lengths\n"
        )

    def test_json(self, code) -> None:
        result = run(f"{code}:faulty", "--json", *CODES)
        found = gl.diagnose(*find_object(f"{code}:pair"), codes=["one-end-only"])
        printed = json.loads(result.stdout)
        assert printed["findings"] == json.loads(json.dumps(found.to_dict()))["findings"]
        assert printed["looked_for"] == ["one-end-only", "state-carried-over", "dropout-without-effect"]

    def test_every_code_without_codes(self, code) -> None:
        printed = json.loads(run(f"{code}:faulty", "--json").stdout)
        assert {*printed["looked_for"], *printed["skipped"]} == set(RULES)


class TestCode:
    @pytest.mark.parametrize("name", ["faulty", "pair", "with_loss", "Kept.example"])
    def test_every_form_of_an_example(self, code, name) -> None:
        assert run(f"{code}:{name}", "--codes", "one-end-only").exit_code == 4

    def test_a_module_of_the_current_folder(self, code) -> None:
        assert run(f"{code.stem}:pair", "--codes", "one-end-only").exit_code == 4

    @pytest.mark.parametrize(
        ("name", "got"),
        [("three", "tuple"), ("other", "a dict of model, input"), ("number", "int"), ("good", "Model")],
    )
    def test_what_is_no_example(self, code, name, got) -> None:
        result = run(f"{code}:{name}")
        assert result.exit_code == 1
        assert result.stderr == (
            f"error: {code}:{name}: expected (model, inputs) or (model, inputs, targets, loss), or a dict of these; "
            f"got {got}\n"
        )

    def test_an_error_of_the_code_is_its_own(self, code) -> None:
        result = run(f"{code}:fails")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: unexpected KeyError: 'mine'")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nocolon", "expected module:name or path/to/file.py:name"),
            ("module:", "expected module:name"),
            (":name", "expected module:name"),
            ("no_such_module_xyz:name", "'no_such_module_xyz': there is no such module, here or among"),
            ("no_such.py:name", r"no_such\.py: there is no such file"),
            ("math:pie", "'math:pie': there is no pie in math, which has .*pi, "),
        ],
    )
    def test_find_object_says_what_is_missing(self, name, message) -> None:
        with pytest.raises(ArgumentError, match=message):
            find_object(name)

    def test_an_import_that_fails_inside_is_not_hidden(self, code) -> None:
        code.write_text("import no_such_module_xyz\n")
        for name in (f"{code}:x", f"{code.stem}:x"):
            with pytest.raises(ModuleNotFoundError, match="no_such_module_xyz"):
                find_object(name)


class TestFolder:
    def test_with_labels_it_is_what_the_library_gives(self, place) -> None:
        result = run(place / "model", place / "data.csv", "--json", "--fail-on", "never")
        assert result.exit_code == 0, result.stderr
        series = read_series(place / "data.csv", id="series", time="t", target="label")
        expected = modelfile.load(place / "model").diagnose(series, series.targets)
        assert json.loads(result.stdout) == json.loads(json.dumps(expected.to_dict()))

    def test_without_labels(self, place) -> None:
        printed = run(place / "model", place / "unlabelled.csv", "--json", "--fail-on", "never").stdout
        series = read_series(place / "unlabelled.csv", id="series", time="t")
        expected = modelfile.load(place / "model").diagnose(series)
        assert json.loads(printed) == json.loads(json.dumps(expected.to_dict()))

    def test_a_target_that_is_asked_for_must_be_there(self, place) -> None:
        result = run(place / "model", place / "unlabelled.csv", "--target", "label")
        assert result.exit_code == 1
        assert re.fullmatch(r"error: [^\n]*label[^\n]*\n", result.stderr)


class TestEstimator:
    def test_it_looks_at_the_scaled_and_padded_series(self, place, monkeypatch) -> None:
        clf = modelfile.load(place / "model")
        series = read_series(place / "data.csv", id="series", time="t", target="label")
        seen = []
        monkeypatch.setattr(
            "glasslstm.estimators.base.diagnose", lambda *given, **named: seen.append((given, named))
        )
        clf.diagnose(series, series.targets, codes=["x"])
        clf.diagnose(list(series))
        (network, (x, lengths), targets, loss), named = seen[0]
        assert network is clf.network_
        assert named == {"codes": ["x"]}
        assert lengths.tolist() == [len(one) for one in series]
        mean, scale = clf.preparation_.mean, clf.preparation_.scale
        for b, length in enumerate(lengths):
            scaled = ((series[b] - mean) / scale).astype(np.float32)
            np.testing.assert_array_equal(x[:length, b].numpy(), scaled)
            assert not x[length:, b].any()
        assert clf.classes_[targets.numpy()].tolist() == series.targets.tolist()
        logits = clf.network_.eval()(x, lengths)
        expected = -torch.log_softmax(logits, 1)[torch.arange(20), targets].mean()
        torch.testing.assert_close(loss(logits, targets), expected)
        assert seen[1][0][2:] in ((), (None, None))  # no labels, no loss

    def test_of_many_series_64_are_looked_at(self, place, monkeypatch) -> None:
        clf = modelfile.load(place / "model")
        seen = []
        monkeypatch.setattr("glasslstm.estimators.base.diagnose", lambda *given, **_: seen.append(given))
        X = [np.full((3, 2), k) for k in range(127)]
        y = np.where(np.arange(127) % 4 < 2, "up", "down")
        clf.diagnose(X, y)
        _, (x, _), targets, _ = seen[0]
        assert clf.classes_[targets.numpy()].tolist() == y[::2].tolist()
        assert x.shape == (3, 64, 2)

    def test_a_trained_classifier_is_wired_as_it_should_be(self, place) -> None:
        clf = modelfile.load(place / "model")
        series = read_series(place / "data.csv", id="series", time="t", target="label")
        codes = [
            "padding-matters",
            "axes-mixed",
            "state-carried-over",
            "one-end-only",
            "dropout-without-effect",
        ]
        found = clf.diagnose(series, series.targets, codes=codes)
        assert (tuple(found), found.skipped) == ((), {})

    def test_what_it_refuses(self, place) -> None:
        clf = modelfile.load(place / "model")
        X = [np.zeros((3, 2)), np.ones((4, 2))]
        for y, message in (
            (["up"], r"y: expected one label for each of the 2 series, got an array of shape \(1,\)"),
            (["up", "sideways"], "y: 'sideways' is no class of the model, which has 'down', 'up'"),
        ):
            with pytest.raises(DataError, match=message):
                clf.diagnose(X, y)
        with pytest.raises(DataError, match="X has 3 features, but LSTMClassifier is expecting 2"):
            clf.diagnose([np.zeros((3, 3))])
        with pytest.raises(ArgumentError, match="codes: expected a list of some of"):
            clf.diagnose(X, codes=["x"])
