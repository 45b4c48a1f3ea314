"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const templates = read("templates");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtons: [["toImage"]] };
  let paper = false; // on paper: the light template, and a size that fits the sheet

  // ---- Figures: each is drawn when it comes near, and again when what it shows has changed.
  const sources = new Map(
    [...document.querySelectorAll("figure")].map((figure) => [figure, JSON.parse(figure.querySelector("script").textContent)]),
  );

  function draw(figure) {
    const { data, layout } = sources.get(figure);
    const shown = { ...layout, template: dark.matches && !paper ? templates.dark : templates.light, autosize: true };
    shown.dragmode = matchMedia("(pointer: fine)").matches && "zoom"; // a finger that scrolls must not zoom
    if (paper) Object.assign(shown, { width: 660, height: Math.min(layout.height, 880) });
    const colours = shown.template.layout.colorway;
    const coloured = data.map((trace) => { // a channel has one colour in all figures
      if (trace.meta?.colour === undefined) return trace;
      const color = colours[trace.meta.colour % colours.length];
      return { ...trace, line: { ...trace.line, color }, marker: { ...trace.marker, color } };
    });
    const plot = figure.querySelector(".plot");
    Plotly.react(plot, coloured, shown, config);
    if (!figure.dataset.drawn) plot.dispatchEvent(new Event("drawn"));
    figure.dataset.drawn = "yes";
  }

  const there = (figure) => figure.dataset.drawn || (paper && !figure.closest("[hidden]"));
  const redraw = () => sources.forEach((_, figure) => there(figure) && draw(figure));
  const coming = new IntersectionObserver(
    (entries) =>
      entries.forEach((entry) => {
        if (!entry.isIntersecting) return;
        coming.unobserve(entry.target);
        draw(entry.target);
      }),
    { rootMargin: "800px" },
  );

  // ---- A table of the numbers that the reader has chosen.
  const plain = (html) => new DOMParser().parseFromString(html, "text/html").body.textContent;
  const digits = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : (value ?? "n/a"));

  function tabulate(figure) {
    const { data } = sources.get(figure);
    const columns = data.flatMap((trace) =>
      trace.type === "heatmap"
        ? trace.y.map((name, row) => [`${trace.name} ${plain(name)}`, (trace.customdata || trace.z)[row]])
        : [[plain(trace.name), trace.customdata || trace.y]],
    );
    const caption = `${figure.querySelector("h4").textContent}; ${figure.querySelector(".place").textContent}`;
    const table = document.createElement("table");
    const cell = (row, content, scope) => {
      const made = document.createElement(scope ? "th" : "td");
      if (scope) made.scope = scope;
      made.textContent = digits(content);
      row.append(made);
    };
    table.createCaption().textContent = caption;
    const top = table.createTHead().insertRow();
    ["step", ...columns.map(([name]) => name)].forEach((content) => cell(top, content, "col"));
    const body = table.createTBody();
    data[0].x.forEach((step, k) => {
      const row = body.insertRow();
      [step, ...columns.map(([, numbers]) => numbers[k])].forEach((content, c) => cell(row, content, c === 0 && "row"));
    });
    const place = figure.querySelector(".scroll");
    place.setAttribute("aria-label", caption);
    place.replaceChildren(table);
  }

  // ---- Numbers that are packed into 16 bits each: see packed() in explore.py.
  function unpack({ shape, low, high, whole, packed }) {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const bits = new Uint16Array(bytes.buffer);
    const value = (share) => low + ((high - low) * share) / 65534;
    const numbers = Array.from(bits, (share) => (share === 65535 ? null : whole ? Math.round(value(share)) : value(share)));
    if (shape.length < 2) return numbers;
    return Array.from({ length: shape[0] }, (_, k) => numbers.slice(k * shape[1], (k + 1) * shape[1]));
  }
  const revived = (value) =>
    value?.packed !== undefined ? unpack(value)
    : Array.isArray(value) ? value.map(revived)
    : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, revived(part)]))
    : value;

  // ---- Explorers: the reader chooses, and the figures follow.
  const data = read("data");
  const { quantities, orders } = data;

  function show(figure, source, heading, caption) {
    sources.set(figure, source);
    figure.querySelector("h4").textContent = heading;
    figure.querySelector(".place").textContent = caption;
    if (figure.dataset.drawn) draw(figure);
    if (figure.querySelector("details").open) tabulate(figure);
  }

  const frame = "#d55e00";

  function gates(root, model, value) {
    const [map, one] = root.querySelectorAll("figure");
    const first = { map: sources.get(map), one: sources.get(one) };

    function update() {
      const k = Number(value("sequence"));
      const [module, layer] = JSON.parse(value("layer"));
      const here = model.places.filter((place) => place.module === module && place.layer === layer);
      const place = here.find((found) => found.direction === Number(value("direction"))) || here[0];
      root.querySelector("[data-control=direction]").value = place.direction;
      const where = `${module || "the model"}, layer ${layer}, ${place.direction ? "reverse" : "forward"}; sequence ${model.sequences[k]}`;
      const steps = (count) => Array.from({ length: count }, (_, step) => step + model.firsts[k]);
      const curves = revived(model.curves[k]);
      const title = place.direction ? "step (read from right to left)" : "step";
      const filled = (source, k, changes) => ({ ...source.data[k], ...changes });
      const input = (source, start, x) => curves.map((curve, c) => filled(source, start + c, { x, ...curve }));

      const gate = value("gate");
      const numbers = unpack(place.values[gate][k]);
      const projected = gate === "hidden" && place.projected !== null;
      const rows = projected ? numbers.map((_, row) => row) : place.orders[value("order")];
      const x = steps(numbers[0].length);
      const ends = quantities[gate].limits || largest(place.values[gate]);
      const layout = structuredClone(first.map.layout);
      Object.assign(layout.coloraxis, { cmin: ends[0], cmax: ends[1] });
      Object.assign(layout.coloraxis.colorbar, { tickvals: [ends[0], (ends[0] + ends[1]) / 2, ends[1]] });
      layout.coloraxis.colorbar.title.text = `${quantities[gate].name}\u2003`;
      layout.xaxis.title.text = title;
      const whole = projected ? place.projected : place.whole;
      const some = rows.length < whole ? ` (${rows.length} of ${whole})` : "";
      layout.annotations[0].text = `Units, ${orders[projected ? "unit" : value("order")]}`;
      layout.yaxis.title.text = `unit${some}`;
      const z = rows.map((row) => numbers[row]);
      const y = rows.map((row) => String(projected ? row : place.units[row]));
      const chosen = units(place);
      const at = projected ? -1 : rows.indexOf(chosen);
      layout.shapes = at < 0 ? [] : [{ // the row of the unit below
        type: "rect", xref: "x domain", x0: 0, x1: 1, yref: "y", y0: at - 0.5, y1: at + 0.5, line: { color: frame, width: 2 },
      }];
      const heat = filled(first.map, 0, { x, y, z, name: quantities[gate].name });
      show(map, { data: [heat, ...input(first.map, 1, x)], layout }, quantities[gate].heading, where);

      const six = Object.keys(quantities).map((name, q) => {
        let y = unpack(place.values[name][k])[chosen];
        if (name === "hidden" && place.projected !== null) { // what is projected is o tanh(c)
          const [o, c] = ["output_gate", "cell"].map((part) => unpack(place.values[part][k])[chosen]);
          y = o.map((open, step) => open * Math.tanh(c[step]));
        }
        return filled(first.one, q, { x, y });
      });
      const look = structuredClone(first.one.layout);
      look.xaxis.title.text = title;
      show(one, { data: [...six, ...input(first.one, 6, x)], layout: look }, `Unit ${place.units[chosen]}`, where);
    }

    const largest = (packed) => {
      const most = Math.max(...packed.map(({ low, high }) => Math.max(-low, high)));
      return [-most || -1, most || 1];
    };

    function units(place) { // fill the list of units, and return the position of the one that is chosen
      const list = root.querySelector("[data-control=unit]");
      const before = list.value;
      const sorted = place.orders[value("order")].map((row) => place.units[row]);
      list.replaceChildren(...sorted.map((unit) => new Option(`unit ${unit}`, unit)));
      list.value = sorted.includes(Number(before)) && before !== "" ? before : sorted[0];
      return place.units.indexOf(Number(list.value));
    }

    map.querySelector(".plot").addEventListener("drawn", ({ target }) =>
      target.on("plotly_click", ({ points: [point] }) => {
        if (point.data.type !== "heatmap") return;
        root.querySelector("[data-control=unit]").value = point.y;
        update();
      }),
    );
    return update;
  }

  function why(root, model, value) {
    const [figure] = root.querySelectorAll("figure");
    return () => {
      const k = Number(value("sequence"));
      const source = revived(model.why[k]);
      Object.assign(source.layout, { title: undefined, height: sources.get(figure).layout.height });
      source.layout.margin.t = sources.get(figure).layout.margin.t;
      show(figure, source, "What each step and channel did for the answer", `Sequence ${model.sequences[k]}`);
    };
  }

  const explorers = [...document.querySelectorAll("[data-explorer]")].map((root) => {
    const value = (name) => root.querySelector(`[data-control=${name}]`).value;
    const update = { gates, why }[root.dataset.explorer](root, data.models[Number(root.dataset.model)], value);
    root.addEventListener("change", ({ target }) => {
      if (target.dataset.control !== "sequence") return update();
      explorers.forEach((other) => { // one sequence is looked at everywhere
        other.root.querySelector("[data-control=sequence]").value = target.value;
        other.update();
      });
    });
    return { root, update };
  });
  explorers.forEach(({ root, update }) => {
    update();
    root.querySelectorAll("figure").forEach((figure) => {
      const details = figure.querySelector("details");
      details.addEventListener("toggle", () => details.open && tabulate(figure));
    });
  });

  // ---- Choices: of several figures the one that the reader chooses is there.
  document.querySelectorAll("[data-choice]").forEach((root) => {
    const list = root.querySelector("[data-control=option]");
    const update = () =>
      root.querySelectorAll("[data-option]").forEach((option) => {
        option.hidden = Boolean(list) && option.dataset.option !== list.value;
        option.querySelectorAll("figure").forEach((figure) => { // nothing can be drawn to size where it is hidden
          if (figure.dataset.drawn) Plotly.purge(figure.querySelector(".plot"));
          delete figure.dataset.drawn;
          coming.unobserve(figure);
          coming.observe(figure);
        });
      });
    list?.addEventListener("change", update);
    update();
  });

  // ---- Code to copy.
  document.querySelectorAll(".copy").forEach((button) =>
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // where a page may not write to the clipboard
        button.textContent = "Selected";
      }
    }),
  );

  dark.addEventListener("change", redraw);
  let resized;
  addEventListener("resize", () => { // drawn anew, for plotly leaves a legend where another number of lines had put it
    clearTimeout(resized);
    resized = setTimeout(() => sources.forEach((_, figure) => {
      if (!figure.dataset.drawn || paper) return;
      Plotly.purge(figure.querySelector(".plot"));
      delete figure.dataset.drawn;
      draw(figure);
    }), 200);
  });
  addEventListener("beforeprint", () => { paper = true; redraw(); });
  addEventListener("afterprint", () => { paper = false; redraw(); });
  sources.forEach((_, figure) => coming.observe(figure));
})();
