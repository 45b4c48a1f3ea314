"""The page in a real Chromium: what is drawn, what each control does, and that nothing is asked of anybody."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.insight import figures
from glasslstm.insight.figures.gates import ORDERS, SHOWN, unit_order
from glasslstm.insight.report import report
from glasslstm.insight.section import Choice, Section
from glasslstm.insight.subject import subject_of

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs the command `chromium` to open the page", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive Chromium")

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 375, "height": 800}
HOSTILE = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "$\\x$", "long " * 2000]
LENGTHS = torch.tensor([9, 4, 9, 7, 2, 9, 8, 5, 9, 9, 6, 3, 9, 9, 9])


class Ragged(nn.Module):
    def __init__(self, units, **options):
        super().__init__()
        self.lstm = gl.LSTM(3, units, batch_first=True, **options)
        self.head = nn.Linear(options.get("proj_size") or units, 4)

    def forward(self, x, lengths):
        return self.head(self.lstm(x, lengths=lengths)[1][0][-1])


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(chromium):
    """Open a page without a network, and let nothing that it complains of or asks for go unseen."""

    @contextmanager
    def opening(path, viewport=WIDE, **options):
        context = chromium.new_context(viewport=viewport, offline=True, **options)
        context.set_default_timeout(5000)
        page, complaints = context.new_page(), []
        page.on("console", lambda said: complaints.append((said.type, said.text)))
        page.on("pageerror", lambda error: complaints.append(("error", str(error))))
        page.on("dialog", lambda dialog: complaints.append(("dialog", dialog.message)))
        page.on("request", lambda request: complaints.append(("request", request.url)))
        page.goto(path.as_uri())
        yield page
        context.close()
        asked = {
            said
            for said in complaints
            if not (said[0] == "request" and said[1].startswith(("data:", "blob:")))
        }
        assert asked == {("request", path.as_uri())}

    return opening


def draw(page):
    """Scroll to every figure, and wait until it is drawn."""
    page.evaluate(
        """async () => {
          for (const figure of document.querySelectorAll("figure")) {
            figure.scrollIntoView({ behavior: "instant" });
            for (let k = 0; k < 100 && !figure.dataset.drawn; k++) await new Promise((done) => setTimeout(done, 10));
          }
          scrollTo({ top: 0, behavior: "instant" });
        }"""
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory, sample):
    """The path of a page about two models, the models, and what they were given."""
    torch.manual_seed(4)
    models = [Ragged(6, num_layers=2, bidirectional=True), Ragged(5)]
    with torch.no_grad():
        models[1].lstm.bias_ih_l0[5:10] = -20
    x, y = sample[0][:15], torch.arange(15) % 4
    path = report(
        models,
        (x, LENGTHS),
        y,
        path=tmp_path_factory.mktemp("two") / "report.html",
        names=["whole", "shut"],
        channel_names=["east", "north", "up"],
        sequence_names=[f"walk {k}" for k in range(15)],
        record=[{}, gl_record(models[1], (x, LENGTHS), y)],
    )
    return path, models, x


def gl_record(model, inputs, y):
    record = gl.Record(model, inputs, y, nn.functional.cross_entropy)
    for epoch in range(3):
        record.epoch(epoch)
    return record


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, sample):
    torch.manual_seed(0)
    return report(
        Ragged(4),
        (sample[0][:15], LENGTHS),
        torch.arange(15) % 4,
        path=tmp_path_factory.mktemp("hostile") / "report.html",
        names=[HOSTILE[3]],
        title=HOSTILE[0],
        channel_names=HOSTILE[:3],
        class_names=HOSTILE,
        sequence_names=(HOSTILE * 4)[:15],
        groups=dict.fromkeys(HOSTILE, HOSTILE[:3] * 5),
    )


@pytest.fixture(scope="module")
def page(opened, two):
    """The page of two models, with all figures drawn; each test leaves it as it finds it, but for what is chosen."""
    with opened(two[0], permissions=["clipboard-read", "clipboard-write"]) as page:
        draw(page)
        yield page


class Explorer:
    """One of the page's explorers."""

    def __init__(self, page, kind, model):
        self.root = page.locator(f"[data-explorer={kind}][data-model='{model}']")

    def choose(self, **choices):
        for control, value in choices.items():
            if self.chosen(control) != str(value):  # a list with one choice is not shown
                self.root.locator(f"[data-control={control}]").select_option(str(value))

    def chosen(self, control):
        return self.root.locator(f"[data-control={control}]").input_value()

    def figure(self, k):
        """Return what is drawn: heading, place, traces, layout."""
        figure = self.root.locator("figure").nth(k)
        drawn = figure.evaluate(
            """(figure) => {
              const plot = figure.querySelector(".plot"), { data, layout } = plot;
              const plain = (one) => one?.length === undefined || typeof one === "string";
              const list = (row) => row && Array.from(row, (one) => plain(one) ? one : list(one));
              const traces = data.map((one) => ({
                type: one.type, name: one.name,
                x: list(one.x), y: list(one.y), z: list(one.z), customdata: list(one.customdata),
              }));
              const ends = layout.coloraxis && [layout.coloraxis.cmin, layout.coloraxis.cmax];
              const notes = layout.annotations.map((note) => note.text);
              return { traces, ends, notes, x: layout.xaxis.title.text, y: layout.yaxis.title.text };
            }"""
        )
        return drawn | {
            "heading": figure.locator("h4").inner_text(),
            "place": figure.locator(".place").inner_text(),
        }

    def table(self, k):
        """Open the numbers of a figure, and return their caption and rows."""
        figure = self.root.locator("figure").nth(k)
        figure.locator("details").evaluate("(details) => { details.open = true; }")
        figure.locator("table").wait_for()
        rows = figure.evaluate(
            """(figure) => [...figure.querySelectorAll("tr")]
              .map((row) => [...row.cells].map((cell) => cell.textContent))"""
        )
        return figure.locator("caption").inner_text(), rows


def close(found, expected, part=1e-4):
    found, expected = np.array(found, float), np.asarray(expected, float)
    np.testing.assert_allclose(found, expected, atol=part * max(float(np.ptp(expected)), 1e-6))


def trace_of(page, model, x):
    """Return the trace of the sequences shown, in their order, and which they are."""
    labels = page.evaluate(
        "() => JSON.parse(document.getElementById('data').textContent).models[0].sequences"
    )
    rows = [int(label.split(":")[0].removeprefix("walk ")) for label in labels]
    with torch.no_grad():
        return model.lstm(x[rows], lengths=LENGTHS[rows], return_trace=True)[2], rows


class TestDrawn:
    def test_every_figure_is_drawn(self, page):
        empty = page.evaluate(
            """() => [...document.querySelectorAll("figure")]
              .filter((one) => !one.dataset.drawn || !one.querySelector("svg.main-svg")).length"""
        )
        assert empty == 0
        assert page.locator("figure").count() > 20

    def test_the_numbers_in_a_table_are_those_drawn(self, page):
        found = page.evaluate(
            """() => [...document.querySelectorAll("figure")].map((figure) => [
              figure.querySelector("h4").textContent,
              figure.querySelector(".plot").data
                .filter(({ type, orientation, customdata }) => type === "bar" && orientation !== "h" && !customdata)
                .flatMap((trace) => Array.from(trace.y)),
              [...figure.querySelectorAll("td")].map((cell) => cell.textContent),
            ]).filter(([, numbers, cells]) => numbers.length && cells.length)"""
        )
        for heading, numbers, cells in found:
            for number in numbers:
                assert f"{number:.4g}" in cells, heading

    def test_it_opens_on_what_it_says(self, page):
        assert page.title() == page.locator("h1").inner_text() == "What whole and shut do, and how well"
        assert page.locator("nav a").count() == page.locator("main > section").count() == 7
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1


class TestControls:
    @pytest.mark.parametrize("gate", SHOWN)
    @pytest.mark.parametrize(("model", "layer", "direction"), [(0, 0, 0), (0, 1, 1), (1, 0, 0)])
    def test_gate_layer_and_direction(self, page, two, model, layer, direction, gate):
        explorer = Explorer(page, "gates", model)
        explorer.choose(
            sequence=1, layer=f'["lstm",{layer}]'.replace(",", ", "), gate=gate, order="half-life"
        )
        if model == 0:
            explorer.choose(direction=direction)
        trace, rows = trace_of(page, two[1][model], two[2])
        gates, length = trace[layer, direction], int(LENGTHS[rows[1]])
        found = explorer.figure(0)
        heat = found["traces"][0]
        order = unit_order(gates, "half-life")
        assert heat["y"] == [str(unit) for unit in order]
        assert heat["x"] == [*range(length)]
        expected = getattr(gates, gate)[:length, 1].T[order]
        close(heat["z"], expected)
        assert found["heading"] == SHOWN[gate].heading
        way = ("forward", "reverse")[direction]
        assert found["place"].startswith(f"lstm, layer {layer}, {way}; sequence walk {rows[1]}: true ")
        assert found["x"] == ("step (read from right to left)" if direction else "step")
        close(
            found["ends"],
            figures.gates.SHOWN[gate].limits or [-1, 1] * getattr(gates, gate).abs().max().numpy(),
            1e-3,
        )
        for channel, curve in enumerate(found["traces"][1:]):
            close(curve["customdata"], two[2][rows[1], :length, channel])
        caption, table = explorer.table(0)
        assert caption == f"{found['heading']}; {found['place']}"
        assert table[0] == [
            "step",
            *(f"{gate.replace('_', ' ')} {unit}" for unit in order),
            "east",
            "north",
            "up",
        ]
        assert [row[0] for row in table[1:]] == [str(step) for step in range(length)]
        close([row[1 : 1 + len(order)] for row in table[1:]], expected.T, 1e-3)

    @pytest.mark.parametrize("order", ORDERS)
    def test_the_order_of_the_units(self, page, two, order):
        explorer = Explorer(page, "gates", 1)
        explorer.choose(order=order, gate="forget_gate")
        trace, _ = trace_of(page, two[1][1], two[2])
        found = explorer.figure(0)
        assert found["traces"][0]["y"] == [str(unit) for unit in unit_order(trace[0, 0], order)]
        assert f"Units, {ORDERS[order]}" in found["notes"]
        listed = explorer.root.locator("[data-control=unit] option").all_inner_texts()
        assert listed == [f"unit {unit}" for unit in unit_order(trace[0, 0], order)]

    @pytest.mark.parametrize(("model", "layer", "direction", "unit"), [(0, 1, 1, 4), (1, 0, 0, 2)])
    def test_a_unit(self, page, two, model, layer, direction, unit):
        explorer = Explorer(page, "gates", model)
        explorer.choose(sequence=2, layer=f'["lstm", {layer}]')
        if model == 0:
            explorer.choose(direction=direction)
        explorer.choose(unit=unit)
        trace, rows = trace_of(page, two[1][model], two[2])
        length, found = int(LENGTHS[rows[2]]), explorer.figure(1)
        assert found["heading"] == f"Unit {unit}"
        assert (
            f"layer {layer}, {('forward', 'reverse')[direction]}; sequence walk {rows[2]}" in found["place"]
        )
        for curve, gate in zip(found["traces"], SHOWN, strict=False):
            close(curve["y"], getattr(trace[layer, direction], gate)[:length, 2, unit])
        _, table = explorer.table(1)
        assert table[0] == ["step", *(gate.replace("_", " ") for gate in SHOWN), "east", "north", "up"]
        expected = [getattr(trace[layer, direction], gate)[:length, 2, unit] for gate in SHOWN]
        close([row[1:7] for row in table[1:]], torch.stack(expected, 1), 1e-3)
        close([row[7:] for row in table[1:]], two[2][rows[2], :length], 1e-3)

    def test_a_click_on_a_row_chooses_its_unit(self, page):
        explorer = Explorer(page, "gates", 1)
        explorer.choose(order="unit", unit=0, gate="forget_gate")
        plot = explorer.root.locator("figure .plot").first
        plot.scroll_into_view_if_needed()
        place = plot.evaluate(
            """(plot) => {
              const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
              return [box.left + xaxis._offset + xaxis.d2p(3), box.top + yaxis._offset + yaxis.d2p("3")];
            }"""
        )
        page.mouse.move(*place)
        page.mouse.click(*place)
        page.wait_for_function(
            """() => document.querySelectorAll("[data-explorer=gates]")[1]
              .querySelectorAll("h4")[1].textContent === "Unit 3" """
        )
        assert explorer.chosen("unit") == "3"

    def test_a_layer_without_a_direction_goes_back_to_the_one_it_has(self, page):
        assert Explorer(page, "gates", 1).root.locator(
            "[data-control=direction] option"
        ).all_inner_texts() == ["forward"]
        assert Explorer(page, "gates", 0).root.locator(
            "[data-control=direction] option"
        ).all_inner_texts() == ["forward", "reverse"]

    @pytest.mark.parametrize(("kind", "model"), [("gates", 1), ("why", 0)])
    def test_the_sequence_is_the_same_everywhere(self, page, two, kind, model):
        Explorer(page, "gates", 0).choose(sequence=0)
        Explorer(page, kind, model).choose(sequence=5)
        _, rows = trace_of(page, two[1][0], two[2])
        for other in ("gates", "why"):
            for k in (0, 1):
                explorer = Explorer(page, other, k)
                assert explorer.chosen("sequence") == "5"
                assert f"equence walk {rows[5]}: true " in explorer.figure(0)["place"]

    @pytest.mark.parametrize("model", [0, 1])
    def test_why(self, page, two, model):
        explorer = Explorer(page, "why", model)
        explorer.choose(sequence=3)
        _, rows = trace_of(page, two[1][0], two[2])
        others = [row for row in range(15) if row not in rows]
        explanation = gl.explain(two[1][model], (two[2][rows + others], LENGTHS[rows + others]))
        length, found = int(LENGTHS[rows[3]]), explorer.figure(0)
        assert len(found["traces"]) == len(explanation.scores) + 1 + 3
        for drawn, (name, scores) in zip(found["traces"], explanation.scores.items(), strict=False):
            assert drawn["name"] == name.replace("_", " ")
            close(drawn["y"], scores[:length, 3], 1e-3)
        heat = found["traces"][len(explanation.scores)]
        assert heat["y"] == ["east", "north", "up"]
        close(heat["z"], explanation.channels[:length, 3].T, 1e-3)
        caption, table = explorer.table(0)
        assert caption.endswith(found["place"])
        close([row[1] for row in table[1:]], next(iter(explanation.scores.values()))[:length, 3], 1e-3)

    def test_code_is_copied(self, page):
        button = page.locator("article .copy").first
        button.click()
        page.wait_for_function("() => document.querySelector('article .copy').textContent === 'Copied'")
        code = button.locator("xpath=..").locator("code").inner_text()
        assert code.count("\n") >= 1
        assert page.evaluate("() => navigator.clipboard.readText()") == code


class TestKeyboard:
    def test_tab_reaches_every_control(self, page):
        page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
        page.evaluate(
            """() => {
              window.reached = new Set();
              document.addEventListener("focusin", ({ target }) => window.reached.add(target));
            }"""
        )
        wanted = "a[href], button, select, summary"
        for _ in range(page.locator(wanted).count() + page.locator("[tabindex='0']").count() + 20):
            page.keyboard.press("Tab")
        missed = page.evaluate(
            """(wanted) => [...document.querySelectorAll(wanted)]
              .filter((one) => !window.reached.has(one) && one.checkVisibility({ contentVisibilityAuto: true }))
              .map((one) => one.outerHTML.slice(0, 80))""",
            wanted,
        )
        assert missed == []

    def test_numbers_open_with_the_keyboard(self, page):
        details = page.locator("[data-explorer=gates] figure details").first
        details.evaluate("(one) => { one.open = false; one.querySelector('.scroll').replaceChildren(); }")
        details.locator("summary").focus()
        page.keyboard.press("Enter")
        details.locator("table td").first.wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.className") == "scroll"

    def test_a_list_changes_with_the_keyboard(self, page):
        explorer = Explorer(page, "gates", 1)
        explorer.choose(gate="forget_gate")
        explorer.root.locator("[data-control=gate]").focus()
        page.keyboard.press("ArrowDown")
        assert explorer.chosen("gate") == "input_gate"
        assert explorer.figure(0)["heading"] == SHOWN["input_gate"].heading

    def test_what_is_focused_is_seen(self, page):
        page.locator("nav a").first.focus()
        page.keyboard.press("Tab")
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"


MEASURE = """() => {
  const seen = [];
  for (const figure of document.querySelectorAll("figure")) {
    const plot = figure.querySelector(".plot"), frame = plot.getBoundingClientRect(), boxes = [];
    const heading = figure.querySelector("h4").textContent.slice(0, 40);
    for (const text of plot.querySelectorAll("svg text")) {
      const box = text.getBoundingClientRect(), words = text.textContent.trim();
      if (!words || !box.width || text.closest(".modebar, .hoverlayer")) continue;
      if (getComputedStyle(text).opacity === "0") continue;
      const slanted = /rotate\\((?!-?(0|90|180)[ ,)])/.test(text.getAttribute("transform") || "");
      boxes.push({ words, slanted, left: box.left, right: box.right, top: box.top, bottom: box.bottom });
      const across = Math.max(frame.left - box.left, box.right - frame.right);
      const out = Math.max(across, frame.top - box.top, box.bottom - frame.bottom);
      if (out > 1.5) seen.push(["cut off", heading, words, Math.round(out)]);
    }
    boxes.forEach((one, k) => boxes.slice(k + 1).forEach((other) => {
      if (one.slanted || other.slanted) return;
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 2 && down > 4) seen.push(["overlap", heading, one.words, other.words]);
    }));
  }
  return seen;
}"""
OVERFLOW = """() => {
  const wide = document.documentElement.scrollWidth - innerWidth;
  const out = [...document.querySelectorAll("main *, header *")].filter((one) =>
    !one.closest("svg, .scroll") && one.getBoundingClientRect().right > innerWidth + 1);
  return [wide > 0 ? wide : 0, out.slice(0, 5).map((one) => one.outerHTML.slice(0, 120))];
}"""


class TestLooks:
    @pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
    @pytest.mark.parametrize("which", ["two", "hostile"])
    def test_nothing_overflows_is_cut_off_or_overlaps(self, opened, two, hostile, which, viewport):
        path = two[0] if which == "two" else hostile
        with opened(path, viewport) as page:
            draw(page)
            assert page.evaluate(OVERFLOW) == [0, []]
            assert page.evaluate(MEASURE) == []

    def test_another_width_leaves_no_legend_over_a_plot(self, opened, two):
        def overlaps(page):
            return page.evaluate(
                """() => [...document.querySelectorAll("figure[data-drawn]")].flatMap((figure) => {
                  const plot = figure.querySelector(".plot"), legend = plot.querySelector(".legend");
                  if (!legend) return [];
                  const over = legend.getBoundingClientRect().bottom - plot.getBoundingClientRect().top
                    - plot._fullLayout._size.t;
                  return over > 4 ? [[figure.querySelector("h4").textContent, over]] : [];
                })"""
            )

        with opened(two[0], NARROW) as page:
            draw(page)
            assert overlaps(page) == []
            page.set_viewport_size(WIDE)
            page.wait_for_timeout(2000)
            assert overlaps(page) == []

    def test_hostile_names_are_but_text(self, opened, hostile):
        with opened(hostile) as page:
            draw(page)
            assert page.title() == page.locator("h1").inner_text() == HOSTILE[0]
            assert page.locator("img, main script:not([type='application/json'])").count() == 0
            legend = page.locator("[data-explorer=gates] .legendtext").all_text_contents()
            assert [words.strip() for words in legend[:3]] == ["<script>alert…", "</script><img…", "$\\x$"]
            explorer = Explorer(page, "gates", 0)
            explorer.choose(sequence=1)
            assert any(name[:50] in explorer.figure(0)["place"] for name in HOSTILE)
            _, table = explorer.table(0)
            assert table[0][-3:] == ["<script>alert…", "</script><img…", "$\\x$"]

    def test_dark_and_light(self, opened, two):
        with opened(two[0], color_scheme="dark") as page:
            draw(page)
            found = [self._colours(page)]
            page.emulate_media(color_scheme="light")
            page.wait_for_function(
                f"() => document.querySelector('.plot')._fullLayout.font.color === '{figures.LIGHT.layout.font.color}'"
            )
            found.append(self._colours(page))
        for (ink, lines, scale, paper), template in zip(found, (figures.DARK, figures.LIGHT), strict=True):
            assert ink == [template.layout.font.color]
            assert lines == [template.layout.colorway[0]]
            assert scale == template.layout.colorscale.sequential[-1][1]
            assert paper == ("rgb(20, 25, 31)" if template is figures.DARK else "rgb(255, 255, 255)")

    @staticmethod
    def _colours(page):
        return page.evaluate(
            """() => {
              const plots = [...document.querySelectorAll(".plot")].map((plot) => plot._fullLayout);
              const scale = plots.find(({ coloraxis }) => coloraxis && coloraxis.cmin === 0).coloraxis.colorscale;
              return [
                [...new Set(plots.map((layout) => layout.font.color))],
                [...new Set(plots.map((layout) => layout.colorway[0]))],
                scale[scale.length - 1][1],
                getComputedStyle(document.body).backgroundColor,
              ];
            }"""
        )

    def test_print(self, opened, two):
        with opened(two[0], color_scheme="dark") as page:
            page.emulate_media(media="print", color_scheme="dark")
            page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
            drawn = page.evaluate(
                """() => [...document.querySelectorAll(".plot")]
                  .map(({ data, _fullLayout: layout }) => [data?.length > 0, layout?.font.color, layout?.width])"""
            )
            assert drawn == [[True, figures.LIGHT.layout.font.color, 660]] * page.locator("figure").count()
            visible = page.evaluate(
                """() => [...document.querySelectorAll(".controls, .copy, nav, .modebar, select")]
                  .filter((one) => one.checkVisibility()).length"""
            )
            assert visible == 0
            assert (
                page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            )
            page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
            assert (
                page.evaluate("() => document.querySelector('.plot')._fullLayout.font.color")
                == figures.DARK.layout.font.color
            )

    def test_without_scripts(self, opened, two):
        expected = gl.diagnose(
            two[1][1], (two[2], LENGTHS), torch.arange(15) % 4, nn.functional.cross_entropy
        )
        with opened(two[0], java_script_enabled=False) as page:
            notice = (
                page.locator("main > noscript").inner_text()
                if page.locator("main > noscript").count()
                else ""
            )
            assert "The figures and their numbers are drawn by a script inside this page." in notice
            titles = page.locator("#findings .models > div").nth(1).locator("article h3").all_inner_texts()
            assert [
                title.lower().endswith(finding.title) for title, finding in zip(titles, expected, strict=True)
            ] == [True] * len(expected)
            assert page.locator("article code", has_text=expected[0].snippet).count() == 1
            assert page.locator("#worth table tr").count() > 5


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
class TestProjected:
    @pytest.mark.parametrize("units", [256, 4])
    def test_the_hidden_state_has_rows_of_its_own(self, opened, tmp_path, sample, monkeypatch, units):
        monkeypatch.setattr("glasslstm.insight.report.explore._EXTENTS", [(3, units)])
        torch.manual_seed(1)
        model = Ragged(8, proj_size=6)
        x = sample[0][:15]
        path = report(
            model,
            (x, LENGTHS),
            torch.arange(15) % 4,
            path=tmp_path / "report.html",
            sequence_names=[f"walk {k}" for k in range(15)],
        )
        with opened(path) as page:
            draw(page)
            explorer = Explorer(page, "gates", 0)
            explorer.choose(gate="hidden", order="half-life")
            trace, rows = trace_of(page, model, x)
            length, found = int(LENGTHS[rows[0]]), explorer.figure(0)
            kept = min(units, 6)
            assert found["traces"][0]["y"] == [str(row) for row in range(kept)]
            close(found["traces"][0]["z"], trace[0, 0].hidden[:length, 0, :kept].T)
            assert found["y"] == ("unit" if kept == 6 else "unit (4 of 6)")
            explorer.choose(gate="cell")
            assert explorer.figure(0)["y"] == ("unit" if units == 256 else "unit (4 of 8)")
            unit = int(explorer.chosen("unit"))
            before = (trace[0, 0].output_gate * trace[0, 0].cell.tanh())[:length, 0, unit]
            close(explorer.figure(1)["traces"][5]["y"], before, 1e-3)


def test_the_table_of_a_long_explanation_has_the_numbers_and_not_what_is_drawn(opened, tmp_path):
    torch.manual_seed(1)
    model = nn.Sequential(gl.LSTM(2, 3, batch_first=True))
    model.forward = lambda x: model[0](x)[1][0][-1]
    x = torch.randn(3, 300, 2)
    path = report(model, x, path=tmp_path / "report.html")
    with opened(path) as page:
        draw(page)
        explorer = Explorer(page, "why", 0)
        explorer.choose(sequence=1)
        explanation = gl.explain(model, x)
        heat = next(trace for trace in explorer.figure(0)["traces"] if trace["type"] == "heatmap")
        close(heat["customdata"], explanation.channels[:, 1].T, 1e-3)
        _, table = explorer.table(0)
        column = table[0].index("integrated gradients of channel 1")
        close([row[column] for row in table[1:]], explanation.channels[:, 1, 1], 1e-3)


@pytest.fixture(scope="module")
def shops(tmp_path_factory, sample):
    """The path of a page with a section of which the reader chooses the figure."""
    options = {name: partial(sales, name, y) for name, y in (("north", [1.0, 2.0]), ("south", [3.0, 4.0]))}
    own = Section("shops", "What do the shops sell?", "", [("", Choice("Shop", options))])
    inputs = (sample[0][:15], LENGTHS)
    subject = replace(subject_of(Ragged(4), inputs), sections=[own])
    estimator = SimpleNamespace(_subject=lambda *_: subject)
    return report(estimator, inputs, path=tmp_path_factory.mktemp("choice") / "report.html")


class TestChoice:
    """Of several figures, only the one that is chosen is there; it is drawn to the size of the page."""

    @staticmethod
    def seen(page):
        """Return of each figure that is there its heading, what is drawn, and whether it has the width of its place."""
        return page.evaluate(
            """() => [...document.querySelectorAll("#shops figure")].filter((one) => one.offsetParent).map((one) => {
              const plot = one.querySelector(".plot");
              const { width } = plot.querySelector("svg.main-svg").getBoundingClientRect();
              const fits = Math.abs(width - plot.clientWidth) < 2;
              return [one.querySelector("h4").textContent, [...plot.data[0].y], fits];
            })"""
        )

    def choose(self, page, name):
        page.locator("#shops select").select_option(label=name)
        page.wait_for_function(
            f"() => document.querySelectorAll('#shops figure')[{int(name == 'south')}].dataset.drawn"
        )

    def test_the_reader_chooses(self, opened, shops):
        with opened(shops) as page:
            draw(page)
            assert self.seen(page) == [["north", [1, 2], True]]
            self.choose(page, "south")
            assert self.seen(page) == [["south", [3, 4], True]]

    def test_what_was_hidden_while_the_page_changed_fits_it(self, opened, shops):
        with opened(shops) as page:
            draw(page)
            self.choose(page, "south")
            page.set_viewport_size(NARROW)
            page.wait_for_timeout(400)
            page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
            page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
            self.choose(page, "north")
            assert self.seen(page) == [["north", [1, 2], True]]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def sales(name, y):
    layout = {"title": {"text": name}, "height": 300, "xaxis": {"title": {"text": "day"}}}
    return go.Figure(go.Scatter(x=[1, 2], y=y, name="sales"), layout)
