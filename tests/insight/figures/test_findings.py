from __future__ import annotations

import math

import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.findings import diagnosis, finding
from glasslstm.insight.figures.style import NEUTRAL
from glasslstm.insight.findings import Diagnosis, Finding, Measured, Place

UNITS = Measured(
    "highest forget gate", (1e-6, 0.5, 1e-3, 0.6) * 4, beyond=(0, 2, 4), limit=0.02, logarithmic=True
)
NAMED = Measured("steps seen", (9.0, 1.0), "direction", ("forward", "reverse"), (1,), 1.0)
CURVE = Measured("mean |c|", tuple(k / 4 for k in range(40)), "step", limit=5.0)


def found(measured=None, **other):
    values = {
        "code": "some-code",
        "severity": "error",
        "title": "something is wrong",
        "place": Place("lstm", 1, 0, (0, 1)),
        "value": 0.01,
        "threshold": 0.02,
        "evidence": "e",
        "meaning": "m",
        "change": "c",
        "page": "p",
    }
    return Finding(**values | other, measured=measured)


def texts(figure):
    return [note.text for note in figure.layout.annotations]


class TestFinding:
    def test_units_are_points_those_found_apart(self):
        figure = finding(found(UNITS))
        first, others = figure.data
        assert (first.name, others.name) == ("affected", "others")
        assert dict(zip(first.x, first.y, strict=True)) == {0: 1e-6, 2: 1e-3, 4: 1e-6}
        assert dict(zip(others.x, others.y, strict=True)) == {
            k: UNITS.values[k] for k in range(16) if k not in (0, 2, 4)
        }
        assert first.marker.symbol != others.marker.symbol
        assert (first.marker.color, others.marker.color) == (None, NEUTRAL)
        assert (first.mode, figure.layout.xaxis.title.text) == ("markers", "unit")
        assert (figure.layout.yaxis.title.text, figure.layout.yaxis.type) == ("highest forget gate", "log")
        assert figure.layout.title.text == "Highest forget gate by unit"

    @pytest.mark.parametrize(
        ("measured", "at", "axis"),
        [(UNITS, math.log10(0.02), "y"), (CURVE, 5, "y"), (NAMED, 1, "x")],
        ids=["points", "curve", "rows"],
    )
    def test_the_limit_is_a_line_with_its_figure(self, measured, at, axis):
        figure = finding(found(measured))
        (line,), (note,) = figure.layout.shapes, figure.layout.annotations
        assert line[f"{axis}0"] == line[f"{axis}1"] == measured.limit
        assert (line.line.dash, line.line.color) == ("dash", NEUTRAL)
        assert note.text.replace("<br>", " ") == f"limit {measured.limit:g}"
        assert note[axis] == pytest.approx(at)
        low, high = figure.layout[f"{axis}axis"].range
        assert low <= at <= high

    def test_a_curve_over_steps(self):
        figure = finding(found(CURVE))
        (line,) = figure.data
        assert (line.mode, line.name, line.showlegend) == ("lines", "mean |c|", False)
        assert [*line.x] == [*range(40)]
        assert [*line.y] == [*CURVE.values]

    def test_what_is_found_on_a_curve_is_marked(self):
        marked = Measured("values not finite", (0.0, 3.0, 9.0), "step", (4, 5, 6), (1,))
        line, mark = finding(found(marked)).data
        assert [*line.x] == [4, 5, 6]
        assert ([*mark.x], [*mark.y], mark.mode, mark.name) == ([5], [3.0], "markers", "affected")

    def test_names_have_rows_with_the_figure_beside_and_hatched_others(self):
        figure = finding(found(NAMED))
        first, others = figure.data
        assert ([*first.y], [*first.x], [*first.text]) == (["reverse"], [1.0], ["1"])
        assert ([*others.y], [*others.x], [*others.text]) == (["forward"], [9.0], ["9"])
        assert (first.marker.pattern.shape, others.marker.pattern.shape) == (None, "/")
        assert figure.layout.yaxis.categoryarray == ("forward", "reverse")  # in their own order
        assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # from the top
        assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("steps seen", "direction")
        assert figure.layout.title.text == "Steps seen"

    @pytest.mark.parametrize(("count", "rows"), [(1, True), (10, True), (11, False), (512, False)])
    def test_few_have_rows_and_many_are_points(self, count, rows):
        figure = finding(found(Measured("q", (1.0,) * count)))
        assert (figure.data[0].type == "bar") is rows
        assert figure.layout.xaxis.title.text == ("q" if rows else "unit")
        assert 220 <= figure.layout.height <= 420

    def test_decades_in_rows_are_points_since_a_bar_begins_at_zero(self):
        apart = Measured("q", (1e-3, 10.0), "channel", limit=1.0, logarithmic=True)
        figure = finding(found(apart))
        assert (figure.data[0].type, figure.data[0].mode) == ("scatter", "markers+text")
        assert ([*figure.data[0].x], [*figure.data[0].y]) == ([1e-3, 10.0], ["0", "1"])
        assert figure.data[0].orientation == "h"
        assert figure.layout.xaxis.type == "log"
        low, high = figure.layout.xaxis.range
        assert low < -3 < 1 < high

    def test_a_zero_is_never_lost_on_a_logarithmic_axis(self):
        figure = finding(found(Measured("q", (0.0, 1e-6) * 10, limit=0.02, logarithmic=True)))
        assert figure.layout.yaxis.type is None
        low, high = figure.layout.yaxis.range
        assert low <= 0
        assert high > 0.02

    def test_of_a_curve_that_ends_in_zeros_the_part_about_the_limit_is_shown(self):
        values = tuple(0.0 if k > 8 else 10.0 ** (-5 * k) for k in range(20))
        figure = finding(found(Measured("q", values, "step", limit=1e-4, logarithmic=True)))
        assert figure.layout.yaxis.type == "log"
        low, high = figure.layout.yaxis.range
        assert -11 < low < -8
        assert 0 < high < 1
        assert [*figure.data[0].y] == [*values]

    @pytest.mark.parametrize(("value", "log"), [(0.01, False), (1e-9, True), (0.0, False), (-3.0, False)])
    def test_without_figures_the_value_stands_beside_the_threshold(self, value, log):
        figure = finding(found(value=value))
        (pair,) = figure.data
        assert [*pair.y] == ["measured", "threshold"]
        assert [*pair.x] == [value, 0.02]
        assert (figure.layout.xaxis.type == "log") is log
        assert figure.layout.title.text == "something is wrong"
        assert not figure.layout.shapes

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_nothing_finite(self, value):
        with pytest.raises(
            ArgumentError, match=r"^found: some-code has no finite figure to draw: its value is"
        ):
            finding(found(value=value))

    def test_hostile_text_is_disarmed(self):
        text = "<b>$x$</b>"
        figure = finding(found(Measured(text, (1.0, 2.0), text, (text, text), (0,))))
        html = figure.to_json()
        assert "<b>" not in html.replace("\\u003c", "<")
        assert "$x$" not in html
        assert "<b>" not in finding(found(title=text)).layout.title.text
        assert len({*figure.layout.yaxis.categoryarray}) == 2


class TestDiagnosis:
    def test_a_row_for_each_finding(self):
        shown = [found(UNITS), found(CURVE, severity="note"), found(NAMED), found()]
        figure = diagnosis(Diagnosis(tuple(shown), (), {}))
        rows = [f"{axis}axis{k}" for axis in "xy" for k in ("", 2, 3, 4)]
        assert all(figure.layout[row].title.text for row in rows)
        assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3", "x4"}
        assert [*figure.data[2].y] == [*CURVE.values]
        headings = [text for text in texts(figure) if "wrong" in text]
        assert len(headings) == 4
        assert "note: lstm, layer 1, forward, units 0-1" in headings[1]
        assert figure.layout.title.text == "4 findings"
        tops = [figure.layout[f"yaxis{k}"].domain[1] for k in ("", 2, 3, 4)]
        assert tops == sorted(tops, reverse=True)

    def test_the_first_twelve_of_many(self):
        figure = diagnosis(Diagnosis(tuple(found(NAMED, title=f"no {k}") for k in range(20)), (), {}))
        assert figure.layout.title.text == "20 findings, 12 of them shown"
        assert [text[:5] for text in texts(figure) if "no " in text][-1] == "no 11"

    def test_nothing_found_and_nothing_to_draw(self):
        assert texts(diagnosis(Diagnosis((), ("a",), {}))) == ["Nothing found."]
        one = diagnosis(Diagnosis((found(value=math.nan),), ("a",), {}))
        assert texts(one) == ["The findings have no finite figure to draw."]

    def test_what_has_no_finite_figure_is_left_out(self):
        figure = diagnosis(Diagnosis((found(value=math.inf), found(NAMED)), (), {}))
        assert figure.layout.title.text == "2 findings, 1 of them shown"
        assert [trace.name for trace in figure.data] == ["affected", "others"]

    def test_hostile_names_of_modules(self):
        figure = diagnosis(Diagnosis((found(NAMED, place=Place("<i>a</i>$")),), (), {}))
        assert any("error: &lt;i&gt;a&lt;/i&gt;&#36;" in text for text in texts(figure))

    def test_of_a_real_model(self):
        torch.manual_seed(0)
        lstm = gl.LSTM(3, 16)
        lstm.bias_ih_l0.data[16:20] = -20
        found = gl.diagnose(lstm, torch.randn(20, 8, 3), codes=["forget-gate-shut"])
        first, others = diagnosis(found).data
        assert [*first.x] == [*found[0].place.units]
        assert max(first.y) == found[0].value
        assert min(others.y) > found[0].threshold
