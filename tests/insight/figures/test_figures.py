from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures import (
    DARK,
    LIGHT,
    confusion_counts,
    confusion_matrix,
    gate_panels,
    gates,
    learning_curves,
)

HISTORY = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.4, "valid_accuracy": 0.5},
    {"epoch": 2, "train_loss": 0.7, "valid_loss": float("nan"), "valid_accuracy": 0.75},
    {"epoch": 3, "train_loss": 0.2, "valid_loss": 0.9, "valid_accuracy": 0.25},
]
GATES = ("forget_gate", "input_gate", "candidate", "cell", "output_gate", "hidden")


def traced(steps=6, batch=2, channels=3, units=5, lengths=None, **options):
    torch.manual_seed(0)
    x = torch.randn(steps, batch, channels)
    lstm = gl.LSTM(channels, units, **options)
    with torch.no_grad():
        return x, lstm(x, lengths=lengths, return_trace=True)[2]


class TestLearningCurves:
    def test_the_curves_are_the_history(self):
        figure = learning_curves(HISTORY, best_epoch=2)
        train, valid, accuracy = figure.data
        assert [*train.x] == [1, 2, 3]
        assert [*train.y] == [1.5, 0.7, 0.2]
        np.testing.assert_equal([*valid.y], [1.4, np.nan, 0.9])
        assert [*accuracy.y] == [0.5, 0.75, 0.25]
        assert (train.name, valid.name, accuracy.name) == ("training", "validation", "validation")
        assert accuracy.yaxis != train.yaxis == valid.yaxis

    def test_the_best_epoch_is_marked_on_both_axes(self):
        figure = learning_curves(HISTORY, best_epoch=2)
        assert [(line.x0, line.x1) for line in figure.layout.shapes] == [(2, 2), (2, 2)]
        assert [note.text for note in figure.layout.annotations] == ["best epoch: 2"]
        assert not learning_curves(HISTORY).layout.shapes

    def test_without_a_validation_part_only_the_training_loss_is_drawn(self):
        history = [{"epoch": 1, "train_loss": 0.5, "valid_loss": None, "valid_accuracy": None}]
        figure = learning_curves(history, best_epoch=1)
        assert [curve.name for curve in figure.data] == ["training"]
        assert "yaxis2" not in figure.layout

    @pytest.mark.parametrize(
        "history", [[], [{"epoch": 1}], [{"train_loss": 1.0}], [HISTORY[0], {"epoch": 2}]]
    )
    def test_a_history_that_is_none(self, history):
        with pytest.raises(ArgumentError, match=r"history: got .* expected a list of at least one mapping"):
            learning_curves(history)

    def test_a_best_epoch_that_never_was(self):
        with pytest.raises(ArgumentError, match=r"best_epoch: got 9, .* not an epoch of history \(1 to 3\)"):
            learning_curves(HISTORY, best_epoch=9)


class TestConfusions:
    @pytest.mark.parametrize("classes", [[2, 0, 1, 7], ["c", "a", "b", "z"]])
    def test_the_counts_are_those_of_scikit_learn(self, classes):
        y_true, y_pred = np.random.default_rng(0).choice(classes[:3], (2, 50))
        expected = metrics.confusion_matrix(y_true, y_pred, labels=classes)
        np.testing.assert_array_equal(confusion_counts(y_true, y_pred, np.array(classes)), expected)

    def test_a_cell_shows_its_count_and_the_share_of_its_row(self):
        cells = confusion_matrix(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b", "c"]).data[0]
        np.testing.assert_allclose(cells.z, [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]])
        assert cells.text.tolist() == [
            ["2<br>67%", "1<br>33%", "0"],
            ["0", "1<br>100%", "0"],
            ["0", "0", "0"],
        ]
        assert cells.customdata.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]

    def test_many_classes_have_a_colour_bar_in_place_of_text(self):
        figure = confusion_matrix(range(26), range(26), range(26))
        assert figure.data[0].texttemplate is None
        assert figure.layout.coloraxis.showscale is True
        assert confusion_matrix(range(25), range(25), range(25)).layout.coloraxis.showscale is False

    def test_names_are_short_distinct_and_disarmed(self):
        names = ["<b>x</b>", "a&b", "$x$", "", "a name that goes on", "a name that goes elsewhere"]
        cells = confusion_matrix(names, names, names).data[0]
        expected = ["&lt;b&gt;x&lt;/b&gt;", "a&amp;b", "&#36;x&#36;", "(empty)", "a name that g…"]
        assert [*cells.x] == [*cells.y] == [*expected, "a name that g… (again)"]

    @pytest.mark.parametrize(("y_true", "y_pred"), [([], []), (["a"], ["a", "b"])])
    def test_labels_that_are_none_or_do_not_pair(self, y_true, y_pred):
        with pytest.raises(
            ArgumentError, match=f"got {len(y_true)} and {len(y_pred)} labels; expected as many"
        ):
            confusion_counts(y_true, y_pred, ["a", "b"])

    def test_a_label_that_is_no_class(self):
        with pytest.raises(ArgumentError, match=r"classes: got \['a'\], which lacks \['b'\] of the labels"):
            confusion_counts(["a"], ["b"], ["a"])


class TestGatePanels:
    @pytest.mark.parametrize("key", [(0, 0), (0, 1), (1, 0), (1, 1)])
    def test_the_numbers_are_those_of_the_trace_without_padding(self, key):
        lengths = torch.tensor([4, 6])
        x, trace = traced(lengths=lengths, num_layers=2, bidirectional=True)
        entry = trace[key]
        for sequence, steps in enumerate(lengths.tolist()):
            panels = gate_panels(trace, x[:, sequence], layer=key[0], direction=key[1], sequence=sequence)
            np.testing.assert_array_equal(panels[0].values, x[:steps, sequence].double().T)
            for name, panel in zip(GATES, panels[1:], strict=True):
                recorded = getattr(entry, name)[:steps, sequence].numpy()
                np.testing.assert_array_equal(
                    panel.values.T, recorded[:, [int(unit) for unit in panel.names]]
                )

    def test_units_that_keep_most_come_first_in_every_panel(self):
        x, trace = traced()
        panels = gate_panels(trace, x[:, 0])
        expected = trace[0, 0].forget_gate[:, 0].mean(0).argsort(descending=True).tolist()
        assert [panel.names for panel in panels[1:]] == [[str(unit) for unit in expected]] * 6

    def test_an_unbatched_trace(self):
        torch.manual_seed(0)
        x = torch.randn(4, 3)
        _, _, trace = gl.LSTM(3, 5)(x, return_trace=True)
        cell = gate_panels(trace, x)[4]
        np.testing.assert_array_equal(
            cell.values.T, trace[0, 0].cell.detach()[:, [int(unit) for unit in cell.names]]
        )

    def test_a_projected_hidden_state_keeps_its_own_order(self):
        x, trace = traced(proj_size=2)
        hidden = gate_panels(trace, x[:, 0])[-1]
        assert hidden.names == ["0", "1"]
        np.testing.assert_array_equal(hidden.values.T, trace[0, 0].hidden[:, 0])

    def test_the_input_is_coloured_by_its_deviations(self):
        _, trace = traced(steps=4, channels=3)
        x = np.array([[1.0, 5.0, np.nan], [2.0, 5.0, 1.0], [3.0, 5.0, 3.0], [4.0, 5.0, 5.0]])
        panel = gate_panels(trace, x, channel_names=["ramp", "constant", "gap"])[0]
        root = np.sqrt(1.25)
        expected = [
            [-1.5 / root, -0.5 / root, 0.5 / root, 1.5 / root],
            [0] * 4,
            [np.nan, -(1.5**0.5), 0, 1.5**0.5],
        ]
        np.testing.assert_allclose(panel.scaled, expected)
        np.testing.assert_array_equal(panel.values, x.T)
        assert panel.names == ["ramp", "constant", "gap"]

    def test_nan_is_kept_and_ruins_no_colour_scale(self):
        x, trace = traced(lengths=torch.tensor([6, 6]))
        trace[0, 0].cell[2, 0] = float("nan")
        trace[0, 0].forget_gate[:, 0] = float("nan")
        panels = gate_panels(trace, x[:, 0])
        largest = np.nanmax(np.abs(trace[0, 0].cell[:, 0].numpy()))
        assert panels[4].limits == (-largest, largest)
        assert np.isnan(panels[4].values[:, 2]).all()
        assert panels[1].names == ["0", "1", "2", "3", "4"]

    def test_clip_chooses_rows_evenly_and_says_so(self):
        x, trace = traced(units=9)
        panel = gate_panels(trace, x[:, 0])[1]
        clipped = panel.clip(rows=3, steps=2)
        assert clipped.names == [panel.names[row] for row in (0, 4, 8)]
        np.testing.assert_array_equal(clipped.values, panel.values[[0, 4, 8], :2])
        assert (panel.row_title, panel.step_title) == ("unit", "step")
        assert (clipped.row_title, clipped.step_title) == ("unit (3 of 9)", "step (the first 2 of 6)")
        assert panel.clip(rows=100, steps=100).names == panel.names

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"layer": 1}, r"trace\[\(1, 0\)\]: there is no such entry"),
            ({"sequence": 2}, "sequence: got 2; the trace holds the sequences 0 to 1"),
            ({"sequence": 1}, "sequence: 1 has no steps"),
            (
                {"inputs": np.zeros(3)},
                r"inputs: got the shape \(3,\); expected \(T, F\) with the T = 6 steps",
            ),
            ({"inputs": np.zeros((5, 3))}, r"inputs: got the shape \(5, 3\)"),
            ({"channel_names": ["a"]}, "channel_names: got 1 names; expected one for each of the 3 channels"),
        ],
    )
    def test_what_does_not_fit(self, options, message):
        x, trace = traced(lengths=torch.tensor([6, 0]))
        with pytest.raises(ArgumentError, match=message):
            gate_panels(trace, **{"inputs": x[:, 0], **options})


class TestGates:
    def test_each_panel_is_a_heat_map_over_one_time_axis(self):
        x, trace = traced()
        panels = gate_panels(trace, x[:, 0])
        figure = gates(panels)
        np.testing.assert_array_equal(figure.data[0].z, panels[0].scaled)
        np.testing.assert_array_equal(figure.data[0].customdata, panels[0].values)
        for heat_map, panel in zip(figure.data[1:], panels[1:], strict=True):
            np.testing.assert_array_equal(heat_map.z, panel.values)
        assert {heat_map.xaxis for heat_map in figure.data} == {None}
        assert figure.layout.xaxis.title.text == "step"
        assert [note.text for note in figure.layout.annotations] == [panel.title for panel in panels]

    def test_gates_have_the_scale_0_to_1_and_states_one_about_0(self):
        x, trace = traced()
        layout = gates(gate_panels(trace, x[:, 0])).layout
        scales = [layout[f"coloraxis{row}"] for row in range(2, 8)]
        cell, hidden = (trace[0, 0].numpy()[name][:, 0] for name in ("cell", "hidden"))
        ends = [
            (0, 1),
            (0, 1),
            (-1, 1),
            (-abs(cell).max(), abs(cell).max()),
            (0, 1),
            (-abs(hidden).max(), abs(hidden).max()),
        ]
        assert [(scale.cmin, scale.cmax) for scale in scales] == ends

    def test_a_single_step(self):
        x, trace = traced(steps=1)
        assert [heat_map.z.shape for heat_map in gates(gate_panels(trace, x[:, 0])).data] == [(3, 1)] + [
            (5, 1)
        ] * 6


class TestTemplates:
    @pytest.mark.parametrize(("template", "outwards"), [(LIGHT, -1), (DARK, 1)])
    def test_lightness_alone_orders_the_colours(self, template, outwards):
        sequential, diverging = (
            [luminance(colour) for _, colour in getattr(template.layout.colorscale, name)]
            for name in ("sequential", "diverging")
        )
        half = len(diverging) // 2
        for scale in (sequential, diverging[half:], diverging[half::-1]):
            assert (np.diff(scale) * outwards > 0).all()


def luminance(colour):
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
