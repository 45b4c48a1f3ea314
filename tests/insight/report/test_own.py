"""Sections that a subject brings along: they come first, and what cannot be shown is said."""

from __future__ import annotations

from dataclasses import replace

import plotly.graph_objects as go
import pytest

from glasslstm.errors import ArgumentError
from glasslstm.insight.section import Choice, Section
from glasslstm.insight.subject import subject_of

HOSTILE = "<img src=x onerror=alert(1)>"


def drawn(title, y):
    axes = {"xaxis": {"title": {"text": "day"}}, "yaxis": {"title": {"text": "sales"}}}
    layout = {"title": {"text": title}, "height": 300, **axes}
    return lambda: go.Figure(go.Scatter(x=[1, 2], y=y, mode="lines"), layout)


def nothing():
    raise ArgumentError("sales: nobody has bought anything")


SHOPS = Section(
    "shops",
    "What do the shops sell?",
    f"Much {HOSTILE}",
    [
        ("Of each day.", drawn("All", [5.0, 6.0])),
        ("", nothing),
        ("Of one.", Choice("Shop", {"north": drawn("North", [1.0, 2.0]), HOSTILE: nothing})),
        ("", Choice("Week", {"only": drawn("Week", [7.0, 8.0])})),
    ],
)


class WithSections:
    """What an estimator is to the report: it says of itself what there is to show."""

    def __init__(self, model, *sections):
        self.model, self.sections = model, sections

    def _subject(self, X, y):
        return replace(subject_of(self.model, X, y), sections=self.sections)


@pytest.fixture(scope="module")
def page(written, classifier, sample):
    return written(WithSections(classifier(), SHOPS), *sample)


def test_it_comes_first(page):
    assert [*page.sections][:2] == ["shops", "findings"]
    assert page.text(page.sections["shops"].find("h2")) == "What do the shops sell?"
    assert page.root.find(".//nav//a").get("href") == "#shops"
    assert page.leads("shops") == [f"Much {HOSTILE}"]


def test_choices_stand_before_single_figures(page):
    found = page.figures("shops")
    assert [one.heading for one in found] == ["North", "Week", "All"]
    assert [one.caption for one in found] == ["Of one.", "", "Of each day."]
    assert [one.data[0]["y"] for one in found] == [[1, 2], [7, 8], [5, 6]]
    assert found[0].tables[0][1][1:] == [["1", "1"], ["2", "2"]]


def test_the_reader_chooses_by_name(page):
    assert page.options("option") == [{"0": "north", "1": HOSTILE}]
    first, only = page.root.findall(".//*[@data-choice]")
    assert [one.get("data-option") for one in first.findall("div")[1:]] == ["0", "1"]
    assert page.of_class("notice", first.findall("div")[2])
    assert only.find(".//select") is None


def test_what_cannot_be_drawn_is_said(page):
    assert page.notices("shops") == ["Nobody has bought anything."] * 2


def test_of_two_models_one_has_nothing_to_say(written, classifier, sample):
    models = [classifier(), WithSections(classifier(), SHOPS)]
    page = written(models[::-1], *sample, names=["with", "without"])
    assert [*page.sections][:2] == ["shops", "findings"]
    assert page.notices("shops")[-1] == "This model has nothing to show here."
    assert len(page.figures("shops")) == 3


def test_without_sections_the_page_is_as_it_was(written, classifier, sample):
    pages = [written(one, *sample, names=["it"]) for one in (classifier(), WithSections(classifier()))]
    assert pages[0].source == pages[1].source
    assert "shops" not in pages[0].sections
