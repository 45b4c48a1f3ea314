from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from plotly.offline import get_plotlyjs

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight import figures
from glasslstm.insight.report import write_report
from glasslstm.nn.trace import GateTrace, Trace

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<b>&amp;</b>",
    "$\\x$",
    "\ud800\x00",
]
LIMIT = 8_000_000
CHROMIUM = "chromium --headless --no-sandbox --disable-gpu --no-first-run --enable-logging=stderr --v=0"


def arguments(steps=6, batch=2, lengths=(4, 6), num_layers=1, bidirectional=True):
    torch.manual_seed(0)
    x = torch.randn(steps, batch, 3)
    lstm = gl.LSTM(3, 5, num_layers=num_layers, bidirectional=bidirectional)
    with torch.no_grad():
        trace = lstm(x, lengths=lengths and torch.tensor(lengths), return_trace=True)[2]
    return {
        "title": "Three classes",
        "summary": {"test accuracy": 0.81234567, "n_test": 5, "dataset": "none & such"},
        "history": [
            {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25, "valid_accuracy": 0.5},
            {"epoch": 2, "train_loss": 0.123456, "valid_loss": None, "valid_accuracy": 0.75},
        ],
        "best_epoch": 2,
        "y_true": ["a", "a", "a", "b", "c"],
        "y_pred": ["a", "b", "b", "b", "c"],
        "classes": ["a", "b", "c"],
        "trace": trace,
        "inputs": x[:, 0].numpy(),
        "channel_names": ["east", "north", "up"],
        "trace_title": "The first sequence.",
    }


def hostile_arguments():
    changes = {
        "title": HOSTILE[0],
        "summary": dict(pairwise(HOSTILE)),
        "history": [{"epoch": 1, "train_loss": float("inf"), HOSTILE[0]: float("nan")}],
        "best_epoch": 1,
        "y_true": HOSTILE,
        "y_pred": HOSTILE[::-1],
        "classes": HOSTILE,
        "channel_names": HOSTILE[:3],
        "trace_title": HOSTILE[1],
    }
    return {**arguments(), **changes}


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and its tables by caption as rows of cells."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8").replace(get_plotlyjs(), "")
        self.tags, self.tables, self.text = [], {}, ""
        self._open, self._rows = "", []
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):  # noqa: ARG002
        self._open = ""

    def handle_data(self, data):
        if self._open in ("th", "td"):
            self._rows[-1][-1] += data
        elif self._open == "caption":
            self.tables.setdefault(data, self._rows)
        if self._open not in ("script", "style"):
            self.text += data

    def table(self, caption):
        return next(rows for title, rows in self.tables.items() if title.startswith(caption))

    def count(self, tag):
        return Counter(name for name, _ in self.tags)[tag]


@pytest.fixture
def write(tmp_path):
    return lambda given: Page(write_report(tmp_path / "runs" / "report.html", **given))


class TestNumbers:
    def test_the_result_and_the_summary(self, write):
        page = write(arguments())
        assert "Of 5 sequences, 3 got the right class: an accuracy of 60.0%." in page.text
        assert "No confusion is more frequent than “a” taken for “b”: 2 of 3." in page.text
        assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.source) == [
            ("test accuracy", "0.8123"),
            ("n_test", "5"),
            ("dataset", "none &amp; such"),
        ]

    def test_the_confusions_recall_and_precision(self, write):
        page = write(arguments())
        assert page.table("How many sequences")[1:] == [
            ["a", "1", "2", "0"],
            ["b", "0", "1", "0"],
            ["c", "0", "0", "1"],
        ]
        assert page.table("Recall:") == [
            ["class", "recall", "precision"],
            ["a", "33.3% (1 of 3)", "100.0% (1 of 1)"],
            ["b", "100.0% (1 of 1)", "33.3% (1 of 3)"],
            ["c", "100.0% (1 of 1)", "100.0% (1 of 1)"],
        ]

    def test_a_class_that_never_occurs_has_no_recall(self, write):
        page = write({**arguments(), "classes": ["a", "b", "c", "d"]})
        assert page.table("Recall:")[-1] == ["d", "n/a", "n/a"]

    def test_the_epochs(self, write):
        assert write(arguments()).table("Each epoch") == [
            ["epoch", "train_loss", "valid_loss", "valid_accuracy"],
            ["1", "1.5", "1.25", "0.5"],
            ["2", "0.1235", "n/a", "0.75"],
        ]

    def test_the_tables_of_the_gates_hold_the_trace(self, write):
        given = arguments(bidirectional=False)
        page = write(given)
        for panel in figures.gate_panels(
            given["trace"], given["inputs"], channel_names=given["channel_names"]
        ):
            head, *rows = page.table(panel.title)
            assert head == [panel.kind, "0", "1", "2", "3"]
            assert [row[0] for row in rows] == panel.names
            shown = [[float(cell) for cell in row[1:]] for row in rows]
            np.testing.assert_allclose(shown, panel.values, rtol=5e-4)

    def test_every_layer_and_direction_has_its_figure(self, write):
        page = write(arguments(num_layers=2))
        assert page.count("figure") == 2 + 4
        assert page.count("details") == page.count("figure")
        assert [text for text in ("Layer 0", "Layer 1", "Layer 2") if text in page.text] == [
            "Layer 0",
            "Layer 1",
        ]


class TestOffline:
    @pytest.mark.parametrize("given", [arguments(), hostile_arguments()], ids=["plain", "hostile"])
    def test_the_page_refers_to_nothing_outside(self, write, given):
        page = write(given)
        assert re.search(r"https?://|//cdn|@import|url\(", page.source) is None
        addresses = {
            value
            for _, attributes in page.tags
            for name, value in attributes.items()
            if name in ("src", "href")
        }
        assert {address for address in addresses if not address.startswith("#")} == {"data:,"}
        policy = next(found["content"] for tag, found in page.tags if "http-equiv" in found)
        assert policy.startswith("default-src 'none';")
        assert "http" not in policy

    def test_hostile_names_appear_escaped_only(self, write):
        plain, page = write(arguments()), write(hostile_arguments())
        assert "<script>alert" not in page.source
        assert "<img" not in page.source
        assert "<b>" not in page.source
        assert page.source.count("</script>") == plain.source.count("</script>")
        assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
        assert page.table("Recall:")[1][0] == HOSTILE[0]
        assert f"<h1>{'&lt;script&gt;alert(1)&lt;/script&gt;'}</h1>" in page.source


class TestSize:
    def test_a_page_of_the_usual_size(self, tmp_path):
        assert write_report(tmp_path / "report.html", **arguments()).stat().st_size < LIMIT

    @pytest.mark.parametrize(("steps", "units", "entries"), [(1500, 256, 2), (100, 100, 24)])
    def test_a_large_trace_is_shown_in_part(self, tmp_path, steps, units, entries):
        values = torch.rand(steps, 1, units)
        trace = Trace({(layer, 0): GateTrace(*[values] * 8) for layer in range(entries)})
        given = {**arguments(), "trace": trace, "inputs": np.ones((steps, 3))}
        page = write_report(tmp_path / "report.html", **given).read_text("utf-8")
        assert len(page.encode()) < LIMIT
        _, rows, columns = page.split("<caption>Cell state: the memory: unit (", 1)[1].split(" of ", 2)
        assert rows.startswith(f"{units}) (row), step (the first ")
        assert columns.startswith(f"{steps}) (column)</caption>")

    def test_a_long_history_is_tabled_in_part(self, write):
        history = [{"epoch": epoch, "train_loss": 1.0} for epoch in range(1, 1202)]
        page = write({**arguments(), "history": history})
        assert len(page.table("Each epoch (the first 1000 of 1201)")) == 1001


class TestFile:
    def test_a_crash_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "report.html"
        path.write_text("old")

        def crash(*_):
            raise OSError("the disk is full")

        monkeypatch.setattr(Path, "replace", crash)
        with pytest.raises(OSError, match="the disk is full"):
            write_report(path, **arguments())
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.html", "old")]

    def test_bad_data_write_nothing(self, tmp_path):
        with pytest.raises(ArgumentError, match="best_epoch: got 7"):
            write_report(tmp_path / "new" / "report.html", **{**arguments(), "best_epoch": 7})
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_in_place_of_a_file(self, tmp_path):
        with pytest.raises(ArgumentError, match="path: got the folder"):
            write_report(tmp_path, **arguments())

    def test_insight_knows_no_estimator(self):
        sources = [module.read_text("utf-8") for module in Path(figures.__file__).parent.glob("*.py")]
        assert "write_report" in "".join(sources)
        assert re.search(r"^\s*(from|import) .*estimators", "\n".join(sources), re.MULTILINE) is None


def hostile_arguments_with_nan():
    given = hostile_arguments()
    given["trace"][0, 0].cell[1] = float("nan")
    given["trace"][0, 1].forget_gate[0] = float("nan")
    return given


def smallest_arguments():
    given = arguments(steps=1, batch=1, lengths=None, bidirectional=False)
    return {
        **given,
        "y_true": ["a"],
        "y_pred": ["a"],
        "classes": ["a"],
        "history": given["history"][:1],
        "best_epoch": 1,
    }


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on the path to open the page")
@pytest.mark.parametrize("make", [hostile_arguments_with_nan, smallest_arguments])
def test_a_browser_draws_every_figure_without_complaint(tmp_path, make):
    given = make()
    path = write_report(tmp_path / "report.html", **given)
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [*CHROMIUM.split(), profile, "--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    opened = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    entries = len(given["trace"])
    assert opened.stdout.count('class="plot js-plotly-plot"') == 2 + entries
    assert opened.stdout.count('<g class="hm"') == 1 + 7 * entries
    assert opened.stdout.count('class="trace scatter') >= 1
    assert "CONSOLE" not in opened.stderr  # errors, and whatever the content security policy forbade
