"""A forecaster comes back from its folder as it was, whatever its time stamps; what does not fit is refused."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save

import glasslstm as gl
from glasslstm import modelfile
from glasslstm.data import Sequences, read_series
from glasslstm.errors import ArgumentError, ModelFileError
from glasslstm.forecasting.preparation import WindowPreparation

H, L = 3, 12
SMALL: dict[str, Any] = {"horizon": H, "context": L, "hidden_size": 3, "max_updates": 2} | {
    "random_state": 0,
    "verbose": False,
}


def answers(model: Any, series: Any, future: Any = None) -> bytes:
    """Return what a model forecasts, to the bit: of its own series, and of others."""
    parts = [model.predict(future=future)] + (
        [] if series is None else [model.predict(series, future=future)]
    )
    found = [
        column.tobytes()
        for part in parts
        for column in (part.point, part.quantiles, part.times)
        if column is not None
    ]
    return b"".join(found) + str([part.ids.tolist() for part in parts]).encode()


def whole(ids: Any = None, times: Any = None, steps: int = 40, **beside: Any) -> Sequences:
    rng = np.random.default_rng(3)
    values = [np.round(50 + 10 * rng.normal(size=(steps, 2)), 3) for _ in range(2)]
    return Sequences.from_arrays(
        values, ids=ids, times=None if times is None else [times, times], channel_names=["y", "x"], **beside
    )


def from_text(file: str) -> Any:
    return read_series(
        file, id="unique_id", time="ds", channels=["y", "colour"], categories=["colour", "site"],
        static=["age", "site"], missing="mask",
    )  # fmt: skip


def ahead_of(file: str) -> Any:
    return read_series(file, id="unique_id", time="ds", channels=["colour"], categories=["colour"])


def text(days: pd.DatetimeIndex, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    rows = ["unique_id,ds,y,colour,age,site"]
    for k, name in enumerate(("north", 'so"uth', "Ünicode")):
        quoted = name.replace('"', '""')
        for t, day in enumerate(days):
            y = "" if (t + k) % 9 == 0 else f"{rng.normal(10, 2):.4f}"
            rows.append(
                f'"{quoted}",{day:%Y-%m-%d},{y},{("red", "blue")[t % 2]},{30 + k},{("n", "s")[k % 2]}'
            )
    return "\n".join(rows) + "\n"


DAYS = pd.date_range("2024-01-01", periods=40)
TIMES: dict[str, Any] = {
    "none": None,
    "whole numbers": 7 * np.arange(40),
    "numbers": 0.1 * np.arange(40),
    "years": np.datetime64("1950", "Y") + np.arange(40),
    "months": np.datetime64("2020-01", "M") + np.arange(40),
    "days": DAYS.values.astype("M8[D]"),
    "hours": np.datetime64("2024-01-01", "h") + np.arange(40),
    "nanoseconds": np.datetime64("2024-01-01", "ns") + 250 * np.arange(40),
    "quarters of an hour": np.datetime64("2024-01-01", "15m") + np.arange(40),
    "business days": pd.bdate_range("2024-01-01", periods=40).values.astype("M8[s]"),
    "month ends": pd.date_range("2020-01-31", periods=40, freq="ME").values.astype("M8[us]"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasters")
    (folder / "known.csv").write_text(text(DAYS), encoding="utf-8")
    (folder / "other.csv").write_text(text(DAYS + pd.Timedelta("40D"), seed=1), encoding="utf-8")
    more = text(pd.date_range("2024-02-10", periods=60))
    ahead = "\n".join(",".join(row.split(",")[k] for k in (0, 1, 3)) for row in more.splitlines())
    (folder / "ahead.csv").write_text(ahead, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def timed() -> dict[str, Any]:
    """Return a model for each kind of time stamps."""
    return {
        name: gl.LSTMForecaster(**SMALL, missing="error").fit(whole(["a", "b"], times))
        for name, times in TIMES.items()
    }


@pytest.fixture(scope="module")
def full(place: Path) -> Any:
    """A model with everything: text ids, gaps, static features, categories known ahead, a record."""
    model = gl.LSTMForecaster(
        **SMALL,
        future_covariates=["colour"],
        transform="log1p",
        season_length=5,
        num_layers=2,
        bidirectional=True,
    )
    return model.fit(from_text(str(place / "known.csv")), record=True)


@pytest.fixture(scope="module")
def saved(full: Any, place: Path) -> Path:
    full.save(place / "full")
    return place / "full"


def again(model: Any, folder: Path) -> Any:
    model.save(folder)
    return gl.load(folder)


@pytest.mark.parametrize("kind", TIMES)
def test_every_kind_of_time_stamps_comes_back(timed: dict[str, Any], tmp_path: Path, kind: str) -> None:
    model = timed[kind]
    found = again(model, tmp_path / "model")
    assert found.series_.times.dtype == model.series_.times.dtype
    np.testing.assert_array_equal(found.series_.times, model.series_.times)
    assert found.frequency_ == model.frequency_
    assert answers(found, whole(["a", "c"], TIMES[kind])) == answers(model, whole(["a", "c"], TIMES[kind]))


@pytest.mark.parametrize(
    "ids", [["a", "b"], [7, 3], [1.5, -2.0], np.array([1, 2], "i2"), ["é", "\u2028 odd"], None]
)
def test_every_kind_of_ids_comes_back(tmp_path: Path, ids: Any) -> None:
    model = gl.LSTMForecaster(**SMALL).fit(whole(ids))
    found = again(model, tmp_path / "model")
    assert found.series_.ids.tolist() == model.series_.ids.tolist()
    assert (found.series_.ids.dtype.kind == "U") == (model.series_.ids.dtype.kind == "U")
    assert answers(found, None) == answers(model, None)


def test_ids_without_a_sign_come_back(tmp_path: Path) -> None:
    model = gl.LSTMForecaster(**SMALL).fit(whole(np.array([1, 2], "u1")))
    assert again(model, tmp_path / "model").series_.ids.tolist() == [1, 2]


def test_ids_that_a_file_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = gl.LSTMForecaster(**SMALL).fit(whole([b"a", b"b"]))
    with pytest.raises(ArgumentError, match=r"column 'id': got .S1 .*expected text, whole or real numbers"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"quantiles": None, "loss": "huber"},
        {"quantiles": [np.float32(0.25), 0.5]},
        {"horizon": np.int64(H), "context": np.int32(L), "season_length": np.int64(4)},
        {"calendar": False, "transform": "sqrt"},
        {"layer_norm": True, "max_updates": None, "max_epochs": 1, "stride": 2},
    ],
    ids=["points", "quantiles", "numpy numbers", "no calendar", "epochs"],
)
def test_every_kind_of_parameters_comes_back(tmp_path: Path, given: dict[str, Any]) -> None:
    model = gl.LSTMForecaster(**{**SMALL, **given}).fit(whole(["a", "b"], TIMES["days"]))
    found = again(model, tmp_path / "model")
    assert answers(found, whole(["c", "d"], TIMES["days"])) == answers(
        model, whole(["c", "d"], TIMES["days"])
    )
    for name, value in found.get_params().items():
        expected = model.get_params()[name]
        if name not in ("device", "verbose", "checkpoint"):
            assert value == (tuple(expected) if isinstance(expected, list) else expected), name


def test_all_that_was_learned_comes_back(full: Any, saved: Path) -> None:
    found = gl.load(saved)
    learned = {key for key in vars(full) if key.endswith("_")}
    assert {key for key in vars(found) if key.endswith("_")} == learned
    assert type(found.preparation_) is WindowPreparation
    assert repr(found.network_) == repr(full.network_)
    for name, weight in full.network_.state_dict().items():
        assert weight.equal(found.network_.state_dict()[name]), name
    for name in WindowPreparation.__dataclass_fields__:
        np.testing.assert_array_equal(
            getattr(found.preparation_, name), getattr(full.preparation_, name), name
        )
    for name in ("values", "starts", "stops", "ids", "times", "static"):
        np.testing.assert_array_equal(getattr(found.series_, name), getattr(full.series_, name), name)
        assert getattr(found.series_, name).dtype == getattr(full.series_, name).dtype, name
    for name in ("channel_names", "static_names", "categories"):
        assert getattr(found.series_, name) == getattr(full.series_, name), name
    for name in (
        "n_features_in_",
        "n_outputs_",
        "longest_",
        "history_",
        "task_",
        "frequency_",
        "best_epoch_",
    ):
        assert getattr(found, name) == getattr(full, name), name
    assert found.feature_names_in_.tolist() == full.feature_names_in_.tolist() == ["y", "colour"]
    assert found.record_.keys() == full.record_.keys()


def test_a_fresh_process_gives_the_same_numbers_to_the_bit(
    full: Any, timed: dict[str, Any], saved: Path, place: Path
) -> None:
    models = {name: model for name, model in timed.items() if name != "quarters of an hour"}
    for k, model in enumerate(models.values()):
        model.save(place / f"timed{k}")
    code = "\n".join(
        [
            "import sys, glasslstm as gl",
            "from glasslstm.data import read_series",
            *(inspect.getsource(one).replace("Any", "object") for one in (answers, from_text, ahead_of)),
            "print(answers(gl.load('full'), from_text('other.csv'), ahead_of('ahead.csv')).hex())",
            "for name in sys.argv[1:]:",
            "    print(answers(gl.load(name), None).hex())",
        ]
    )
    command = [sys.executable, "-c", code, *(f"timed{k}" for k in range(len(models)))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place)
    first, *others = map(bytes.fromhex, done.stdout.split())
    assert first == answers(full, from_text(str(place / "other.csv")), ahead_of(str(place / "ahead.csv")))
    for (name, model), line in zip(models.items(), others, strict=True):
        assert line == answers(model, None), name


def test_it_goes_on_after_it_was_loaded(full: Any, saved: Path, place: Path, tmp_path: Path) -> None:
    new, ahead = from_text(str(place / "other.csv")), ahead_of(str(place / "ahead.csv"))
    five = new.select([0, 2])
    five = Sequences(**{**vars(five), "stops": five.starts + 5})
    grown, loaded = copy.deepcopy(full).update(five), gl.load(saved).update(five)
    assert answers(loaded, None, ahead) == answers(grown, None, ahead) != answers(full, None, ahead)
    assert answers(again(loaded, tmp_path / "grown"), None, ahead) == answers(grown, None, ahead)


def test_what_was_trained_is_saved_and_not_what_was_set_since(full: Any, tmp_path: Path, place: Path) -> None:
    model = copy.deepcopy(full).set_params(
        horizon=9, quantiles=None, context=5, transform="none", season_length=2
    )
    found = again(model, tmp_path / "model")
    assert (found.horizon, found.context, found.transform, found.season_length) == (H, L, "log1p", 5)
    ahead = ahead_of(str(place / "ahead.csv"))
    assert answers(found, None, ahead) == answers(full, None, ahead) == answers(model, None, ahead)


def test_what_was_loaded_can_be_fitted_and_backtested(timed: dict[str, Any], tmp_path: Path) -> None:
    found = again(timed["days"], tmp_path / "model")
    longer = whole(["a", "b"], np.datetime64("2024-01-01") + np.arange(52), 52)
    expected = timed["days"].backtest(longer, baselines=()).answers["lstm"].point
    np.testing.assert_array_equal(found.backtest(longer, baselines=()).answers["lstm"].point, expected)
    assert answers(found.fit(whole(["a", "b"], TIMES["days"])), None) == answers(timed["days"], None)


def forge(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Change the description and the tensors of a model, and make all checksums fit again."""
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / content["weights_file"])
    change(content, tensors)
    (folder / content["weights_file"]).unlink()
    weights = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    digest = hashlib.sha256(weights).hexdigest()
    content |= {"weights_file": f"weights-{digest[:16]}.safetensors", "weights_sha256": digest}
    content["checksum"] = modelfile.checksum(content)
    (folder / content["weights_file"]).write_bytes(weights)
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_forgery_that_changes_nothing_loads(copied: Path, full: Any, place: Path) -> None:
    forge(copied, lambda content, tensors: None)
    ahead = ahead_of(str(place / "ahead.csv"))
    assert answers(gl.load(copied), None, ahead) == answers(full, None, ahead)


def entry(**changes: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda content, tensors: content["forecast"].update(changes)


def tensor(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda content, tensors: tensors.update({name: change(tensors[name])})


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "target past the channels": entry(target=9),
    "target below 0": entry(target=-1),
    "target of the calendar": entry(target=2),
    "target of categories": entry(target=1),
    "context 0": entry(context=0),
    "context of other weights": entry(context=L - 1),
    "season longer than the context": entry(season_length=L + 1),
    "season 0": entry(season_length=0),
    "transform": entry(transform="cube"),
    "known past the channels": entry(known=[99]),
    "known twice": entry(known=[1, 1]),
    "known target": entry(known=[0]),
    "calendar of all channels": entry(calendar=99),
    "calendar below 0": entry(calendar=-1),
    "calendar of other features": entry(calendar=1),
    "no frequency": entry(alias=None),
    "two frequencies": entry(step=1.0),
    "unknown frequency": entry(alias="fortnight"),
    "step below 0": entry(alias=None, step=-1.0),
    "dates with a step": entry(alias=None, step=1.0),
    "numbers with an alias": entry(date_unit=None),
    "date unit": entry(date_unit="fortnight"),
    "date unit in brackets": entry(date_unit="D]"),
    "no categories": entry(categories={}),
    "fewer categories than codes": entry(categories={"colour": ["blue"], "site": ["n", "s"]}),
    "no columns": entry(series={}),
    "surprise": entry(surprise=1),
    "no static feature": lambda content, tensors: content["forecast"]["series"].pop("static age"),
    "no steps": lambda content, tensors: content["forecast"]["series"].pop("steps"),
    "no forecast": lambda content, tensors: content.update(forecast=None),
    "another estimator": lambda content, tensors: content.update(estimator="LSTMRegressor"),
    "another horizon": lambda content, tensors: content["task"]["settings"].update(count=H + 1),
    "fewer channels": lambda content, tensors: content["preparation"].update(channels=2, static=8),
    "duration": lambda content, tensors: content["preparation"].update(duration=True),
    "no values": lambda content, tensors: tensors.pop("steps.values"),
    "no times": lambda content, tensors: tensors.pop("steps.times"),
    "no ids": lambda content, tensors: tensors.pop("series.id"),
    "no weights": lambda content, tensors: tensors.pop("autoregression.weight"),
    "more": lambda content, tensors: tensors.update({"series.more": np.zeros(3)}),
    "shorter weights": tensor("autoregression.weight", lambda w: w[:, 1:]),
    "fewer values": tensor("steps.values", lambda v: v[:-1]),
    "one channel": tensor("steps.values", lambda v: v[:, :1]),
    "infinite values": tensor("steps.values", lambda v: np.full_like(v, np.inf)),
    "codes that are no categories": tensor("steps.values", lambda v: v + 9),
    "fewer times": tensor("steps.times", lambda t: t[:-1]),
    "times that fall": tensor("steps.times", lambda t: t[::-1]),
    "real times of dates": tensor("steps.times", lambda t: t.astype(np.float32)),
    "series that are shorter": tensor("series.steps", lambda n: n - 1),
    "series of other lengths": tensor("series.steps", lambda n: n + np.array([-1, 1, 0])),
    "lengths below 0": tensor("series.steps", lambda n: n * [-1, 2, 2]),
    "real lengths": tensor("series.steps", lambda n: n.astype(np.float64)),
    "ids past the texts": tensor("series.id", lambda k: k + 1),
    "ids that are the same": tensor("series.id", lambda k: 0 * k),
    "static features that are missing": tensor("series.static age", lambda a: np.full_like(a, np.nan)),
    "static codes that are no categories": tensor("series.static site", lambda a: a + 7),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_what_does_not_fit_together_is_refused(copied: Path, change: Any) -> None:
    forge(copied, change)
    with pytest.raises(ModelFileError):
        gl.load(copied)


def test_a_damaged_file_is_refused(copied: Path) -> None:
    description = (copied / "model.json").read_text(encoding="utf-8")
    changed = description.replace('"season_length": 5', '"season_length": 4')
    assert changed != description
    (copied / "model.json").write_text(changed, encoding="utf-8")
    with pytest.raises(ModelFileError, match="the checksum does not fit, the file was changed"):
        gl.load(copied)
    (copied / "model.json").write_text(description, encoding="utf-8")
    weights = next(copied.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFileError, match="the weights are damaged"):
        gl.load(copied)


def test_the_description_can_be_read(saved: Path) -> None:
    about = modelfile.inspect(saved)
    assert (about.estimator, about.task.kind, about.flat) == ("LSTMForecaster", "quantiles", None)
    assert about.forecast is not None
    assert (about.forecast.alias, about.forecast.step, about.forecast.context) == ("D", None, L)
    assert (about.forecast.transform, about.forecast.season_length, about.forecast.target) == ("log1p", 5, 0)
    assert about.forecast.categories == {"colour": ("blue", "red"), "site": ("n", "s")}
