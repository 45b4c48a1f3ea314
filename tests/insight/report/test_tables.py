from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from glasslstm.insight.report.tables import plain, tables

AXES = {"xaxis": {"title": {"text": "class"}}, "yaxis": {"title": {"text": "share"}}}


def test_of_a_heat_map_each_row_and_column():
    z = np.array([[0.5, np.nan], [1.0, 2.0]])
    drawn = go.Heatmap(x=["a", "&lt;b&gt;"], y=["c", "d"], z=z, name="counts")
    (table,) = tables(go.Figure(drawn, AXES))
    assert table.caption == "counts"
    assert table.head == ["share \\ class", "a", "<b>"]
    assert [row[0] for row in table.rows.values()] == ["c", "d"]
    np.testing.assert_array_equal([row[1:] for row in table.rows.values()], z)


def test_customdata_are_the_numbers_of_a_heat_map():
    (table,) = tables(go.Figure(go.Heatmap(z=[[1.0, 2.0]], customdata=[[7, 9]]), AXES))
    assert table.caption == "share"
    assert table.head == ["share \\ class", "0", "1"]
    assert [*table.rows.values()] == [["0", 7, 9]]


@pytest.mark.parametrize(("meta", "numbers"), [({"numbers": "customdata"}, [3.5, 4.5]), (None, [-1.0, 1.0])])
def test_the_numbers_of_a_line_are_where_it_says(meta, numbers):
    drawn = go.Scatter(x=[0, 1], y=[-1.0, 1.0], customdata=[3.5, 4.5], name="east", mode="lines", meta=meta)
    (table,) = tables(go.Figure(drawn, AXES))
    assert table.head == ["class", "east"]
    assert [*table.rows.values()] == [[0, numbers[0]], [1, numbers[1]]]


def test_lines_of_one_pair_of_axes_share_rows():
    one = go.Scatter(x=[0, 1], y=[1.0, 2.0], name="one", mode="lines")
    other = go.Scatter(x=[1, 2], y=[20.0, 30.0], name="other", mode="lines")
    (table,) = tables(go.Figure([one, other], AXES))
    assert table.head == ["class", "one", "other"]
    assert [*table.rows.values()] == [[0, 1.0, None], [1, 2.0, 20.0], [2, None, 30.0]]


def test_each_pair_of_axes_has_its_table():
    drawn = [go.Scatter(x=[0], y=[1.0], name="one"), go.Scatter(x=[0], y=[2.0], name="two", yaxis="y2")]
    figure = go.Figure(drawn, AXES | {"yaxis2": {"title": {"text": "loss"}}})
    assert [(table.caption, table.head, [*table.rows.values()]) for table in tables(figure)] == [
        ("share", ["class", "one"], [[0, 1.0]]),
        ("loss", ["class", "two"], [[0, 2.0]]),
    ]


def test_horizontal_bars_are_read_from_y():
    (table,) = tables(go.Figure(go.Bar(x=[0.25], y=["&lt;b&gt;"], orientation="h"), AXES))
    assert table.head == ["share", "class"]
    assert [*table.rows.values()] == [["<b>", 0.25]]


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        ({"array": [0.1, 0.2]}, ([0.9, 1.8], [1.1, 2.2])),
        ({"array": [0.1, 0.2], "arrayminus": [0.3, 0.4]}, ([0.7, 1.6], [1.1, 2.2])),
    ],
)
def test_an_interval_is_its_ends(error, ends):
    (table,) = tables(go.Figure(go.Scatter(x=["a", "b"], y=[1.0, 2.0], error_y=error, name="score"), AXES))
    assert table.head == ["class", "score", "score, lower end", "score, upper end"]
    found = np.array([row[1:] for row in table.rows.values()])
    np.testing.assert_allclose(found.T, [[1.0, 2.0], *ends])


@pytest.mark.parametrize(
    ("names", "rows"), [(None, ["units 0", "units 1"]), ([7, 9], ["units 7", "units 9"])]
)
def test_a_cloud_has_a_row_for_each_mark(names, rows):
    drawn = go.Scatter(x=[0.5, 0.5], y=[0.1, 0.2], mode="markers", name="units", customdata=names)
    (table,) = tables(go.Figure(drawn, AXES))
    assert (table.caption, table.head) == ("class and share", ["", "class", "share"])
    assert [*table.rows.values()] == [[rows[0], 0.5, 0.1], [rows[1], 0.5, 0.2]]


def test_marks_beside_names_are_read_by_name():
    (table,) = tables(go.Figure(go.Scatter(x=[0.5, 0.2], y=["a", "b"], mode="markers", name="score"), AXES))
    assert table.head == ["share", "score"]
    assert [*table.rows.values()] == [["a", 0.5], ["b", 0.2]]


def test_a_line_that_guides_the_eye_has_no_numbers():
    assert tables(go.Figure(go.Scatter(x=[0], y=[0], hoverinfo="skip"), AXES)) == []


@pytest.mark.parametrize(
    ("label", "text"),
    [(None, ""), ("a<br>b", "a b"), ("&lt;script&gt;", "<script>"), ("&#36;x&#36;", "$x$"), (3, "3")],
)
def test_plain(label, text):
    assert plain(label) == text


def test_a_line_of_pieces_has_a_row_for_each_visit_and_none_for_a_gap():
    pieces = go.Scatter(x=[0, 1, None, 1, 2], y=[1.0, 2.0, np.nan, 20.0, 30.0], name="pieces", mode="lines")
    whole = go.Scatter(x=[0, 1, 2], y=[5.0, 6.0, 7.0], name="whole", mode="lines")
    (table,) = tables(go.Figure([whole, pieces], AXES))
    assert table.head == ["class", "whole", "pieces"]
    assert [*table.rows.values()] == [[0, 5.0, 1.0], [1, 6.0, 2.0], [2, 7.0, 30.0], [1, None, 20.0]]
