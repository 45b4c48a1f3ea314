from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import layout
from glasslstm.insight.report import page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    '" onclick="alert(3)',
    "&amp;",
]


class Parts(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (np.float64("nan"), "n/a"),
        (0.123456, "0.1235"),
        (np.float32(12345.678), "1.235e+04"),
        (1.0, "1"),
        (float("inf"), "inf"),
        (1e-308, "0"),
        (7, "7"),
        (np.int64(12345), "12345"),
        ("<b>", "&lt;b&gt;"),
        ("\ud800", "?"),
    ],
)
def test_numbers_have_four_digits(value, shown):
    assert page.number(value) == shown


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("recorded: no sequence has two steps", "No sequence has two steps."),
        ("the model answers nothing", "The model answers nothing."),
        ("is it? <b>", "Is it? &lt;b&gt;."),
        ("targets, loss: both!", "Both!"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(reason, sentence):
    expected = f'<p class="notice"><strong>Not shown.</strong> {sentence}</p>'

    def refuse():
        raise ArgumentError(reason)

    assert page.notice(reason) == page.block(refuse) == expected
    assert page.block(lambda: "shown") == "shown"


def test_a_mistake_of_ours_is_no_notice():
    def fail():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        page.block(fail)


@pytest.mark.parametrize("words", HOSTILE)
def test_text_stays_text(words):
    made = [
        page.paragraph(words),
        page.paragraph(words, "quiet"),
        page.code(words),
        page.select("gate", words, {words: words}),
        page.table(words, [words, words], [[words, words]]),
        page.notice("x " + words),
    ]
    plain = [tag for tag, _ in Parts("".join(page.paragraph("x") for _ in made)).tags]
    for source in made:
        parts = Parts(source)
        allowed = ["p", "strong", "div", "pre", "code", "button", "label", "select", "option", "table"]
        assert {tag for tag, _ in parts.tags} <= {*allowed, "caption", "thead", "tbody", "tr", "th", "td"}
        assert not {name for _, attrs in parts.tags for name in attrs if name.startswith("on")}
        assert any(words in found for found in parts.words)
    assert set(plain) == {"p"}
    assert ("option", {"value": words}) in Parts(made[3]).tags


def test_json_cannot_end_its_script():
    source = page.to_json({"a": HOSTILE, "</script>": "\ud800 \u2028"})
    assert "<" not in source
    assert json.loads(source) == {"a": HOSTILE, "</script>": "\ud800 \u2028"}


def test_json_has_numbers_of_six_digits_and_no_nan():
    numbers = {"one": np.pi * 1e5, "many": np.array([[1 / 3, np.nan], [np.inf, -2.0]]), "whole": np.arange(3)}
    assert json.loads(page.to_json(numbers)) == {
        "one": 314159.0,
        "many": [[0.333333, None], [None, -2.0]],
        "whole": [0, 1, 2],
    }


def test_json_of_a_figure_has_its_numbers_and_not_its_template():
    z = np.arange(6.0).reshape(2, 3) / 7
    drawn = json.loads(
        page.to_json(go.Figure(go.Heatmap(z=z, x=np.arange(3, dtype=np.int16)), layout("t", 300)))
    )
    np.testing.assert_allclose(drawn["data"][0]["z"], z, rtol=1e-5)
    assert drawn["data"][0]["x"] == [0, 1, 2]
    assert "template" not in drawn["layout"]


def test_a_figure_has_heading_place_caption_and_numbers(take_apart):
    drawn = go.Figure(go.Bar(x=["a", "b"], y=[1.25, np.nan], name="n"), layout("The &lt;b&gt;", 300))
    drawn.update_layout(title={"subtitle": {"text": "sequence 3"}}, xaxis_title="class", yaxis_title="count")
    source = page.figure(drawn, "To see: <i>")
    words = Parts(source).words
    assert words[0] == "The <b>"
    assert "To see: <i>" in words
    assert "sequence 3" in words
    cells = ["count", "class", "n", "a", "1.25", "b", "n/a"]
    assert [word for word in words if word in cells][-7:] == cells
    shown = json.loads(next(word for word in words if word.startswith('{"data"')))
    assert "title" not in shown["layout"]
    assert f"height:{shown['layout']['height']:.0f}px" in source
    assert drawn.layout.title.text == "The &lt;b&gt;"  # what came is left as it was


def test_a_chosen_figure_leaves_its_table_to_the_page():
    drawn = go.Figure(go.Bar(x=["a"], y=[1.25]), layout("t", 300))
    source = page.figure(drawn, chosen=True)
    assert "<table" not in source
    assert ("p", {"class": "place quiet", "aria-live": "polite"}) in Parts(source).tags


def test_a_long_table_is_cut_and_says_so():
    words = Parts(page.table("All", ["n"], [[k] for k in range(1002)])).words
    assert words[0] == "All (the first 1000 of 1002 rows)"
    assert words[-1] == "999"


def test_no_code_no_button():
    assert page.code("") == ""
    assert "Copy" in page.code("x = 1")
