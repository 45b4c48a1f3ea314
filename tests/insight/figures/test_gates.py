from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.gates import SHOWN, gate_map, unit, unit_order

LENGTHS = [4, 6]
ENTRIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def traced(steps=6, batch=2, channels=3, units=5, lengths=None, **options):
    torch.manual_seed(0)
    x = torch.randn(steps, batch, channels)
    lstm = gl.LSTM(channels, units, **options)
    with torch.no_grad():
        return x, lstm(x, lengths=lengths, return_trace=True)[2]


class TestUnitOrder:
    @pytest.mark.parametrize("sequence", [None, 0, 1])
    @pytest.mark.parametrize("direction", [0, 1])
    def test_orders_are_those_of_figures_made_by_hand(self, sequence, direction):
        _, trace = traced(lengths=LENGTHS, bidirectional=True)
        entry = {name: values.astype(np.float64) for name, values in trace[0, direction].numpy().items()}
        kept = range(2) if sequence is None else [sequence]
        f = np.concatenate([entry["forget_gate"][: LENGTHS[b], b] for b in kept])
        h = np.concatenate([entry["hidden"][: LENGTHS[b], b] for b in kept])
        put = np.zeros(5)
        for b in kept:
            order = range(LENGTHS[b])[:: -1 if direction else 1]
            for at, step in enumerate(order):
                left = np.prod([entry["forget_gate"][later, b] for later in order[at + 1 :]], axis=0)
                put += np.abs(left * entry["input_gate"][step, b] * entry["candidate"][step, b])
        expected = {
            "half-life": -np.exp(np.log(f).mean(0)),
            "activity": -np.abs(h).mean(0),
            "contribution": -put,
            "unit": np.arange(5),
        }
        for order, figures in expected.items():
            found = unit_order(trace[0, direction], order, sequence)
            assert found.tolist() == np.argsort(figures).tolist(), order

    def test_the_sequence_matters(self):
        _, trace = traced()
        orders = [unit_order(trace[0, 0], "contribution", b).tolist() for b in (0, 1)]
        assert orders[0] != orders[1]

    def test_activity_is_that_of_the_units_where_the_hidden_state_is_projected(self):
        _, trace = traced(proj_size=2)
        gates = trace[0, 0]
        expected = (gates.output_gate * gates.cell.tanh()).abs().mean((0, 1)).argsort(descending=True)
        assert unit_order(gates, "activity").tolist() == expected.tolist()

    def test_of_an_unbatched_trace(self):
        torch.manual_seed(0)
        x, lstm = torch.randn(6, 3), gl.LSTM(3, 5)
        alone, batch = (lstm(one, return_trace=True)[2] for one in (x, x[:, None]))
        for order in ("half-life", "activity", "contribution"):
            assert unit_order(alone[0, 0], order).tolist() == unit_order(batch[0, 0], order).tolist()
            assert unit_order(alone[0, 0], order, 0).tolist() == unit_order(batch[0, 0], order).tolist()

    def test_a_unit_without_a_figure_comes_last(self):
        _, trace = traced()
        trace[0, 0].forget_gate[:, :, 1] = float("nan")
        assert unit_order(trace[0, 0], "half-life")[-1] == 1

    def test_what_is_not_there(self):
        _, trace = traced()
        with pytest.raises(ArgumentError, match=r"order: expected one of half-life, activity, .* got 'size'"):
            unit_order(trace[0, 0], "size")
        with pytest.raises(
            ArgumentError, match="sequence: got 2; expected one of the 2 that there are, 0 to 1"
        ):
            unit_order(trace[0, 0], "activity", 2)

    def test_a_single_step_of_a_cell(self):
        gates = gl.LSTMCell(3, 5)(torch.zeros(2, 3), return_trace=True)[-1]
        with pytest.raises(ArgumentError, match="is a single step of an LSTMCell; record the loop"):
            unit_order(gates, "activity")


class TestGateMap:
    @pytest.mark.parametrize("key", ENTRIES)
    @pytest.mark.parametrize("quantity", SHOWN)
    def test_the_numbers_are_those_of_the_trace_without_padding(self, key, quantity):
        _, trace = traced(lengths=LENGTHS, num_layers=2, bidirectional=True)
        for sequence, steps in enumerate(LENGTHS):
            figure = gate_map(trace, quantity, layer=key[0], direction=key[1], sequence=sequence)
            heat_map = figure.data[0]
            rows = unit_order(trace[key], "half-life")
            assert [*heat_map.y] == [str(row) for row in rows]
            recorded = getattr(trace[key], quantity)[:steps, sequence].numpy()
            np.testing.assert_array_equal(heat_map.z, recorded[:, rows].T)
            assert [*heat_map.x] == [*range(steps)]

    def test_the_order_that_is_asked_for_over_all_sequences(self):
        _, trace = traced()
        for order in ("activity", "contribution", "unit"):
            for sequence in (0, 1):
                rows = gate_map(trace, order=order, sequence=sequence).data[0].y
                assert [int(row) for row in rows] == unit_order(trace[0, 0], order).tolist()

    def test_some_units_keep_their_order_and_it_is_said(self):
        _, trace = traced()
        figure = gate_map(trace, "cell", units=[3, 0], order="activity")
        rows = [row for row in unit_order(trace[0, 0], "activity").tolist() if row in (0, 3)]
        assert [*figure.data[0].y] == [str(row) for row in rows]
        np.testing.assert_array_equal(figure.data[0].z, trace[0, 0].cell[:, 0].T[rows])
        assert figure.layout.annotations[0].text == "Units, most active on top"
        assert figure.layout.yaxis.title.text == "unit (2 of 5)"

    def test_a_projected_hidden_state_is_sorted_by_number(self):
        _, trace = traced(proj_size=2)
        figure = gate_map(trace, "hidden")
        assert [*figure.data[0].y] == ["0", "1"]
        np.testing.assert_array_equal(figure.data[0].z, trace[0, 0].hidden[:, 0].T)
        assert figure.layout.annotations[0].text == "Units, by number"

    def test_the_colours_are_those_of_all_sequences(self):
        _, trace = traced()
        cell = float(trace[0, 0].cell.abs().max())
        trace[0, 0].cell[2, 0, 0] = float("nan")
        for quantity, ends in (("forget_gate", (0, 1)), ("candidate", (-1, 1)), ("cell", (-cell, cell))):
            for sequence in (0, 1):
                scale = gate_map(trace, quantity, sequence=sequence).layout.coloraxis
                assert (scale.cmin, scale.cmax, scale.autocolorscale) == (*ends, True)

    def test_a_window_keeps_the_numbers_of_its_steps(self):
        _, trace = traced()
        figure = gate_map(trace.window(2, 5))
        assert [*figure.data[0].x] == [*figure.data[1].x] == [2, 3, 4]
        np.testing.assert_array_equal(figure.data[1].customdata, trace.input[2:5, 0, 0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"quantity": "gate"}, "quantity: expected one of forget_gate, .* got 'gate'"),
            ({"layer": 1}, r"trace\[\(1, 0\)\]: there is no such entry"),
            ({"sequence": 2}, "sequence: got 2; expected one of the 2 that there are"),
            ({"sequence": 1}, "sequence: 1 has no steps"),
            ({"order": "size"}, "order: expected one of"),
            ({"units": [5]}, r"units: expected units from 0 to 4; got \[5\]"),
            ({"units": []}, r"units: expected units from 0 to 4; got \[\]"),
            ({"inputs": np.zeros(3)}, r"inputs: expected \(T, F\) with the T = 6 steps .* the shape \(3,\)"),
            ({"inputs": np.zeros((5, 3))}, r"or the batch, \(6, 2, F\); got the shape \(5, 3\)"),
            ({"inputs": np.zeros((6, 3, 3))}, r"got the shape \(6, 3, 3\)"),
            ({"channel_names": ["a"]}, "channel_names: got 1 names; expected one for each of the 3 channels"),
        ],
    )
    def test_what_does_not_fit(self, options, message):
        _, trace = traced(lengths=[6, 0])
        with pytest.raises(ArgumentError, match=message):
            gate_map(trace, **options)


class TestUnit:
    @pytest.mark.parametrize("key", ENTRIES)
    def test_the_numbers_are_those_of_the_trace_without_padding(self, key):
        _, trace = traced(lengths=LENGTHS, num_layers=2, bidirectional=True)
        for sequence, steps in enumerate(LENGTHS):
            figure = unit(trace, 3, layer=key[0], direction=key[1], sequence=sequence)
            for k, (curve, quantity) in enumerate(zip(figure.data, SHOWN, strict=False), start=1):
                assert curve.name == quantity.replace("_", " ")
                assert curve.yaxis in (f"y{k}", "y"[: k == 1])
                assert [*curve.x] == [*range(steps)]
                np.testing.assert_array_equal(curve.y, getattr(trace[key], quantity)[:steps, sequence, 3])

    def test_a_reverse_direction_says_how_it_is_read(self):
        _, trace = traced(bidirectional=True)
        for draw in (gate_map, lambda trace, **options: unit(trace, 0, **options)):
            titles = [draw(trace, direction=direction).layout.xaxis.title.text for direction in (0, 1)]
            assert titles == ["step", "step (read from right to left)"]

    def test_before_a_projection(self):
        _, trace = traced(proj_size=2)
        gates = trace[0, 0]
        expected = (gates.output_gate * gates.cell.tanh())[:, 0, 4]
        np.testing.assert_allclose(unit(trace, 4).data[5].y, expected, rtol=1e-6)

    def test_panels_stand_in_one_column_without_overlap(self):
        _, trace = traced()
        layout = unit(trace, 0).layout
        domains = sorted(layout[f"yaxis{k}"].domain for k in range(1, 8))
        assert domains[0][0] == pytest.approx(0, abs=1e-9)
        assert all(below[1] < above[0] for below, above in pairwise(domains))
        assert layout.yaxis7.domain == domains[-1]  # the input is on top
        assert [note.y for note in layout.annotations] == [layout[f"yaxis{k}"].domain[1] for k in range(1, 8)]

    def test_a_unit_that_is_not_there(self):
        _, trace = traced()
        with pytest.raises(ArgumentError, match=r"units: expected units from 0 to 4; got \[5\]"):
            unit(trace, 5)

    def test_a_single_step(self):
        _, trace = traced(steps=1)
        assert all(curve.mode == "lines+markers" for curve in unit(trace, 0).data)

    def test_without_an_input_only_its_panel_is_gone(self):
        x, trace = traced()
        with_input = unit(trace, 0)
        trace.input = None
        without = unit(trace, 0)
        assert without.data == with_input.data[:6]
        assert "yaxis7" not in without.layout
        assert unit(trace, 0, inputs=x).data == with_input.data


class TestInputCurves:
    def test_several_channels_are_standardised_over_the_batch(self):
        _, trace = traced(lengths=LENGTHS)
        x = torch.randn(6, 2, 3, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.0]) + 5
        valid = np.concatenate([x[:4, 0], x[:6, 1]])
        for sequence, steps in enumerate(LENGTHS):
            curves = unit(trace, 0, inputs=x, sequence=sequence, channel_names=["a", "b", "c"]).data[6:]
            assert [curve.name for curve in curves] == ["a", "b", "c"]
            for k, curve in enumerate(curves):
                own = x[:steps, sequence, k].numpy()
                np.testing.assert_array_equal(curve.customdata, own)
                expected = (own - valid[:, k].mean()) / (valid[:, k].std() or 1)
                np.testing.assert_allclose(curve.y, expected, atol=1e-12)

    def test_a_single_sequence_is_standardised_by_itself(self):
        _, trace = traced(lengths=LENGTHS)
        x = np.random.default_rng(0).normal(size=(4, 2))
        curve = unit(trace, 0, inputs=x).data[7]
        np.testing.assert_allclose(curve.y, (x[:, 1] - x[:, 1].mean()) / x[:, 1].std())

    def test_one_channel_is_shown_as_it_came(self):
        _, trace = traced(channels=1)
        figure = unit(trace, 0, channel_names=["<i>flow</i>"])
        np.testing.assert_array_equal(figure.data[6].y, trace.input[:, 0, 0])
        assert figure.layout.annotations[6].text == "Input: &lt;i&gt;flow&lt;/i&gt;"
        assert figure.layout.yaxis7.title.text == "value"
        assert figure.layout.showlegend is False

    def test_the_channels_with_the_largest_spread_are_drawn_and_told_apart(self):
        _, trace = traced()
        x = np.outer([1, -1, 1, -1, 1, -1], [3, 1, 9, 8, 7, 2, 6, 5, 4, 10])
        figure = unit(trace, 0, inputs=x)
        curves = figure.data[6:]
        assert [curve.name for curve in curves] == [f"channel {k}" for k in (0, 2, 3, 4, 6, 7, 8, 9)]
        assert figure.layout.annotations[6].text == "Input: 8 of 10 channels"
        looks = {(k % 6, curve.line.dash) for k, curve in enumerate(curves)}
        assert len(looks) == 8

    def test_nan_is_a_gap_and_ruins_no_scale(self):
        _, trace = traced()
        x = np.array([[1.0, 0], [3.0, 1], [np.nan, 0], [np.inf, 1], [1.0, 0], [3.0, 1]])
        found = unit(trace, 0, inputs=x).data[6].y
        np.testing.assert_allclose(found, [-1, 1, np.nan, np.inf, -1, 1])

    def test_names_are_disarmed(self):
        _, trace = traced()
        figure = gate_map(trace, channel_names=["<script>", "$x$", "a name that goes on"])
        assert [curve.name for curve in figure.data[1:]] == [
            "&lt;script&gt;",
            "&#36;x&#36;",
            "a name that g…",
        ]
        assert "<script>" not in figure.to_json()
