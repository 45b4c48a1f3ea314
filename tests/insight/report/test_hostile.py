"""What things are called is shown as that text, and makes no element or attribute of the page."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import glasslstm as gl

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "$\\x$ ${x} $title",
    "\ud800 half",
    "long " * 2000,
    "",
    '"><b onclick="alert(3)">&amp;',
    "<br><sub>{y}</sub>%{x}",
]
LONGEST = 60  # letters that a page has of a name
SHOWN = [name.replace("\ud800", "?")[:LONGEST] for name in HOSTILE]


class Named(nn.Module):
    """A classifier whose LSTM has a name of one's choice."""

    def __init__(self, name, K):
        super().__init__()
        self.name, self.head = name, nn.Linear(4, K)
        self.add_module(name, gl.LSTM(len(HOSTILE), 4, batch_first=True))

    def forward(self, x):
        return self.head(getattr(self, self.name)(x)[1][0][-1])


def given(names, model):
    torch.manual_seed(0)
    K = len(HOSTILE)
    x, y = torch.randn(3 * K, 6, K), torch.arange(3 * K) % K
    models = [Named(one, K) for one in model]
    for one in models:
        with torch.no_grad():
            getattr(one, one.name).bias_ih_l0[4:8] = -20
    return {
        "args": (models, x, y),
        "channel_names": names,
        "class_names": names,
        "sequence_names": names * 3,
        "groups": {name: [names[k % 3] for k in range(3 * K)] for name in names},
        "names": [names[0], names[1]],
        "title": names[2],
        "record": [{"epoch": np.arange(2), names[0]: np.arange(2.0)}, {}],
    }


@pytest.fixture(scope="module")
def pages(written):
    """A page of plain names, and the same page of hostile ones."""
    plain = [f"name {k}" for k in range(len(HOSTILE))]
    made = [given(plain, ["one", "two"]), given(HOSTILE, [HOSTILE[0], HOSTILE[1]])]
    return [written(*one.pop("args"), **one) for one in made]


def shape(element):
    """Tags and names of attributes, with what they may not take from names."""
    of_names = ("value", "aria-label", "style")
    kept = {name: value for name, value in element.items() if name not in of_names}
    return element.tag, sorted(element.keys()), sorted(kept.items())


def test_names_make_no_element_and_no_attribute(pages):
    plain, hostile = ([shape(one) for one in page.root.iter()] for page in pages)
    assert plain == hostile


def test_nothing_is_closed_or_loaded(pages):
    plain, hostile = (page.source for page in pages)
    assert hostile.count("</script") == plain.count("</script")
    assert hostile.count("<script") == plain.count("<script")
    assert "<img" not in hostile
    assert "<b " not in hostile


def test_names_are_shown_as_they_are(pages):
    page = pages[1]
    assert page.text(page.root.find("body/header/h1")) == page.root.find("head/title").text == SHOWN[2]
    headings = [page.text(one.find("h3")) for one in page.of_class("models", page.sections["findings"])[0]]
    assert headings == SHOWN[:2]
    assert all(f"accuracy, {name}" in page.cards() for name in SHOWN[:2])
    places = [page.text(page.of_class("quiet", article)[0]) for article in page.root.iter("article")]
    assert places[0].startswith(SHOWN[0])
    labels = [*page.options("sequence")[0].values()]
    for label in labels:
        name = next(
            name for name in sorted(SHOWN, key=len, reverse=True) if label.startswith(f"{name}: true")
        )
        assert any(f": true {one}, predicted " in label for one in SHOWN), name
    assert [*page.options("layer")[0].values()] == [f"{SHOWN[0]}, layer 0"]


def test_the_page_knows_the_names_as_they_came(pages):
    first, second = pages[1].data["models"]
    assert (first["places"][0]["module"], second["places"][0]["module"]) == tuple(HOSTILE[:2])
    told = {label.split(": true")[0] for label in first["sequences"]}
    assert told <= {name[:LONGEST] for name in HOSTILE}


def test_labels_of_figures_are_short_disarmed_and_apart(pages):
    page = pages[1]
    (confusions,) = [one for one in page.figures("failures") if one.data[0]["type"] == "heatmap"][:1]
    for names in (confusions.data[0]["x"], confusions.data[0]["y"]):
        assert len({*names}) == len(names) == len(HOSTILE)
        assert not any("<" in name or "$" in name for name in names)
        assert "(empty)" in names
    curves = [trace["name"] for trace in page.figures("gates")[4].data[6:]]
    assert len({*curves}) == len(curves) == len(HOSTILE)
    assert not any("<" in name or "$" in name or len(name) > 60 for name in curves)


def test_no_layout_or_hover_text_holds_markup_of_a_name(pages):
    for section in pages[1].sections:
        for drawn in pages[1].figures(section):
            words = str(drawn.data) + str(drawn.layout)
            assert not [part for part in ("<script", "</script", "<img", "<b on", "<sub") if part in words]


def test_code_to_copy_names_the_module(pages):
    codes = [
        code.text
        for code in pages[1].sections["findings"].iter("code")
        if "get_submodule" in (code.text or "")
    ]
    assert codes
    assert f"model.get_submodule({HOSTILE[0]!r})" in codes[0]


def test_classes_whose_names_begin_alike_stay_apart(written, classifier, sample):
    page = written(classifier(), *sample, class_names=["x" * 200 + "1", "x" * 200 + "2"])
    (_, rows), *_ = page.figures("failures")[0].tables
    assert sum(int(float(cell)) for row in rows[1:] for cell in row[1:]) == len(sample[1])
