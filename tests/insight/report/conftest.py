"""What the tests of the report share: small models, a page taken apart, and the unpacking of its numbers."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from plotly.offline import get_plotlyjs
from torch import nn

from glasslstm.insight.report import report


class Classifier(nn.Module):
    """An LSTM whose last hidden state, or the one of each step, a linear layer reads."""

    def __init__(self, kind=nn.LSTM, K=2, *, batch_first=True, each_step=False, **options):
        super().__init__()
        options = {"hidden_size": 4, **options}
        self.each_step = each_step
        self.lstm = kind(3, batch_first=batch_first, **options)
        width = options.get("proj_size") or options["hidden_size"]
        self.head = nn.Linear(width * (1 + (each_step and self.lstm.bidirectional)), K)

    def forward(self, x):
        output, (h_n, _), *_ = self.lstm(x)
        return self.head(output if self.each_step else h_n[-1])


class _Tree(HTMLParser):
    """Builds elements out of tags as they come: one that closes what is not open is an error."""

    VOID = ("meta", "link", "input", "img", "br")

    def __init__(self, source):
        super().__init__()
        self._builder, self._open = ET.TreeBuilder(), []
        self.feed(source)
        self.close()
        assert not self._open
        self.root = self._builder.close()

    def handle_starttag(self, tag, attrs):
        self._builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in self.VOID:
            self._builder.end(tag)
        else:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        self._builder.end(tag)

    def handle_data(self, data):
        self._builder.data(data)


class Page:
    """A page taken apart."""

    def __init__(self, path):
        self.size = path.stat().st_size
        self.source = path.read_text("utf-8").replace(get_plotlyjs(), "", 1)
        self.root = _Tree(self.source).root
        self.header = self.root.find("body/header")
        self.sections = {one.get("id"): one for one in self.root.iter("section")}
        self.data = json.loads(self.root.find(".//script[@id='data']").text)

    @staticmethod
    def text(element):
        """What stands in an element, without scripts."""
        parts = [element.text or ""] if element.tag not in ("script", "style") else []
        for child in element:
            parts += [Page.text(child), child.tail or ""]
        return "".join(parts)

    def of_class(self, kind, within=None):
        found = (self.root if within is None else within).iter()
        return [one for one in found if kind in one.get("class", "").split()]

    def notices(self, section):
        return [
            self.text(one).removeprefix("Not shown. ")
            for one in self.of_class("notice", self.sections[section])
        ]

    def leads(self, section):
        return [self.text(one) for one in self.of_class("lead", self.sections[section])]

    def tables(self, within):
        """Captions with rows of cells, the head first."""
        return [
            (
                self.text(table.find("caption")),
                [[self.text(cell) for cell in row] for row in table.iter("tr")],
            )
            for table in within.iter("table")
        ]

    def figures(self, section):
        return [
            SimpleNamespace(
                heading=self.text(one.find("h4")),
                caption="".join(map(self.text, one.findall("figcaption"))),
                tables=self.tables(one),
                **json.loads(one.find("script").text),
            )
            for one in self.sections[section].iter("figure")
        ]

    def figure(self, section, heading):
        return next(one for one in self.figures(section) if one.heading.startswith(heading))

    def cards(self):
        """Each fact with its figure, and what stands below it."""
        return {
            self.text(card.find("dt")): (
                card.find("dd").text,
                self.text(card.find("dd/small")) if card.find("dd/small") is not None else "",
            )
            for card in self.header.find("dl")
        }

    def options(self, control):
        """What each control of a name has to choose from, by value."""
        return [
            {option.get("value"): self.text(option) for option in one}
            for one in self.root.iter("select")
            if one.get("data-control") == control
        ]


@pytest.fixture(scope="session")
def classifier():
    """Make a model; the weights are the same each time."""

    def make(*args, **options):
        torch.manual_seed(7)
        return Classifier(*args, **options)

    return make


@pytest.fixture(scope="session")
def sample():
    """20 sequences of 9 steps and 3 channels, and two classes."""
    draw = torch.Generator().manual_seed(5)
    return torch.randn(20, 9, 3, generator=draw), torch.arange(20) % 2


@pytest.fixture(scope="session")
def take_apart():
    return Page


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Make a report and take it apart."""

    def write(*args, **options):
        return Page(report(*args, path=tmp_path_factory.mktemp("page") / "report.html", **options))

    return write


@pytest.fixture(scope="session")
def unpack():
    """Bring packed numbers back."""

    def numbers(packed):
        shares = np.frombuffer(base64.b64decode(packed["packed"]), "<u2").astype(float)
        found = packed["low"] + shares / 65534 * (packed["high"] - packed["low"])
        return np.where(shares == 65535, np.nan, found).reshape(packed["shape"])

    return numbers
