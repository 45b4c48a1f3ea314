"""The model file: the same numbers back, whole or not at all, and one clear error for anything else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file
from sklearn.exceptions import NotFittedError

import glasslstm as gl
from glasslstm import modelfile
from glasslstm.errors import ArgumentError, ModelFileError

X = np.random.default_rng(0).normal(size=(12, 5, 2))


def trained(labels: Any = ("a", "b"), **parameters: Any) -> gl.LSTMClassifier:
    clf = gl.LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0, verbose=False, **parameters)
    return clf.fit(X, np.repeat(labels, 6), channel_names=["left", "right"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    trained().save(folder)
    return folder


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.mark.parametrize("labels", [("a", "b"), (1, 2), (1.0, 2.0), (True, False), np.array([1, 2], "int16")])
def test_load_gives_the_same_estimator(tmp_path: Path, labels: Any) -> None:
    clf = trained(labels)
    clf.table_ = {"id": "series", "time": "t", "target": "label"}
    clf.save(tmp_path / "model")
    again = gl.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.classes_, clf.classes_)
    assert again.classes_.dtype == clf.classes_.dtype
    assert again.table_ == clf.table_
    assert again.history_ == clf.history_
    assert again.feature_names_in_.tolist() == ["left", "right"]
    changed = {"device", "verbose", "checkpoint"}
    assert {k: v for k, v in again.get_params().items() if k not in changed} == {
        k: v for k, v in clf.get_params().items() if k not in changed
    }


def recorded(**parameters: Any) -> gl.LSTMClassifier:
    clf = gl.LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0, verbose=False, **parameters)
    return clf.fit(X, np.repeat(["a", "b"], 6), record=True)


@pytest.mark.parametrize("parameters", [{}, {"validation_fraction": 0, "num_layers": 2}])
def test_the_record_comes_back_as_it_was(tmp_path: Path, parameters: dict[str, Any]) -> None:
    clf = recorded(**parameters)
    clf.record_["half_life_90"][:3] = np.inf, -np.inf, np.nan
    clf.save(tmp_path / "model")
    again = gl.load(tmp_path / "model")
    assert list(again.record_) == list(clf.record_)
    for name, column in clf.record_.items():
        assert again.record_[name].dtype == column.dtype, name
        np.testing.assert_array_equal(again.record_[name], column)
        again.record_[name][:1] = again.record_[name][-1:]  # it can be written to, as after a fit
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert len(list((tmp_path / "model").iterdir())) == 2


def test_the_file_says_what_the_documentation_says(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    assert list(content) == [
        *("format", "format_version", "library_version", "torch_version", "estimator", "parameters", "task"),
        *(
            "classes",
            "class_dtype",
            "flat",
            "preparation",
            "longest",
            "table",
            "history",
            "best_epoch",
            "interrupted",
        ),
        *("record", "weights_file", "weights_sha256", "checksum"),
    ]
    checksum = content.pop("checksum")
    assert hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() == checksum
    assert content["format_version"] == 3
    assert content["task"] == {"kind": "classes", "settings": {"outputs": 2, "label_smoothing": 0.0}}
    assert content["preparation"] == {
        "channels": 2, "static": 0, "duration": False, "names": ["left", "right"], "gaps": [], "categories": {},
    }  # fmt: skip
    assert not {"device", "checkpoint", "verbose"} & content["parameters"].keys()
    assert set(load_file(weights(model))) == {
        *gl.load(model).network_.state_dict(), "mean", "scale",
    }  # fmt: skip


def test_every_entry_is_documented(model: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "modelfile.md").read_text(encoding="utf-8")
    for entry in json.loads((model / "model.json").read_text()):
        assert f"| `{entry}`" in page or f", `{entry}`" in page, entry


def test_a_record_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for column in (np.array([1, None]), np.zeros(2), np.zeros((9, 1))):
        clf = recorded(validation_fraction=0)
        clf.record_["epoch"] = column
        with pytest.raises(
            ArgumentError, match=r"column 'epoch': got \S+ of shape .* expected text, whole or real"
        ):
            clf.save(tmp_path / "model")
        assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def with_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "model"
    recorded().save(folder)
    return folder


def forge(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change description and weights, and make the names and checksums fit."""
    content = json.loads((folder / "model.json").read_text())
    tensors = load_file(weights(folder))
    change(content, tensors)
    weights(folder).unlink()
    data = safetensors.numpy.save(tensors)
    digest = content["weights_sha256"] = hashlib.sha256(data).hexdigest()
    content["weights_file"] = f"weights-{digest[:16]}.safetensors"
    (folder / content["weights_file"]).write_bytes(data)
    del content["checksum"]
    content["checksum"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps(content))


def set_first(column: str, value: float) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(record: dict[str, Any], tensors: dict[str, Any]) -> None:
        tensors[f"record.{column}"][0] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda record, tensors: tensors.pop("record.epoch"),
            "columns training, epoch, .*: there are tensors for",
        ),
        (lambda record, tensors: record.pop("epoch"), "columns training, module, .*: there are tensors for"),
        (lambda record, tensors: tensors.update({"record.epoch": np.arange(2)}), "their lengths differ"),
        (set_first("training", 2), "column 'training': a text that is not listed"),
        (set_first("training", -1), "column 'training': a text that is not listed"),
        (
            lambda record, tensors: record.update(half_life_90=["a"]),
            "column 'half_life_90': float64 of shape",
        ),
        (
            lambda record, tensors: tensors.update(
                {n: t[:, None] for n, t in tensors.items() if "record" in n}
            ),
            "column 'training': int64 of shape",
        ),
        (
            lambda record, tensors: tensors.update({"record.epoch": tensors["record.epoch"] > 0}),
            "column 'epoch': bool of shape",
        ),
    ],
)
def test_a_forged_record_is_refused(with_record: Path, tmp_path: Path, change: Any, message: str) -> None:
    folder = Path(shutil.copytree(with_record, tmp_path / "model"))
    forge(folder, lambda content, tensors: None)
    assert gl.load(folder).record_["training"][-1] == "refit"
    forge(folder, lambda content, tensors: change(content["record"], tensors))
    with pytest.raises(ModelFileError, match=f"weights and description do not belong together: .*{message}"):
        gl.load(folder)


def test_a_damaged_record_is_refused(with_record: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(with_record, tmp_path / "model"))
    content = json.loads((folder / "model.json").read_text())
    edit(folder, record=content["record"] | {"training": ["Search", "refit"]})
    with pytest.raises(ModelFileError, match="the checksum does not fit, the file was changed"):
        gl.load(folder)


def test_the_folder_holds_json_and_safetensors_alone(model: Path) -> None:
    assert sorted(file.suffix for file in model.iterdir()) == [".json", ".safetensors"]
    info = modelfile.inspect(model)
    assert (info.format_version, info.library_version) == (3, gl.__version__)
    assert info.classes == ["a", "b"]
    assert info.preparation.names == ("left", "right")


def test_saving_again_replaces_the_model(copied: Path) -> None:
    other = trained(("u", "v"), dropout=0.1)
    other.save(copied)
    assert gl.load(copied).classes_.tolist() == ["u", "v"]
    assert len(list(copied.iterdir())) == 2


@pytest.mark.parametrize("survives", [0, 1])
def test_a_crash_in_the_middle_leaves_the_old_model(
    copied: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    before = gl.load(copied).predict_proba(X)
    renamed = []
    replace = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if len(renamed) == survives:
            raise OSError(28, "No space left on device")
        renamed.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="No space left"):
        trained(("u", "v"), dropout=0.1).save(copied)
    monkeypatch.undo()
    np.testing.assert_array_equal(gl.load(copied).predict_proba(X), before)
    assert not list(copied.glob("*.partial"))


def edit(folder: Path, **entries: Any) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | entries))


def within(folder: Path, entry: str, **entries: Any) -> None:
    content = json.loads((folder / "model.json").read_text())
    edit(folder, **{entry: content[entry] | entries})


def cut(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), r"no model here \(no model.json\)"),
        (lambda folder: cut(folder / "model.json", 0.5), "model.json: damaged, it is no JSON"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), "model.json: damaged, it is no JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "no model of this library, or damaged"),
        (lambda folder: edit(folder, format="other"), "no model of this library, or damaged: format"),
        (lambda folder: edit(folder, format_version=4), "format version 4 is newer than this library's 3.*update"),
        (lambda folder: edit(folder, format_version=2), "damaged: an entry is missing, or of another type: 'channels'"),
        (lambda folder: edit(folder, format_version=1), "damaged: record: is there in version 2, and not in 1"),
        (lambda folder: edit(folder, format_version=True), "or damaged: .*record"),
        (lambda folder: edit(folder, format_version="3"), "or damaged: format_version"),
        (lambda folder: edit(folder, best_epoch=99), "or damaged: .*best_epoch: not in history"),
        (lambda folder: edit(folder, classes=["a", "a"]), "or damaged: .*classes: some are the same"),
        (lambda folder: edit(folder, format_version=0), "or damaged: format_version"),
        (lambda folder: (folder / "model.json").write_text("[" * 200_000), "damaged, it is no JSON"),
        (lambda folder: (folder / "model.json").write_text("NaN"), "no model of this library, or damaged"),
        (lambda folder: edit(folder, parameters={"dropout": float("nan")}), "or damaged: parameters.dropout"),
        (lambda folder: edit(folder, parameters={"checkpoint": "a"}), r"damaged: .*checkpoint.* belong to no model"),
        (lambda folder: edit(folder, estimator="LSTMRegressor"), "damaged: .*task: LSTMRegressor has none of classes"),
        (lambda folder: edit(folder, classes=["a", "b", "c"]), "or damaged: .*classes: not one for each output"),
        (lambda folder: edit(folder, classes=None), "or damaged: .*classes: not one for each output"),
        (lambda folder: edit(folder, class_dtype=None), "or damaged: .*class_dtype: belongs to classes"),
        (lambda folder: edit(folder, class_dtype="|O"), "or damaged: class_dtype"),
        (lambda folder: edit(folder, flat=True), "or damaged: .*flat: belongs to a regressor"),
        (lambda folder: within(folder, "task", kind="labels"), "or damaged: task: .*settings: of another kind"),
        (lambda folder: within(folder, "task", settings={"outputs": "2"}), "or damaged: task.settings"),
        (lambda folder: within(folder, "task", settings={"outputs": 2, "secret": 1}), "or damaged: task.settings"),
        (lambda folder: within(folder, "preparation", names=["one"]), "preparation: .*names: not one for each column"),
        (lambda folder: within(folder, "preparation", gaps=[2]), "preparation: .*gaps: not the positions"),
        (lambda folder: within(folder, "preparation", gaps=[-1]), "or damaged: preparation.gaps.0"),
        (lambda folder: within(folder, "preparation", categories={"2": []}), "preparation: .*categories: not the"),
        (lambda folder: within(folder, "preparation", channels=0), "or damaged: preparation.channels"),
        (lambda folder: edit(folder, classes=["a", "c"]), "the checksum does not fit, the file was changed"),
        (lambda folder: edit(folder, weights_file="../secret.safetensors"), "or damaged: weights_file"),
        (lambda folder: edit(folder, surprise=1), "or damaged: surprise"),
        (lambda folder: weights(folder).unlink(), "the weights are missing; copy the whole folder"),
        (lambda folder: cut(weights(folder), 0.5), "checksum does not fit, the weights are damaged"),
        (lambda folder: flip(weights(folder)), "checksum does not fit, the weights are damaged"),
        (lambda folder: weights(folder).write_bytes(b""), "checksum does not fit, the weights are damaged"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_refused(copied: Path, damage: Any, message: str) -> None:
    damage(copied)
    with pytest.raises(ModelFileError, match=message):
        gl.load(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c["parameters"].update(hidden_size=5), "size mismatch for lstm.weight_ih_l0"),
        (lambda c, t: c["parameters"].update(hidden_size="five"), "hidden_size: expected a whole number"),
        (lambda c, t: c["parameters"].update(unknown=1), "unexpected keyword argument 'unknown'"),
        (lambda c, t: c["parameters"].update(precision="7"), "precision: expected '32-true'"),
        (lambda c, t: c["parameters"].update(class_weight={"pairs": [["a", "b"]]}), "class_weight: expected"),
        (lambda c, t: c["preparation"].update(gaps=[0]), "size mismatch for lstm.weight_ih_l0"),
        (lambda c, t: c["preparation"].update(names=None, static=1), r"mean: float64 of shape \(2,\).*\(3,\)"),
        (lambda c, t: t.pop("mean"), "mean"),
        (lambda c, t: t.pop("head.bias"), "Missing key.*head.bias"),
        (lambda c, t: t.update(extra=np.zeros(2)), "Unexpected key.*extra"),
        (lambda c, t: t.update(scale=np.ones(1)), r"scale: float64 of shape \(1,\), expected float64, \(2,\)"),
        (lambda c, t: t.update(scale=np.ones(2, "f4")), "scale: float32 of shape"),
    ],
)  # fmt: skip
def test_a_consistent_forgery_is_refused_too(copied: Path, change: Any, message: str) -> None:
    forge(copied, change)
    with pytest.raises(
        ModelFileError, match=f"(?s)weights and description do not belong together: .*{message}"
    ):
        gl.load(copied)


def test_two_savers_leave_one_whole_model(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B has written its weights and waits before its description; A saves from start to end in between."""
    first, second = trained(("u", "v"), dropout=0.1), trained(("x", "y"), dropout=0.2)
    describe = modelfile._weights_named
    turn = iter([lambda: first.save(copied)])

    def in_between(folder: Path) -> str | None:
        next(turn, lambda: None)()
        return describe(folder)

    monkeypatch.setattr(modelfile, "_weights_named", in_between)
    second.save(copied)
    assert gl.load(copied).classes_.tolist() == ["x", "y"]


def test_what_a_killed_save_left_behind_is_no_obstacle_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    left = [folder / ".model.json.123.partial", folder / f"weights-{'0' * 16}.safetensors"]
    for file in left:
        file.write_bytes(b"half")
        os.utime(file, (0, 0))
    trained().save(folder)
    assert len(list(folder.iterdir())) == 2
    assert gl.load(folder).classes_.tolist() == ["a", "b"]


def test_labels_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    for labels in (("\ud800", "b"), (np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))):
        clf = trained()
        clf.classes_ = np.array(labels)
        with pytest.raises(ArgumentError, match="cannot be"):
            clf.save(tmp_path / "model")
        assert not (tmp_path / "model").exists()


def test_a_place_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model here"):
        gl.load(tmp_path)
    with pytest.raises(ModelFileError, match="no model here"):
        gl.load(tmp_path / "nowhere")


def test_saving_over_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for target, message in ((tmp_path, "holds other things"), (tmp_path / "thesis.txt", "is a file")):
        with pytest.raises(ArgumentError, match=message):
            trained().save(target)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_was_never_trained_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        gl.LSTMClassifier().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
