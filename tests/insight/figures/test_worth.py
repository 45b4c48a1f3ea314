from __future__ import annotations

import numpy as np
import pytest

from glasslstm.errors import ArgumentError
from glasslstm.insight.baselines import Baseline
from glasslstm.insight.figures.worth import baselines
from glasslstm.insight.scores import Score


def score(value, name="accuracy", half=0.1):
    return Score(name, value, value - half, value + half / 2, more_is_better=name == "accuracy")


def baseline(name, value):
    return Baseline(name, "on the training data", score(value), 0.01, "better")


class TestBaselines:
    def test_models_above_baselines_with_their_intervals(self):
        figure = baselines(
            {"first": score(0.9), "<b>": score(0.8)},
            [baseline("majority class", 0.5), baseline("linear model", 0.7)],
        )
        models, others = figure.data
        assert ([*models.y], [*models.x]) == (["first", "&lt;b&gt;"], [0.9, 0.8])
        assert ([*others.y], [*others.x]) == (["majority class", "linear model"], [0.5, 0.7])
        np.testing.assert_allclose([*models.error_x.arrayminus, *others.error_x.arrayminus], 0.1)
        np.testing.assert_allclose([*models.error_x.array, *others.error_x.array], 0.05)
        assert models.marker.symbol != others.marker.symbol
        assert figure.layout.xaxis.title.text == "accuracy"
        assert figure.layout.title.text == "Model and baselines: more is better"

    def test_a_model_with_the_name_of_a_baseline_keeps_its_own_row(self):
        models, others = baselines({"linear model": score(0.9)}, [baseline("linear model", 0.5)]).data
        assert {*models.y} & {*others.y} == set()

    def test_an_error_that_is_better_where_less(self):
        figure = baselines({"model": score(2.5, "mean absolute error")}, [])
        assert figure.layout.title.text == "Model and baselines: less is better"

    def test_without_a_model_or_with_scores_of_two_kinds(self):
        with pytest.raises(ArgumentError, match="model_scores: got 0 models"):
            baselines({}, [baseline("mean", 1)])
        with pytest.raises(ArgumentError, match=r"the kinds \['accuracy', 'mean absolute error'\]"):
            baselines({"model": score(1, "mean absolute error")}, [baseline("mean", 1)])
