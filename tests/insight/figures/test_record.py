"""The figures of a record: the numbers of its table, and nothing that misleads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.record import record_gradient_reach, record_half_life, record_saturation

FIGURES = (record_saturation, record_half_life, record_gradient_reach)


def table(epochs=3, modules=("lstm",), layers=1, directions=1, trainings=("training",)):
    """Return a table of numbers that are all different."""
    keys = [
        (training, epoch, module, layer, direction)
        for training in trainings
        for epoch in range(epochs)
        for module in modules
        for layer in range(layers)
        for direction in range(directions)
    ]
    columns = {
        name: np.array(column)
        for name, column in zip(
            ("training", "epoch", "module", "layer", "direction"), zip(*keys, strict=True), strict=True
        )
    }
    rng = np.random.default_rng(0)
    for gate in ("input", "forget", "output"):
        columns |= {f"{gate}_gate_left": rng.random(len(keys)), f"{gate}_gate_right": rng.random(len(keys))}
    median = rng.uniform(1, 100, len(keys))
    columns |= {"half_life_10": median / 3, "half_life_median": median, "half_life_90": median * 5}
    return columns | {"gradient_reach": rng.random(len(keys)), "gradient_reach_share": rng.random(len(keys))}


def rows_of(columns, **keys):
    found = np.all([columns[name] == value for name, value in keys.items()], axis=0)
    return {name: column[found] for name, column in columns.items()}


class TestNumbers:
    @pytest.mark.parametrize("direction", [0, 1])
    def test_saturation(self, direction):
        columns = table(layers=2, directions=2)
        figure = record_saturation(columns)
        place = rows_of(columns, layer=1, direction=direction)
        lines = [line for line in figure.data if line.yaxis == f"y{3 + direction}"]
        expected = {
            f"{gate} {word}": place[f"{gate}_gate_{side}"]
            for gate in ("forget", "input", "output")
            for word, side in (("shut", "left"), ("open", "right"))
        }
        assert [line.name for line in lines] == list(expected)
        for line in lines:
            assert [*line.x] == [0, 1, 2]
            np.testing.assert_array_equal(line.y, expected[line.name])
        title = figure.layout[f"yaxis{3 + direction}"].title.text
        assert title == f"share,<br>layer 1, {('forward', 'reverse')[direction]}"

    def test_half_life(self):
        columns = table(modules=("encoder", "decoder"))
        figure = record_half_life(columns)
        for axis, module in (("y", "encoder"), ("y2", "decoder")):
            place = rows_of(columns, module=module)
            median, low, high = (line for line in figure.data if (line.yaxis or "y") == axis)
            np.testing.assert_array_equal(median.y, place["half_life_median"])
            np.testing.assert_array_equal(low.y, place["half_life_10"])
            np.testing.assert_array_equal(high.y, place["half_life_90"])
            assert (low.fill, high.fill) == (None, "tonexty")
        assert [line.name for line in figure.data[:2]] == ["median", "median"]
        assert figure.layout.yaxis.type == figure.layout.yaxis2.type == "log"
        low, high = 10 ** np.array(figure.layout.yaxis.range)
        assert low < columns["half_life_10"].min() < columns["half_life_90"].max() < high

    def test_gradient_reach(self):
        columns = table(directions=2)
        forward, reverse = record_gradient_reach(columns).data
        assert (forward.name, reverse.name) == ("forward", "reverse")
        np.testing.assert_array_equal(forward.y, columns["gradient_reach_share"][::2])
        np.testing.assert_array_equal(reverse.y, columns["gradient_reach_share"][1::2])

    def test_a_record_as_it_comes(self):
        record = gl.Record(torch.nn.LSTM(3, 4, num_layers=2), torch.randn(20, 8, 3))
        record.epoch(0)
        record.epoch(1)
        columns = record.table()
        below, above = record_gradient_reach(columns).data
        np.testing.assert_array_equal([*below.y, *above.y], columns["gradient_reach_share"][[0, 2, 1, 3]])
        assert (below.name, above.name) == ("layer 0", "layer 1")


class TestChoice:
    def test_the_last_training_or_the_one_that_is_asked_for(self):
        columns = table(trainings=("search", "refit"))
        for training, wanted in ((None, "refit"), ("search", "search")):
            figure = record_gradient_reach(columns, training=training)
            np.testing.assert_array_equal(
                figure.data[0].y, rows_of(columns, training=wanted)["gradient_reach_share"]
            )
            assert figure.layout.title.subtitle.text == f"training: {wanted}"
        assert not record_gradient_reach(table()).layout.title.subtitle.text

    def test_a_module_of_several(self):
        columns = table(modules=("a", ""), directions=2)
        figure = record_gradient_reach(columns, module="")
        assert [line.name for line in figure.data] == ["forward", "reverse"]
        np.testing.assert_array_equal(
            figure.data[1].y, rows_of(columns, module="", direction=1)["gradient_reach_share"]
        )
        assert record_gradient_reach(columns).data[2].name == "the model, forward"

    @pytest.mark.parametrize("draw", FIGURES)
    def test_of_many_places_four_are_drawn_and_it_says_so(self, draw):
        columns = table(layers=5, directions=2)
        figure = draw(columns)
        assert "4 of 10 layers and directions" in figure.layout.title.subtitle.text
        text = json.dumps(figure.to_plotly_json(), default=str)
        shown = ("layer 0, forward", "layer 1, reverse", "layer 3, forward", "layer 4, reverse")
        assert all(place in text for place in shown)
        assert "layer 2" not in text
        assert "layers and directions" not in str(
            draw(table(layers=2, directions=2)).layout.title.subtitle.text
        )

    def test_names_are_disarmed(self):
        columns = table(modules=("<b>x</b>", "$y$", "<b>x</b>" * 9))
        names = [line.name for line in record_gradient_reach(columns).data]
        assert names == ["&lt;b&gt;x&lt;/b&gt;", "&#36;y&#36;", "&lt;b&gt;x&lt;/b&gt;&lt;b&gt;x&lt;…"]
        assert record_saturation(columns).layout.yaxis.title.text == "share,<br>&lt;b&gt;x&lt;/b&gt;"
        hostile = table(trainings=("a", "<i>"))
        assert record_saturation(hostile).layout.title.subtitle.text.endswith("training: &lt;i&gt;")


class TestWhatCannotBeDrawn:
    def test_infinite_and_zero_half_lives_leave_gaps_and_stay_in_the_numbers(self):
        columns = table(epochs=5)
        columns["half_life_90"][1:3] = np.inf
        columns["half_life_10"][0] = 0
        columns["half_life_median"][4] = np.nan
        figure = record_half_life(columns)
        median, low, high = figure.data
        assert np.isnan(low.y).tolist() == [True, False, False, False, False]
        assert np.isnan(high.y).tolist() == [False, True, True, False, False]
        for line, name in ((median, "half_life_median"), (low, "half_life_10"), (high, "half_life_90")):
            np.testing.assert_array_equal(line.customdata, columns[name])
        assert figure.layout.title.subtitle.text == "gaps: 3 values are infinite or zero"
        assert high.fill is None  # a band across a gap would be a guess
        assert np.isfinite(figure.layout.yaxis.range).all()

    def test_nan_is_a_gap(self):
        columns = table()
        columns["gradient_reach_share"][1] = np.nan
        figure = record_gradient_reach(columns)
        np.testing.assert_array_equal(figure.data[0].y, columns["gradient_reach_share"])
        assert not figure.layout.title.subtitle.text

    @pytest.mark.parametrize(
        ("draw", "column", "message"),
        [
            (
                record_gradient_reach,
                "gradient_reach_share",
                "every 'gradient_reach_share' is missing or infinite$",
            ),
            (record_half_life, "half_life", "every 'half_life_median' is missing or infinite or zero$"),
        ],
    )
    def test_nothing_at_all(self, draw, column, message):
        columns = table()
        for name in columns:
            if name.startswith(column):
                columns[name][:] = np.nan
        with pytest.raises(ArgumentError, match=f"table: there is nothing to draw, {message}"):
            draw(columns)

    @pytest.mark.parametrize("draw", FIGURES)
    def test_what_is_no_table(self, draw):
        columns = table()
        del columns["layer"]
        with pytest.raises(
            ArgumentError, match=r"table: there is no column 'layer'; expected the columns of gl"
        ):
            draw(columns)
        with pytest.raises(ArgumentError, match="table: there are no epochs; expected"):
            draw({name: column[:0] for name, column in table().items()})
        with pytest.raises(ArgumentError, match="table: there is no column 'module'"):
            draw({})

    @pytest.mark.parametrize("draw", FIGURES)
    def test_what_is_not_in_it(self, draw):
        columns = table(trainings=("search", "refit"))
        with pytest.raises(ArgumentError, match="module: got 'gru'; the table has 'lstm'"):
            draw(columns, module="gru")
        with pytest.raises(ArgumentError, match="training: got 'first'; the table has 'search', 'refit'"):
            draw(columns, training="first")


class TestLook:
    @pytest.mark.parametrize("draw", FIGURES)
    def test_one_epoch_has_marks_and_an_axis(self, draw):
        figure = draw(table(epochs=1))
        assert {line.mode for line in figure.data} == {"lines+markers"}
        assert figure.layout.xaxis.range == (-0.5, 0.5)
        many = table(epochs=41)
        assert {line.mode for line in draw(many).data} == {"lines"}
        for name in many:
            if "_" in name:
                many[name][3] = np.nan  # a value between two gaps is a mark or nothing
        assert {line.mode for line in draw(many).data} == {"lines+markers"}

    def test_the_kth_place_looks_alike_in_every_figure_that_has_a_line_for_each(self):
        columns = table(layers=2, directions=2)
        reach, lives = record_gradient_reach(columns).data, record_half_life(columns).data
        assert [line.line.dash for line in reach] == [line.line.dash for line in lives[:4]]
        assert len({line.line.dash for line in reach}) == 4
        assert all(line.line.color is None for line in (*reach, *lives[:4]))
        assert {line.line.color for line in lives[4:]} == {"#808a94"}

    @pytest.mark.parametrize("draw", FIGURES)
    def test_every_name_stands_once_in_the_legend(self, draw):
        figure = draw(table(layers=2))
        shown = [line.name for line in figure.data if line.showlegend is not False]
        assert sorted(shown) == sorted({line.name for line in figure.data})
        titles = [figure.layout[axis].title.text for axis in figure.layout if axis.startswith("yaxis")]
        assert all(titles)
        assert len(set(titles)) == len(titles)

    def test_a_single_line_needs_no_legend_and_more_have_room_for_one(self):
        heights = [record_gradient_reach(table(layers=n)).layout.margin.t for n in (1, 2, 3)]
        assert np.diff(heights).tolist() == [19, 19]
        assert [record_gradient_reach(table(layers=n)).layout.showlegend for n in (1, 2)] == [False, True]

    def test_powers_of_ten_are_ticks_where_there_are_some(self):
        columns = table()
        wide = {"half_life_10": np.ones(3), "half_life_90": np.full(3, 1e8)}
        assert record_half_life(columns | wide).layout.yaxis.dtick == 2
        narrow = {name: np.array([20.0, 30.0, 40.0]) for name in columns if name.startswith("half_life")}
        assert record_half_life(columns | narrow).layout.yaxis.dtick == "D2"
