from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.figures.memory import half_lives, memory_curves, saturation
from glasslstm.insight.figures.style import NEUTRAL
from glasslstm.insight.memory import saturation as shares_of
from glasslstm.insight.reach import Curve, gradient_by_lag
from glasslstm.insight.summary import MemorySummary, summaries
from glasslstm.nn.trace import GateTrace

GATES = ("input_gate", "forget_gate", "output_gate")
HOSTILE = "<b>$x$</b>"


def traced(steps=30, batch=4, backward=True, **options):
    torch.manual_seed(0)
    output, _, trace = gl.LSTM(3, 5, **options)(torch.randn(steps, batch, 3), return_trace=True)
    if backward:
        output[-1].square().sum().backward()
    return trace


def constant(forget, steps=100, **more):
    """A trace whose gates are these at every step, (H,)."""
    f = torch.tensor(forget, dtype=torch.float64).expand(steps, 2, len(forget))
    return GateTrace(f, f, f, f, f, f, f[0], f[0], **more)


def linear(steps):
    return Curve(torch.arange(steps), torch.linspace(1, 0, steps))


def points(trace):
    return dict(zip(trace.x, trace.y, strict=True))


class TestMemory:
    def test_the_curves_are_those_of_the_summary(self):
        trace = traced()
        figure = memory_curves(trace, linear(30))
        assert [curve.name for curve in figure.data] == ["score", "memory kept", "gradient"]
        summary = MemorySummary(trace[0, 0])
        score, kept, gradient = figure.data
        lags, values = summary.curves["retention"]
        assert points(kept) == dict(zip(lags.tolist(), values.tolist(), strict=True))
        np.testing.assert_array_equal(gradient.y, gradient_by_lag(trace[0, 0]).values)
        np.testing.assert_allclose(score.y[:-1], np.linspace(1, 0, 30)[:-1], rtol=1e-6)
        assert [*score.x] == list(range(30))

    def test_zero_is_drawn_below_the_axis_and_nothing_is_a_gap(self):
        values = torch.tensor([1.0, 0.0, math.nan, 0.5])
        score = memory_curves({"a": constant([0.5], 4)}, Curve(torch.arange(4), values)).data[0]
        np.testing.assert_array_equal(score.y, [1.0, np.finfo(float).tiny, math.nan, 0.5])

    def test_thresholds_are_at_a_half_and_a_hundredth_and_named_on_the_axis(self):
        figure = memory_curves(traced())
        assert [(line.y0, line.y1, line.line.color) for line in figure.layout.shapes] == [
            (0.5, 0.5, NEUTRAL),
            (0.01, 0.01, NEUTRAL),
        ]
        ticks = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
        assert (ticks[0.5], ticks[0.01]) == ("1/2", "1/100")

    @pytest.mark.parametrize("steps", [2, 7, 1000])
    def test_every_lag_from_zero_on_is_in_view(self, steps):
        axis = memory_curves({"a": constant([0.9], steps)}).layout.xaxis
        assert axis.range[0] < 0
        assert steps - 1 < axis.range[1] < 1.03 * (steps - 1)
        assert axis.type is None

    def test_two_directions_have_a_curve_each_and_share_the_score(self):
        figure = memory_curves(traced(bidirectional=True), linear(30))
        assert [curve.name for curve in figure.data] == [
            "score",
            *(
                f"{kind}, layer 0, {way}"
                for kind in ("memory kept", "gradient")
                for way in ("forward", "reverse")
            ),
        ]
        styles = {(curve.line.dash, curve.marker.symbol) for curve in figure.data}
        assert len(styles) == 5

    def test_a_curve_that_one_of_two_has_says_which(self):
        parts = {"a": traced()[0, 0], "b": traced(backward=False)[0, 0]}
        assert [curve.name for curve in memory_curves(parts).data] == [
            "memory kept, a",
            "memory kept, b",
            "gradient, a",
        ]

    def test_of_many_there_are_the_highest_and_the_lowest(self):
        parts = {"a": constant([0.9], 40), "b": constant([0.8], 20), "c": constant([0.5], 10)}
        highest, lowest = memory_curves(parts).data
        assert (highest.name, lowest.name) == ("memory kept, highest of 3", "memory kept, lowest of 3")
        known = {
            name: dict(zip(*(column.tolist() for column in part.curves["retention"]), strict=True))
            for name, part in summaries(parts).items()
        }
        for lag in {lag for curve in known.values() for lag in curve}:
            there = [curve[lag] for curve in known.values() if lag in curve]
            assert points(highest)[lag] == max(there)
            assert points(lowest)[lag] == min(there)

    def test_names_are_disarmed(self):
        figure = memory_curves({HOSTILE: constant([0.5]), "b": constant([0.5])})
        assert figure.data[0].name == "memory kept, &lt;b&gt;&#36;x&#36;&lt;/b&gt;"

    def test_what_cannot_be_shown(self):
        with pytest.raises(ArgumentError, match="recorded: no sequence has two steps, so there is no lag"):
            memory_curves(traced(steps=1))
        with pytest.raises(ArgumentError, match="recorded: the gates have no finite number, so no memory"):
            memory_curves({"a": constant([math.nan])})
        with pytest.raises(ArgumentTypeError, match="gates: expected a GateTrace, got str"):
            memory_curves({"a": "b"})


def half_life_of(*lives):
    """The forget gates of units with these half-lives."""
    return [2 ** (-1 / life) if life else 0.0 for life in lives]


def test_a_score_of_longer_sequences_is_not_cut_off():
    assert memory_curves({"a": constant([0.5], 10)}, linear(30)).layout.xaxis.range[1] > 29


class TestHalfLives:
    def test_units_are_counted_in_bins_that_double(self):
        lives = (0, 0.3, 1.01, 1.9, 2.1, 3.9, 70, 390, 520, 1e6, math.inf)
        (bars,) = half_lives({"a": constant(half_life_of(*lives))}).data
        found = dict(zip(bars.x, bars.customdata, strict=True))
        expected = {"0": 1, "<1": 1, "1-2": 2, "2-4": 2, "64-128": 1, "256-512": 1, "512+": 2, "∞": 1}
        assert {name: count for name, count in found.items() if count} == expected
        assert list(found) == ["0", "<1", *(f"{2**k}-{2 ** (k + 1)}" for k in range(9)), "512+", "∞"]
        np.testing.assert_allclose(bars.y, np.array(bars.customdata) / 11)

    @pytest.mark.parametrize(
        ("steps", "bin_", "within"),
        [(7, "4-8", 0.807), (64, "64-128", 0), (1000, "512-1024", 0.966), (1, "1-2", 0)],
    )
    def test_the_line_is_at_the_longest_sequence(self, steps, bin_, within):
        figure = half_lives({"a": constant(half_life_of(0.5, 3), steps)})
        (line,) = figure.layout.shapes
        assert line.line.color == NEUTRAL
        assert line.x0 == line.x1 == pytest.approx(figure.data[0].x.index(bin_) - 0.5 + within, abs=1e-3)
        assert figure.layout.annotations[0].text.strip() == f"longest sequence: {steps}"

    def test_bins_without_a_unit_at_either_end_are_left_out(self):
        (bars,) = half_lives({"a": constant(half_life_of(5, 9), 100)}).data
        assert bars.x == ("4-8", "8-16", "16-32", "32-64", "64-128")

    def test_layers_and_directions_stand_side_by_side_up_to_four(self):
        figure = half_lives(traced(num_layers=2, bidirectional=True))
        assert [bars.name for bars in figure.data] == [
            f"layer {layer}, {way}" for layer in (0, 1) for way in ("forward", "reverse")
        ]
        assert len({bars.marker.pattern.shape for bars in figure.data}) == 4
        (together,) = half_lives(trace := traced(num_layers=5)).data
        assert together.name == "all 5 layers and directions"
        assert sum(together.customdata) == 25
        each = [half_lives({"a": trace[layer, 0]}).data[0] for layer in range(5)]
        counts = [dict(zip(bars.x, bars.customdata, strict=True)) for bars in each]
        for name, count in zip(together.x, together.customdata, strict=True):
            assert count == sum(found.get(name, 0) for found in counts)

    def test_units_without_a_number_do_not_count(self):
        (bars,) = half_lives({"a": constant([0.5, math.nan])}).data
        assert sum(bars.customdata) == 1
        with pytest.raises(ArgumentError, match="recorded: there is no step with finite forget gates"):
            half_lives({"a": constant([math.nan])})


class TestSaturation:
    @pytest.mark.parametrize("gate", GATES)
    def test_a_mark_is_a_unit(self, gate):
        torch.manual_seed(0)
        lstm = gl.LSTM(3, 6, num_layers=2)
        for weight in lstm.parameters():
            weight.data.mul_(8)
        trace = lstm(torch.randn(20, 2, 3), return_trace=True)[2]
        figure = saturation(trace, gate)
        assert [marks.name for marks in figure.data] == ["layer 0", "layer 1"]
        for layer, marks in enumerate(figure.data):
            left, right = shares_of(trace[layer, 0])[gate]
            np.testing.assert_array_equal(marks.x, left)
            np.testing.assert_array_equal(marks.y, right)
            assert [*marks.customdata] == list(range(6))
            assert max(marks.x) > 0
            assert max(marks.y) > 0

    def test_the_diagonal_is_where_a_gate_is_always_saturated(self):
        figure = saturation(traced())
        (line,) = figure.layout.shapes
        assert (line.x0, line.y0, line.x1, line.y1) == (0, 1, 1, 0)
        assert line.line.color == NEUTRAL
        assert figure.layout.yaxis.scaleanchor == "x"
        assert figure.layout.title.text == "Forget gate"

    def test_the_seventh_layer_is_not_taken_for_the_first(self):
        figure = saturation(traced(num_layers=8))
        symbols = [marks.marker.symbol for marks in figure.data]
        assert len({*symbols[:6]}) == 6
        assert symbols[6] != symbols[0]  # its colour is that of the first
        assert symbols[7] != symbols[1]

    def test_what_cannot_be_shown(self):
        with pytest.raises(ArgumentError, match=r"gate: expected one of input_gate, .*; got 'candidate'"):
            saturation(traced(), "candidate")
        empty = constant([0.5], lengths=torch.tensor([0, 0]))
        with pytest.raises(ArgumentError, match="recorded: there is no step, so no gate can be shown"):
            saturation({"a": empty})


@pytest.mark.parametrize("draw", [memory_curves, half_lives, saturation])
def test_an_unbatched_trace_is_a_batch_of_one_and_axes_are_named(draw):
    torch.manual_seed(0)
    lstm, x = gl.LSTM(3, 4), torch.randn(12, 3)
    alone, batch = (draw(lstm(inputs, return_trace=True)[2]) for inputs in (x, x.unsqueeze(1)))
    for one, other in zip(alone.data, batch.data, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_allclose(one.y, other.y, rtol=1e-6)
    assert alone.layout.xaxis.title.text
    assert alone.layout.yaxis.title.text
    assert alone.layout.showlegend is False


@pytest.mark.parametrize("draw", [memory_curves, half_lives, saturation])
def test_every_name_gets_its_row_above_the_plot(draw):
    one, two = (draw(traced(backward=False, bidirectional=both)).layout for both in (False, True))
    assert two.showlegend
    assert two.margin.t - one.margin.t == two.height - one.height == 36
