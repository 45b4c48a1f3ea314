"""A page about each of the estimators: every section is there, in the right units and names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import glasslstm as gl
from glasslstm.data import Sequences
from glasslstm.insight.report.look import Look

QUICK: dict[str, Any] = {
    "hidden_size": 4,
    "max_epochs": 2,
    "validation_fraction": 0.2,
    "random_state": 0,
    "verbose": False,
}
N = 30
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(4, 9, N)
X = [RNG.normal(size=(length, 2)) for length in LENGTHS]
SUMS = np.array([100 + 50 * x[:, 0].sum() for x in X])
BOTH = np.stack([SUMS, [x[-1, 1] for x in X]], axis=1)
LABELS = np.stack([SUMS > 100, BOTH[:, 1] > 0, np.arange(N) % 3 == 0], axis=1).astype(int)
TAGS = [np.where(x[:, 0].cumsum() > 0, "above", "below") for x in X]


def with_everything() -> Sequences:
    """The same with gaps, a channel of categories, time stamps and a static feature."""
    rng = np.random.default_rng(1)
    values = [np.column_stack([x, rng.integers(0, 2, len(x))]) for x in X]
    for x in values:
        x[rng.random(len(x)) < 0.2, 0] = np.nan
    found = Sequences.from_arrays(
        values,
        missing="mask",
        ids=[f"patient {k}" for k in range(N)],
        channel_names=["pulse", "flow", "phase"],
        times=[np.cumsum(rng.uniform(0.5, 2, len(x))) for x in X],
        static=rng.normal(40, 9, (N, 1)),
        static_names=["age"],
    )
    return replace(found, categories={"phase": ("rest", "walk")})


MODELS: dict[str, tuple[Any, Any, Any]] = {
    "labels": (gl.LSTMClassifier(**QUICK), X, LABELS),
    "quantiles": (gl.LSTMRegressor(**QUICK, quantiles=(0.1, 0.5, 0.9), pooling="attention"), X, BOTH),
    "tags": (gl.LSTMTagger(**QUICK, causal=True, layer_norm=True), X, TAGS),
    "prepared": (
        gl.LSTMRegressor(**QUICK, missing="mask", step_duration=True, pooling="mean", num_layers=2),
        with_everything(),
        SUMS,
    ),
}


@pytest.fixture(scope="module")
def page(written: Any) -> Callable[[str], Any]:
    """Make a page about each model, once."""

    @cache
    def made(kind: str) -> Any:
        model, x, y = MODELS[kind]
        return written(model.fit(x, y, record=True), x, y)

    return made


@pytest.mark.parametrize("kind", MODELS)
def test_every_section_is_there(page: Any, kind: str) -> None:
    shown = page(kind)
    assert {name: shown.notices(name) for name in shown.sections if shown.notices(name)} == {}
    (model,) = shown.data["models"]
    assert len(model["why"]) == len(model["sequences"]) > 0


def rows(page: Any, caption: str) -> list[list[str]]:
    return next(
        found[1:] for name, found in page.tables(page.sections["failures"]) if name.startswith(caption)
    )


def test_several_labels_are_scored_one_by_one(page: Any) -> None:
    model, x, y = MODELS["labels"]
    shown, right = page("labels"), model.predict(x) == y
    assert [row[:2] for row in rows(shown, "Scores of each label")] == [
        [str(k), f"{right[:, k].mean():.4g}"] for k in range(3)
    ]
    assert shown.cards()["accuracy"][0] == f"{right.mean():.1%}"
    assert f"on {3 * N} answers on {N} sequences" in shown.leads("failures")[0]
    assert shown.figure("failures", "Confused classes").data[0]["y"] == ["no", "yes"]


def test_several_targets_are_scored_each_in_its_unit(page: Any) -> None:
    model, x, y = MODELS["quantiles"]
    shown, errors = page("quantiles"), np.abs(model.predict(x) - y)
    assert [row[:2] for row in rows(shown, "Scores of each target, in its own unit")] == [
        [f"target {k}", f"{errors[:, k].mean():.4g}"] for k in (0, 1)
    ]
    score = (errors / np.array(model.task_.scale)).mean()
    assert shown.cards()["mean absolute error in standard deviations"][0] == f"{score:.4g}"
    residuals = [one for one in shown.figures("failures") if one.heading.startswith("Predicted and true")]
    assert [one.caption for one in residuals] == ["Of target 0.", "Of target 1."]
    np.testing.assert_allclose(residuals[0].data[0]["x"], SUMS, rtol=1e-5)
    assert "The score here is the quantile 0.5, target 0." in shown.text(shown.sections["why"])


def test_quantiles_are_compared_with_their_levels(page: Any) -> None:
    model, x, y = MODELS["quantiles"]
    shown, said = page("quantiles"), model.predict_quantiles(x)
    found = rows(shown, "How often what is right lies at or below each quantile")
    levels = [(m, k, q) for m in (0, 1) for k, q in enumerate((0.1, 0.5, 0.9))]
    assert [row[:3] for row in found] == [
        [f"target {m}, {q:g}", f"{q:g}", f"{(y[:, m] <= said[:, m, k]).mean():.4g}"] for m, k, q in levels
    ]
    curves = shown.figure("training", "Loss and pinball loss of each epoch").data
    assert [curve["name"] for curve in curves][-1] == "validation pinball loss"


def test_a_tagger_is_scored_on_the_steps_that_there_are(page: Any) -> None:
    model, x, y = MODELS["tags"]
    shown = page("tags")
    assert shown.cards()["accuracy"][0] == f"{model.score(x, y):.1%}"
    assert f"on {LENGTHS.sum()} steps of {N} sequences" in shown.leads("failures")[0]
    assert "last true answer" in shown.text(shown.sections["worth"])


def test_inputs_that_are_no_channels_are_called_what_they_are(page: Any) -> None:
    model, _, _ = MODELS["prepared"]
    shown = page("prepared")
    (data,) = shown.data["models"]
    heat = next(trace for trace in data["why"][0]["data"] if trace["type"] == "heatmap")
    names = model.preparation_.input_names
    assert [name.rstrip("…") for name in heat["y"]] == [
        name[: len(cut.rstrip("…"))] for name, cut in zip(names, heat["y"], strict=True)
    ]
    assert len(heat["y"]) == len(names) == 8
    curves = [trace["name"] for trace in data["why"][0]["data"] if trace["type"] == "scatter"]
    assert curves[-3:] == ["pulse", "flow", "phase"]
    assert data["sequences"][0].startswith("patient ")


def test_missing_values_are_gaps_in_the_curves(page: Any, unpack: Any) -> None:
    _, x, _ = MODELS["prepared"]
    (data,) = page("prepared").data["models"]
    for label, curves in zip(data["sequences"], data["curves"], strict=True):
        given = x[int(label.split(":")[0].removeprefix("patient "))][:, 0]
        shown = unpack(curves[0]["customdata"])
        np.testing.assert_allclose(shown, given, atol=1e-3)
    assert x.mask[:, 0].any()


def test_simple_models_read_what_does_not_change_too() -> None:
    """Of a target that a static feature says, a linear model knows nearly all."""
    series = with_everything()
    y = 3 * series.static[:, 0]
    model = gl.LSTMRegressor(**QUICK, missing="mask").fit(series, y)
    linear = Look(model._subject(series, y)).baselines[-1]
    assert linear.name == "linear model"
    assert linear.score.value < 0.5 * np.abs(y - np.median(y)).mean()


def test_another_sample_to_fit_the_baselines_on() -> None:
    model = gl.LSTMClassifier(**QUICK).fit(X, LABELS)
    look = Look(model._subject(X[:20], LABELS[:20]), train=model._subject(X, LABELS))
    majority, _ = look.baselines
    assert majority.fitted == "on the training data"
    usual = LABELS.mean(axis=0) > 0.5
    assert majority.score.value == pytest.approx((LABELS[:20] == usual).mean())
