from __future__ import annotations

import numpy as np
import pytest

from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.training import learning_curves

HISTORY = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.4, "valid_accuracy": 0.5},
    {"epoch": 2, "train_loss": 0.7, "valid_loss": float("nan"), "valid_accuracy": 0.75},
    {"epoch": 3, "train_loss": 0.2, "valid_loss": 0.9, "valid_accuracy": 0.25},
]


class TestLearningCurves:
    def test_the_curves_are_the_history(self):
        figure = learning_curves(HISTORY, best_epoch=2)
        train, valid, accuracy = figure.data
        assert [*train.x] == [1, 2, 3]
        assert [*train.y] == [1.5, 0.7, 0.2]
        np.testing.assert_equal([*valid.y], [1.4, np.nan, 0.9])
        assert [*accuracy.y] == [0.5, 0.75, 0.25]
        assert (train.name, valid.name, accuracy.name) == (
            "training loss",
            "validation loss",
            "validation accuracy",
        )
        assert accuracy.yaxis != train.yaxis == valid.yaxis

    def test_the_best_epoch_is_marked_on_both_axes(self):
        figure = learning_curves(HISTORY, best_epoch=2)
        assert [(line.x0, line.x1) for line in figure.layout.shapes] == [(2, 2), (2, 2)]
        assert [note.text for note in figure.layout.annotations] == ["best epoch: 2"]
        assert not learning_curves(HISTORY).layout.shapes

    def test_without_a_validation_part_only_the_training_loss_is_drawn(self):
        history = [{"epoch": 1, "train_loss": 0.5, "valid_loss": None, "valid_accuracy": None}]
        figure = learning_curves(history, best_epoch=1)
        assert [curve.name for curve in figure.data] == ["training loss"]
        assert "yaxis2" not in figure.layout

    def test_each_curve_has_dashes_of_its_own_and_every_axis_a_title(self):
        figure = learning_curves(HISTORY)
        assert len({curve.line.dash for curve in figure.data}) == 3
        assert figure.layout.title.text == "Loss and accuracy of each epoch"
        titles = (
            figure.layout.yaxis.title.text,
            figure.layout.yaxis2.title.text,
            figure.layout.xaxis2.title.text,
        )
        assert titles == ("loss", "accuracy", "epoch")
        assert learning_curves(HISTORY[:1], 1).layout.xaxis.range == (0.5, 1.5)

    def test_of_many_epochs_none_has_a_mark(self):
        history = [{"epoch": epoch, "train_loss": 1.0} for epoch in range(1, 42)]
        assert learning_curves(history[:40]).data[0].mode == "lines+markers"
        assert learning_curves(history).data[0].mode == "lines"

    @pytest.mark.parametrize(
        "history", [[], [{"epoch": 1}], [{"train_loss": 1.0}], [HISTORY[0], {"epoch": 2}]]
    )
    def test_a_history_that_is_none(self, history):
        with pytest.raises(ArgumentError, match=r"history: got .* expected a list of at least one mapping"):
            learning_curves(history)

    def test_a_best_epoch_that_never_was(self):
        with pytest.raises(ArgumentError, match=r"best_epoch: got 9, .* not an epoch of history \(1 to 3\)"):
            learning_curves(HISTORY, best_epoch=9)
