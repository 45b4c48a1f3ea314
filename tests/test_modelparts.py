"""Every estimator comes back from its folder as it was: all that was learned, and the same numbers to the bit."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm import modelfile
from glasslstm._modelinfo import _ONLY_WAY_BEFORE_3
from glasslstm.data import Sequences, load_japanese_vowels, read_series
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.tasks import Classes, Labels, Numbers, Quantiles

N = 14
SMALL: dict[str, Any] = {"hidden_size": 3, "max_epochs": 2, "validation_fraction": 0} | {
    "random_state": 0,
    "verbose": False,
}
FORMATS = Path(__file__).parent / "formats"


def read(file: str) -> Sequences:
    """Read what `table` writes: gaps in `x`, categories of the steps and of the series, a static number, times."""
    return read_series(
        file,
        id="id",
        time="t",
        channels=["x", "mode", "y"],
        categories=["mode", "site"],
        static=["age", "site"],
        missing="mask",
    )


def answers(model: Any, series: Any) -> bytes:
    """Return what a model says, to the bit."""
    quantiles = getattr(model, "quantiles", None)
    ask = "predict_quantiles" if quantiles else "predict_proba" if hasattr(model, "classes_") else "predict"
    found = getattr(model, ask)(series)
    return (np.concatenate(found) if isinstance(found, list) else found).tobytes()


def table(seed: int) -> str:
    draw = np.random.default_rng(seed)
    rows = ["id,t,x,mode,y,age,site"]
    for k in range(N):
        times = np.cumsum(draw.uniform(0.5, 2, 3 + k % 4))
        for step, t in enumerate(times):
            x = "" if (k + step) % 3 == 0 else f"{draw.normal(1e3, 1e2):.3f}"
            mode = "" if (k, step) == (2, 1) else ("auto", "hand", "Ünicode, \u2028 odd")[(k + step) % 3]
            site = ("north", "south")[k % 2]
            rows.append(f's{k},{t:.4f},{x},"{mode}",{draw.normal():.6f},{40 + k},{site}')
    return "\n".join(rows) + "\n"


def fitted(series: Sequences) -> dict[str, Any]:
    """Return a model of every kind; each is asked for something else beside."""
    draw, k = np.random.default_rng(0), np.arange(N)
    both, lengths = {**SMALL, "missing": "mask"}, series.lengths
    timed = {**both, "step_duration": True}
    return {
        "classes": gl.LSTMClassifier(
            **timed, class_weight={7: 2.0, 8: 1}, label_smoothing=0.1, pooling="attention", num_layers=2
        ).fit(series, 7 + k % 3),
        "labels": gl.LSTMClassifier(**timed, class_weight="balanced", layer_norm=True).fit(
            series, np.stack([k % 2, k % 3 == 0, k > 4], axis=1)
        ),
        "number": gl.LSTMRegressor(**timed, loss="huber", pooling="max", conv_blocks=2, conv_max_steps=3).fit(
            series, draw.normal(1e6, 1e3, N)
        ),
        "numbers": gl.LSTMRegressor(**timed, bidirectional=False).fit(series, draw.normal(size=(N, 1))),
        "quantiles": gl.LSTMRegressor(**both, quantiles=[np.float32(0.25), 0.5, 0.9]).fit(
            series, draw.normal(1 / 3, 1e-3, (N, 2))
        ),
        "tags": gl.LSTMTagger(**timed, causal=True, class_weight={"up": 0.5}).fit(
            series, [np.resize(["up", "down"], n) for n in lengths]
        ),
        "values": gl.LSTMTagger(**timed, target="number", initialisation="chrono").fit(
            series, [np.arange(n) / 7 for n in lengths], record=True
        ),
    }


MODELS = ("classes", "labels", "number", "numbers", "quantiles", "tags", "values")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(2):
        (folder / f"{seed}.csv").write_text(table(seed), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(place: Path) -> dict[str, Any]:
    found = fitted(read(str(place / "0.csv")))
    for name, model in found.items():
        model.table_ = {"id": "id", "time": "t", "target": None, "static": ["age", "site"], "per_step": True}
        model.save(place / name)
    return found


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Compare type and value, into whatever an estimator holds."""
    assert type(found) is type(expected), where
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, err_msg=where)
    elif isinstance(expected, Preparation):
        for entry in fields(expected):
            name = entry.name
            assert_same(getattr(found, name), getattr(expected, name), f"{where}.{name}")
    elif isinstance(expected, torch.nn.Module):
        assert_same(dict(found.state_dict()), dict(expected.state_dict()), where)
        assert repr(found) == repr(expected), where
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}[{key!r}]")
    else:
        assert found == expected, where


def parameters(model: Any) -> dict[str, Any]:
    beside = ("device", "verbose", "checkpoint")
    return {name: value for name, value in model.get_params().items() if name not in beside}


@pytest.mark.parametrize("name", MODELS)
def test_all_that_was_learned_comes_back(models: dict[str, Any], place: Path, name: str) -> None:
    model, again = models[name], gl.load(place / name)
    assert type(again) is type(model)
    learned = {key for key in vars(model) if key.endswith("_")}
    assert {key for key in vars(again) if key.endswith("_")} == learned
    for key in learned:
        assert_same(getattr(again, key), getattr(model, key), key)


@pytest.mark.parametrize("name", MODELS)
def test_the_parameters_come_back(models: dict[str, Any], place: Path, name: str) -> None:
    expected = parameters(models[name])
    if name == "quantiles":
        expected["quantiles"] = (0.25, 0.5, 0.9)  # a sequence comes back as a tuple of plain numbers
    assert_same(parameters(gl.load(place / name)), expected, name)


def test_what_is_tried_is_what_it_should_be(models: dict[str, Any]) -> None:
    tasks = [type(models[name].task_) for name in MODELS]
    assert tasks == [Classes, Labels, Numbers, Numbers, Quantiles, Classes, Numbers]
    for name, model in models.items():
        preparation = model.preparation_
        assert preparation.gaps.tolist() == [True, True, *[False] * (len(preparation.gaps) - 2)], name
        assert preparation.categories.keys() == {1, 4}, name
        assert preparation.duration is (name != "quantiles"), name
    assert models["number"].predict(read_text(1)).ndim == 1
    assert models["numbers"].predict(read_text(1)).ndim == 2


def read_text(seed: int) -> Sequences:
    import io

    import pandas as pd

    frame = pd.read_csv(io.StringIO(table(seed)))
    return read_series(
        frame, id="id", time="t", channels=["x", "mode", "y"], categories=["mode", "site"],
        static=["age", "site"], missing="mask",
    )  # fmt: skip


def test_a_fresh_process_gives_the_same_numbers_to_the_bit(models: dict[str, Any], place: Path) -> None:
    code = "\n".join(
        [
            "import sys, numpy as np, glasslstm as gl",
            "from glasslstm.data import Sequences, read_series",
            inspect.getsource(read).replace("-> Sequences", ""),
            inspect.getsource(answers).replace("Any", "object"),
            "series = read('1.csv')",
            "for name in sys.argv[1:]:",
            "    print(answers(gl.load(name), series).hex())",
        ]
    )
    command = [sys.executable, "-c", code, *MODELS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place)
    series = read(str(place / "1.csv"))
    for name, line in zip(MODELS, done.stdout.split(), strict=True):
        assert bytes.fromhex(line) == answers(models[name], series), name


def test_what_was_trained_is_saved_and_not_what_was_set_since(models: dict[str, Any], tmp_path: Path) -> None:
    from copy import deepcopy

    model, before = deepcopy(models["quantiles"]), parameters(gl_saved(models["quantiles"], tmp_path / "a"))
    model.set_params(hidden_size=9, quantiles=None, missing="error", learning_rate=0.5, pooling="mean")
    again = gl_saved(model, tmp_path / "b")
    assert parameters(again) == before
    series = read_text(1)
    assert answers(again, series) == answers(models["quantiles"], series)
    assert parameters(gl_saved(again.set_params(loss="huber"), tmp_path / "c")) == before


def gl_saved(model: Any, folder: Path) -> Any:
    model.save(folder)
    return gl.load(folder)


def test_a_tagger_that_is_fitted_anew_is_saved_as_what_it_is_now(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(6, 4, 1))
    tagger = gl.LSTMTagger(**SMALL).fit(X, [np.array(["a", "b", "a", "b"])] * 6)
    tagger.fit(X, [np.arange(4) / 3] * 6)
    again = gl_saved(tagger, tmp_path / "model")
    assert modelfile.inspect(tmp_path / "model").classes is None
    np.testing.assert_array_equal(again.predict(X), tagger.predict(X))


@pytest.mark.parametrize(
    "keys", [("a", "b"), (1, 2), (True, False), (1.0, 2.0), (np.str_("a"), np.str_("b"))]
)
def test_class_weights_keep_the_type_of_their_labels(tmp_path: Path, keys: tuple[Any, Any]) -> None:
    weights = {keys[0]: 2, keys[1]: np.float64(0.5)}
    model = gl.LSTMClassifier(**SMALL, class_weight=weights).fit(np.eye(8)[:, :, None], np.resize(keys, 8))
    found = gl_saved(model, tmp_path / "model").class_weight
    assert found == weights
    plain = [key.item() if isinstance(key, np.generic) else key for key in keys]
    assert [type(key) for key in found] == [type(key) for key in plain]


def test_a_random_state_is_no_parameter(tmp_path: Path) -> None:
    state = np.random.RandomState(3)
    model = gl.LSTMRegressor(**{**SMALL, "random_state": state}).fit(np.eye(8)[:, :, None], np.arange(8.0))
    assert gl_saved(model, tmp_path / "model").random_state is None
    assert model.random_state is state


def test_what_was_loaded_can_be_fitted_again(place: Path, models: dict[str, Any]) -> None:
    series, y = read(str(place / "0.csv")), 7 + np.arange(N) % 3
    again = gl.load(place / "classes").fit(series, y)
    assert answers(again, series) == answers(models["classes"], series)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_load_and_give_the_same_probabilities(tmp_path: Path, version: int) -> None:
    X, _ = load_japanese_vowels("test")
    written = json.loads((FORMATS / f"version{version}.json").read_text())
    model = gl.load(FORMATS / f"version{version}")
    # The figures are of float64 input; series are held in float32 now.
    np.testing.assert_allclose(model.predict_proba(X[:5]), written["probability"], rtol=0, atol=1e-6)
    assert len(getattr(model, "record_", {}).get("epoch", [])) == written["record_rows"]
    assert modelfile.inspect(FORMATS / f"version{version}").format_version == version
    assert (model.hidden_size, model.num_layers, model.best_epoch_, model.n_iter_) == (3, 2, 4, 4)
    assert model.table_ == {"id": "series", "time": "step", "target": "speaker"}

    again = gl_saved(model, tmp_path / "model")
    assert modelfile.inspect(tmp_path / "model").format_version == modelfile.FORMAT_VERSION
    assert answers(again, X) == answers(gl.load(FORMATS / f"version{version}"), X) == answers(model, X)
    for key in (key for key in vars(model) if key.endswith("_")):
        assert_same(getattr(again, key), getattr(model, key), key)


def test_an_older_file_means_what_it_meant_whatever_the_defaults_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parameters(gl.load(FORMATS / "version1"))
    written = json.loads((FORMATS / "version1" / "model.json").read_text())["parameters"]
    assert before == written | _ONLY_WAY_BEFORE_3  # a new parameter needs its old meaning there
    others = {"pooling": "mean", "layer_norm": True, "missing": "mask", "step_duration": True}
    defaults = gl.LSTMClassifier.__init__.__kwdefaults__
    monkeypatch.setattr(gl.LSTMClassifier.__init__, "__kwdefaults__", defaults | others)
    assert gl.LSTMClassifier().pooling == "mean"
    assert parameters(gl.load(FORMATS / "version1")) == before
