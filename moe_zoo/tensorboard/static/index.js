// The page of the "MoE Routing" tab: what routing did, layer by layer and step by step.
// Text from event files reaches the page through textContent alone, so that no token is markup.

// === Words and numbers ===

const HINT = "Point at a cell, or focus the chart and use the arrow keys.";

// What the heat map of a layer shows. `share`: as a multiple of the uniform share.
const MEASURES = {
  load: { name: "computed choices", share: true },
  demand: { name: "asked choices", share: true },
  importance: { name: "importance (sum of gates)", share: true },
  gate_mean: { name: "mean gate", share: false },
};

// What stands where in a `balance` vector. `forGate`: whether it tells something of the gates of tasks.
const BALANCE = {
  dropped_fraction: { place: 0, name: "dropped fraction", forGate: false, show: shortPercent },
  load_cv: { place: 1, name: "load CV", forGate: false, show: decimal },
  importance_cv: { place: 2, name: "importance CV", forGate: true, show: decimal },
  entropy: { place: 3, name: "entropy", forGate: true, show: decimal },
  dead_experts: { place: 4, name: "dead experts", forGate: false, show: count },
};

// What the overview shows: the same, but entropies of layers of different size are compared.
const OVERVIEW = {
  ...BALANCE,
  entropy: { place: 3, name: "entropy / log E", forGate: true, show: shortPercent },
};

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function count(value) {
  return GROUPED.format(value);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function shortPercent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

function decimal(value) {
  return value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2);
}

function sum(values) {
  return values.reduce((total, value) => total + (value ?? 0), 0);
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A piece of text on one line, with its white space visible. */
function visible(piece) {
  return piece
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replaceAll(" ", "␣")
    .replace(/(?![\u00ad\u200c\u200d])\p{C}/gu, "\ufffd"); // those join letters and emoji
}

/** A number at or above `value` of which quarters and fifths are round. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 8, 10].find((digit) => digit * power >= value * (1 - 1e-9)) * power;
}

function roundTicks(from, to, most) {
  const raw = (to - from) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const distance = [1, 2, 5, 10].find((digit) => digit * power >= raw * (1 - 1e-9)) * power;
  const ticks = [];
  for (let n = Math.ceil(from / distance - 1e-9); n * distance <= to * (1 + 1e-9); n++) {
    ticks.push(n * distance + 0); // not -0
  }
  return ticks;
}

// === Elements ===

function make(tag, properties = {}, ...children) {
  const { dataset = {}, aria = {}, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(aria)) {
    element.setAttribute(name === "role" ? name : `aria-${name}`, value);
  }
  element.append(...children.filter((child) => child != null)); // nor undefined
  return element;
}

function choose(id, options, chosen, onChange) {
  const select = make("select", { id });
  for (const [value, text] of options) select.append(new Option(text, value));
  select.value = chosen;
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

/** Tells by `data-ready` on the body whether all that was begun is complete. */
const work = {
  pending: 0,
  async on(promise) {
    this.pending += 1;
    delete document.body.dataset.ready;
    try {
      return await promise;
    } finally {
      this.pending -= 1;
      if (this.pending === 0) document.body.dataset.ready = "true";
    }
  },
};

// === Data ===

async function fetchJson(route, parameters = {}) {
  let answer;
  try {
    answer = await fetch(`./${route}?${new URLSearchParams(parameters)}`);
  } catch {
    throw new Error("TensorBoard does not answer. Press Reload once it runs again.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  throw new Error(
    content.error ?? `TensorBoard answered with status ${answer.status}. Press Reload.`,
  );
}

/** The server's series, each asked for once. */
class Store {
  constructor() {
    this.answers = new Map();
    this.points = new Map();
  }

  /** `{layer: {steps, values}}` of one layer or of all that have the kind. */
  series(run, kind, layer = null) {
    const all = this.answers.get(JSON.stringify({ run, kind }));
    if (all) return all;
    const parameters = layer === null ? { run, kind } : { run, kind, layer };
    const key = JSON.stringify(parameters);
    if (!this.answers.has(key)) {
      const answer = fetchJson("series", parameters);
      answer.catch(() => this.answers.delete(key));
      this.answers.set(key, answer);
    }
    return this.answers.get(key);
  }

  /** What holds at a step, `{step, value, until}`: for kinds too large to fetch for all steps. */
  async at(run, kind, layer, step) {
    const key = JSON.stringify([run, kind, layer]);
    if (!this.points.has(key)) this.points.set(key, []);
    const known = this.points.get(key);
    const found = known.find((point) => point.step <= step && step < point.until);
    if (found) return found;
    const answer = (await fetchJson("series", { run, kind, layer, at: step }))[layer];
    const point = {
      step: answer.steps[0] ?? -Infinity,
      value: answer.values[0] ?? null,
      until: answer.until ?? Infinity,
    };
    known.push(point);
    return point;
  }
}

/** Place of the last of the sorted steps at or before a step; -1 before the first. */
function placeAt(steps, step) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function valueAt(series, step) {
  return series?.values[placeAt(series.steps, step)] ?? null;
}

/** Where the window of each value begins: a value counts what came after the one before it. */
function windowStarts(steps) {
  const gaps = steps
    .slice(1)
    .map((step, i) => step - steps[i])
    .sort((a, b) => a - b);
  const first = steps[0] - (gaps[gaps.length >> 1] ?? Math.max(steps[0], 1));
  return [first, ...steps.slice(0, -1)];
}

// === Colours ===

const VIRIDIS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 73, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];

// Okabe and Ito's colours, which the colour-blind tell apart, and the text that is legible on each.
const EXPERT_COLOURS = [
  ["#e69f00", "#000"],
  ["#56b4e9", "#000"],
  ["#009e73", "#000"],
  ["#f0e442", "#000"],
  ["#0072b2", "#fff"],
  ["#d55e00", "#000"],
  ["#cc79a7", "#000"],
  ["#bbbbbb", "#000"],
];

function colourAt(fraction) {
  const place = Math.min(Math.max(fraction, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[low].map((part, i) => part + (place - low) * (VIRIDIS[low + 1][i] - part));
}

const RAMP = Array.from({ length: 256 }, (_, i) => colourAt(i / 255).map(Math.round));

function paintExpert(element, expert) {
  const [ground, text] = EXPERT_COLOURS[expert % EXPERT_COLOURS.length];
  Object.assign(element.style, { background: ground, color: text });
}

/** White or black, whichever has more contrast on a colour of the ramp. */
function textOn([red, green, blue]) {
  const linear = [red, green, blue].map((part) => (part / 255) ** 2.2);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 ? "#000" : "#fff";
}

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Multiples of a uniform share: 1 is in the middle, so all layers and runs have the same scale. */
const SHARE_SCALE = {
  title: "× uniform share",
  fraction: (ratio) => ratio / (1 + ratio),
  ticks: [
    [0, "0"],
    [0.25, "¼"],
    [0.5, "½"],
    [1, "1.0"],
    [2, "2"],
    [4, "4"],
    [10, "10"],
  ],
  reference: 1,
  zero: "nothing",
};

function linearScale(title, most, show, zero = null) {
  const end = roundUp(most || 1);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => [part * end, show(part * end)]);
  return { title, fraction: (value) => value / end, ticks, zero };
}

function legendOf(scale) {
  const stops = VIRIDIS.map((parts) => `rgb(${parts})`).join(",");
  const colours = make("div", { className: "colours" });
  colours.style.background = `linear-gradient(90deg, ${stops})`;
  const ticks = make("div", { className: "ticks" });
  for (const [value, text] of scale.ticks) {
    const tick = make("span", { textContent: text });
    tick.className = value === scale.reference ? "reference" : "";
    tick.style.left = percent(scale.fraction(value)).replace(" ", "");
    ticks.append(tick);
  }
  return make(
    "div",
    { className: "legend" },
    make("span", { textContent: scale.title }),
    make("div", { className: "ramp" }, colours, ticks),
    scale.zero && make("span", { className: "key" }, hatchedSwatch(), scale.zero),
    scale.none && make("span", { className: "key" }, swatch(theme("missing")), scale.none),
  );
}

/** What stands for "nothing" in a heat map and for dropped choices, as a background. */
function hatchedSwatch() {
  const stripes = `${theme("soft")} 0 1px, ${theme("page")} 1px 4px`;
  return swatch(`repeating-linear-gradient(135deg, ${stripes})`);
}

function swatch(background) {
  const element = make("span", { className: "swatch" });
  element.style.background = background;
  return element;
}

/** The same as a pattern of a canvas. */
function hatching(context) {
  const tile = make("canvas", { width: 6, height: 6 });
  const pen = tile.getContext("2d");
  pen.fillStyle = theme("page");
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = theme("soft");
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift - 1, 7);
    pen.lineTo(shift + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

// === Axes: they place things between 0 and 1 ===

/** Equal bands, one for each expert or layer. */
function bandAxis(title, names) {
  return {
    title,
    length: names.length,
    edges: (band) => [band / names.length, (band + 1) / names.length],
    cell: (place) => Math.min(Math.floor(place * names.length), names.length - 1),
    ticks(room, size) {
      const every = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 512];
      const distance = every.find((d) => (room / names.length) * d >= size) ?? names.length;
      return names
        .map((text, band) => ({ text, at: (band + 0.5) / names.length }))
        .filter((_, band) => band % distance === 0);
    },
  };
}

/** Steps in proportion; the cell of a step reaches back to the step before it. */
function stepAxis(steps, [from, to]) {
  const starts = windowStarts(steps);
  const place = (step) => (step - from) / (to - from);
  return {
    title: "step",
    length: steps.length,
    edges: (cell) => [Math.max(place(starts[cell]), 0), place(steps[cell])],
    cell(at) {
      const step = from + at * (to - from);
      const found = placeAt(steps, step);
      const cell = steps[found] === step ? found : found + 1;
      return cell < steps.length && step >= starts[cell] ? cell : null;
    },
    ticks: (room, size) =>
      roundTicks(Math.max(from, 0), to, room / (6 * size))
        .filter(Number.isInteger)
        .map((step) => ({ text: count(step), at: place(step) })),
  };
}

/** Numbers from 0 upward. */
function valueAxis(title, most, show) {
  const end = roundUp(most || 1);
  return {
    title,
    end,
    ticks: (room, size) =>
      roundTicks(0, end, room / (2 * size)).map((value) => ({
        text: show(value),
        at: 1 - value / end,
      })),
  };
}

// === A chart: a canvas with axes, a marker at the slider's step and a crosshair ===

const MARGIN = { left: 46, right: 18, top: 18, bottom: 32 };
const FONT = "11px Roboto, system-ui, sans-serif";

class Chart {
  /** `slim`: what the crosshair reads stands beside the title. */
  constructor({ kind, title, run, named = null, height, slim = false, legend = null }) {
    this.height = height;
    this.title = title;
    this.canvas = make("canvas", { tabIndex: 0, aria: { role: "application" } });
    this.marker = make("div", { className: "marker", hidden: true });
    this.cursor = make("div", { className: "cursor", hidden: true });
    this.cross = [0, 1].map(() => make("div", { className: "cross", hidden: true }));
    this.readout = make("p", { className: "readout" });
    this.plot = make(
      "div",
      { className: "plot" },
      this.canvas,
      ...this.cross,
      this.marker,
      this.cursor,
    );
    const caption = make("figcaption", {}, headingOf(title, named), slim ? this.readout : legend);
    const dataset = { chart: kind, run };
    this.element = make("figure", { className: slim ? "slim" : "", dataset }, caption, this.plot);
    if (!slim) this.element.append(this.readout);
    this.listen();
  }

  /**
   * `view`: the axes `x` and `y`, `paint(context, area)`, `describe(column, row)` in words, `rest` to
   * read while nothing is pointed at, and `pick(column, row)` for a click or Enter.
   */
  show(view) {
    this.view = view;
    this.canvas.setAttribute("aria-label", `${this.title}. ${view.help ?? HINT}`);
    this.paint();
    this.point(this.at ?? null);
  }

  /** Marks the column of the slider's step, -1 for none; `rest` as in a view. */
  mark(column, rest = HINT) {
    const [from, to] = column < 0 ? [0, 0] : this.view.x.edges(column);
    this.marker.hidden = column < 0;
    this.marked = column;
    this.view.rest = rest;
    this.setBox(this.marker, { left: (from + to) / 2, top: 0, height: 1 });
    if (!this.at) this.readout.textContent = rest;
  }

  paint() {
    const width = this.plot.clientWidth;
    if (!this.view || width === 0) return;
    this.width = width;
    const context = this.size(width);
    context.translate(this.area.left, this.area.top);
    this.view.paint(context, this.area);
    this.paintAxes(context);
    if (this.marked !== undefined) this.mark(this.marked, this.view.rest);
    this.point(this.at ?? null);
  }

  size(width) {
    const scale = devicePixelRatio;
    const { top, right, bottom } = MARGIN;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round((this.height + top + bottom) * scale);
    this.canvas.style.height = `${this.height + top + bottom}px`;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = FONT;
    const texts = this.view.y.ticks(this.height, 12).map((tick) => tick.text);
    const widest = Math.max(0, ...texts.map((text) => context.measureText(text).width));
    const left = Math.min(Math.max(MARGIN.left, widest + 10), width / 3);
    this.area = { left, top, width: width - left - right, height: this.height, scale };
    this.element.dataset.area = JSON.stringify([left, top, this.area.width, this.height]);
    return context;
  }

  paintAxes(context) {
    const { width, height, left } = this.area;
    context.font = FONT;
    context.fillStyle = theme("soft");
    context.strokeStyle = theme("control");
    context.lineWidth = 1;
    context.strokeRect(0, 0, width, height);
    context.beginPath();
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const { text, at } of this.view.y.ticks(height, 12)) {
      context.moveTo(0, at * height);
      context.lineTo(-4, at * height);
      context.fillText(text, -7, at * height, left - 9);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const { text, at } of this.view.x.ticks(width, 12)) {
      context.moveTo(at * width, height);
      context.lineTo(at * width, height + 4);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(at * width, width + MARGIN.right - half), height + 6);
    }
    context.stroke();
    context.fillText(this.view.x.title, width / 2, height + 19);
    context.textAlign = "left";
    context.textBaseline = "bottom";
    context.fillText(this.view.y.title, -left + 2, -4);
  }

  /** Puts the crosshair on a cell, `[column, row]`, and reads it out; `null` takes it away. */
  point(cell) {
    if (!this.view?.x.length) cell = null;
    this.at = cell;
    for (const part of [this.cursor, ...this.cross]) part.hidden = !cell;
    if (!cell) {
      this.readout.textContent = this.view?.rest ?? HINT;
      return;
    }
    const { x, y, describe } = this.view;
    const column = Math.min(cell[0], x.length - 1);
    const row = y.length ? Math.min(cell[1], y.length - 1) : 0;
    this.at = [column, row];
    const [left, right] = x.edges(column);
    const [top, bottom] = y.length ? y.edges(row) : [0, 1];
    this.setBox(this.cursor, { left, top, width: right - left, height: bottom - top });
    this.setBox(this.cross[0], { left: (left + right) / 2, top: 0, height: 1 });
    this.setBox(this.cross[1], { left: 0, top: (top + bottom) / 2, width: 1 });
    this.cross[1].hidden = !y.length;
    this.readout.textContent = describe(column, row);
  }

  setBox(element, { left, top, width, height }) {
    const { area } = this;
    if (!area) return;
    element.style.left = `${area.left + left * area.width}px`;
    element.style.top = `${area.top + top * area.height}px`;
    element.style.width = width === undefined ? "" : `${Math.max(width * area.width, 1)}px`;
    element.style.height = height === undefined ? "" : `${Math.max(height * area.height, 1)}px`;
    if (element.className === "cross") {
      element.style[width === undefined ? "width" : "height"] = "1px";
    }
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => this.pick(this.cellAt(event)));
    canvas.addEventListener("keydown", (event) => this.press(event));
    // The value at the slider's step changes here too: only the crosshair's is to be read aloud.
    canvas.addEventListener("focus", () => this.readout.setAttribute("aria-live", "polite"));
    canvas.addEventListener("blur", () => {
      this.readout.removeAttribute("aria-live");
      this.point(null);
    });
    new ResizeObserver(() => this.plot.clientWidth !== this.width && this.paint()).observe(
      this.plot,
    );
  }

  cellAt(event) {
    if (!this.view) return null;
    const { left, top, width, height } = this.area;
    const [x, y] = [(event.offsetX - left) / width, (event.offsetY - top) / height];
    if (x < 0 || x > 1 || y < 0 || y > 1) return null;
    const column = this.view.x.cell(x);
    return column === null ? null : [column, this.view.y.length ? this.view.y.cell(y) : 0];
  }

  pick(cell) {
    if (cell) this.view.pick?.(...cell);
  }

  press(event) {
    const { x, y } = this.view;
    const [column, row] = this.at ?? [this.marked >= 0 ? this.marked : x.length - 1, 0];
    const far = Math.max(Math.round(x.length / 20), 2);
    const moves = {
      ArrowLeft: [column - 1, row],
      ArrowRight: [column + 1, row],
      ArrowUp: [column, row - 1],
      ArrowDown: [column, row + 1],
      PageUp: [column + far, row],
      PageDown: [column - far, row],
      Home: [0, row],
      End: [x.length - 1, row],
    };
    if (event.key === "Enter" || event.key === " ") this.pick(this.at);
    else if (event.key === "Escape") this.point(null);
    else if (event.key in moves) {
      const [nextColumn, nextRow] = this.at ? moves[event.key] : [column, row];
      const rows = (y.length || 1) - 1;
      this.point([
        Math.min(Math.max(nextColumn, 0), x.length - 1),
        Math.min(Math.max(nextRow, 0), rows),
      ]);
    } else return;
    event.preventDefault();
  }
}

/** A title, after the name of its run where two runs are compared. */
function headingOf(title, run) {
  return make("h3", {}, run && make("span", { className: "run", textContent: `${run} · ` }), title);
}

/**
 * Paints a heat map. `fractionAt(column, row)` is a place on the ramp or `null` where there is none.
 * Where several columns share a pixel it shows their mean. An exact zero lets the hatching through.
 */
function paintCells(context, area, { x, y, fractionAt, hatchZero }) {
  if (y.length === 0) return;
  const pixels = Math.max(Math.round(area.width * area.scale), 1);
  const image = new ImageData(pixels, y.length);
  const words = new Uint32Array(image.data.buffer);
  const missing = packed(parseColour(theme("missing")));
  const ramp = RAMP.map(packed);
  const spans = pixelSpans(x, pixels);
  for (let row = 0; row < y.length; row++) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      const mean = meanFraction(spans[pixel], row, fractionAt);
      const place = row * pixels + pixel;
      if (mean === null) words[place] = missing;
      else if (mean > 0 || !hatchZero) words[place] = ramp[Math.min(Math.round(mean * 255), 255)];
    }
  }
  const cells = make("canvas", { width: pixels, height: y.length });
  cells.getContext("2d").putImageData(image, 0, 0);
  context.fillStyle = hatching(context);
  context.fillRect(0, 0, area.width, area.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(cells, 0, 0, area.width, area.height);
}

function dashedLine(context, height, width) {
  context.strokeStyle = theme("ink");
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(0, height);
  context.lineTo(width, height);
  context.stroke();
  context.setLineDash([]);
}

/** First and last column of each pixel, or `null` where there is no column. */
function pixelSpans(x, pixels) {
  const spans = new Array(pixels).fill(null);
  for (let column = 0; column < x.length; column++) {
    const [from, to] = x.edges(column).map((edge) => edge * pixels);
    const first = Math.floor(from + 0.5 - 1e-6);
    const last = Math.max(Math.ceil(to - 0.5 - 1e-6) - 1, first);
    for (let pixel = Math.max(first, 0); pixel <= Math.min(last, pixels - 1); pixel++) {
      if (spans[pixel]) spans[pixel][1] = column;
      else spans[pixel] = [column, column];
    }
  }
  return spans;
}

function meanFraction(span, row, fractionAt) {
  if (!span) return null;
  let [total, number] = [0, 0];
  for (let column = span[0]; column <= span[1]; column++) {
    const fraction = fractionAt(column, row);
    if (fraction !== null) {
      total += fraction;
      number += 1;
    }
  }
  return number ? total / number : null;
}

function parseColour(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

function packed([red, green, blue]) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

// === Panels of a layer ===
// A panel makes the figures of one run from its series and moves them to a step by `move(step)`.

/** One measure of all experts over all steps, as a heat map. */
class StepsPanel {
  constructor({ run, named, measure, series, scale, domain, onStep }) {
    this.series = series;
    this.totals = series.values.map(sum);
    const { share } = MEASURES[measure];
    const experts = highest([series.values.map((values) => values.length)]);
    const ratio = (value, column) =>
      this.totals[column] ? (value * experts) / this.totals[column] : 0;
    const size = (value, column) => (share ? ratio(value, column) : value);
    this.describe = (column, expert) => {
      const value = series.values[column][expert];
      const where = `step ${count(series.steps[column])}, expert ${expert}: `;
      if (value == null) return `${where}nothing was written`;
      if (measure === "gate_mean") return `${where}mean gate ${value.toFixed(3)}`;
      const noun = measure === "importance" ? "gates in sum" : value === 1 ? "choice" : "choices";
      const part = this.totals[column] ? value / this.totals[column] : 0;
      return `${where}${count(value)} ${noun}, ${percent(part)} (${ratio(value, column).toFixed(2)} × uniform)`;
    };
    const x = stepAxis(series.steps, domain);
    const y = bandAxis(
      "expert",
      Array.from({ length: experts }, (_, expert) => String(expert)),
    );
    const fractionAt = (column, expert) => {
      const value = series.values[column][expert];
      return value == null ? null : scale.fraction(size(value, column));
    };
    this.chart = new Chart({
      kind: "steps",
      title: capital(`${MEASURES[measure].name} over steps`),
      run,
      named,
      height: Math.min(Math.max(3 * experts, 270), 768),
      legend: legendOf(scale),
    });
    this.chart.show({
      x,
      y,
      paint: (context, area) => paintCells(context, area, { x, y, fractionAt, hatchZero: true }),
      describe: this.describe,
      pick: (column) => onStep(series.steps[column]),
    });
    this.element = this.chart.element;
  }

  move(step) {
    this.chart.mark(placeAt(this.series.steps, step));
  }
}

/** One number of the balance over steps: each value holds for the window that it sums up. */
class CurvePanel {
  constructor({ run, named, name, series, most, reference = null, domain, onStep }) {
    const { place, show } = BALANCE[name];
    this.series = series;
    this.value = (column) => series.values[column][place];
    const x = stepAxis(series.steps, domain);
    const y = valueAxis(reference ? "dashed: uniform" : "", most, show);
    this.chart = new Chart({
      kind: name,
      title: capital(BALANCE[name].name),
      run,
      named,
      height: 58,
      slim: true,
    });
    this.describe = (column) => {
      const value = this.value(column);
      return `step ${count(series.steps[column])}: ${value === null ? "not a number" : show(value)}`;
    };
    this.chart.show({
      x,
      y,
      paint: (context, area) => this.paint(context, area, x, y, reference),
      describe: this.describe,
      help: "Arrow keys move, Enter goes to the step.",
      pick: (column) => onStep(series.steps[column]),
    });
    this.element = this.chart.element;
  }

  paint(context, { width, height }, x, y, reference) {
    const heightOf = (value) => height * (1 - value / y.end);
    if (reference) {
      dashedLine(context, heightOf(reference), width);
    }
    context.strokeStyle = theme("computed");
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.beginPath();
    let drawn = false;
    for (let column = 0; column < x.length; column++) {
      const value = this.value(column);
      const [from, to] = x.edges(column);
      if (value === null) drawn = false;
      else {
        context[drawn ? "lineTo" : "moveTo"](from * width, heightOf(value));
        context.lineTo(to * width, heightOf(value));
        drawn = true;
      }
    }
    context.stroke();
  }

  move(step) {
    const column = placeAt(this.series.steps, step);
    this.chart.mark(column, column < 0 ? "nothing yet at this step" : this.describe(column));
  }
}

/** For each expert the choices that asked for it, the computed ones filled, the dropped hatched. */
class DemandPanel {
  /** `mostAt(step)`: the highest bar of all runs. `gates()` fetches the mean gates. */
  constructor({ run, named, load, demand, mostAt, gates }) {
    Object.assign(this, { load, demand, mostAt, gates });
    const keys = {
      computed: swatch(theme("computed")),
      dropped: hatchedSwatch(),
      uniform: make("span", { className: "uniform" }),
    };
    const legend = make("div", { className: "legend" });
    for (const [text, sign] of Object.entries(keys)) {
      legend.append(make("span", { className: "key" }, sign, text));
    }
    this.chart = new Chart({
      kind: "demand",
      title: "Asked and computed",
      run,
      named,
      height: 190,
      legend,
    });
    this.table = make("div", { className: "scroller", tabIndex: 0, aria: { label: "Experts" } });
    this.details = make("details", {}, make("summary", { textContent: "As a table" }), this.table);
    this.details.addEventListener("toggle", () => work.on(this.fillTable()));
    this.element = make("div", { dataset: { run } }, this.chart.element, this.details);
  }

  move(step) {
    this.step = step;
    const load = valueAt(this.load, step);
    const demand = valueAt(this.demand, step) ?? load;
    this.rows = (demand ?? []).map((asked, expert) => ({
      asked: asked ?? 0,
      computed: load === null ? (asked ?? 0) : (load[expert] ?? 0),
    }));
    this.shown = (this.load ?? this.demand).steps[placeAt((this.load ?? this.demand).steps, step)];
    const x = bandAxis(
      "expert",
      this.rows.map((_, expert) => String(expert)),
    );
    const y = valueAxis("choices", this.mostAt(step), count);
    const mean = sum(this.rows.map((row) => row.asked)) / this.rows.length;
    this.chart.show({
      x,
      y,
      paint: (context, area) => this.rows.length && this.paint(context, area, x, y, mean),
      describe: (expert) => this.describe(expert, mean),
      help: "Arrow keys move from expert to expert.",
      rest: this.rows.length ? this.summary() : "Nothing was written up to this step.",
    });
    work.on(this.fillTable());
  }

  summary() {
    const [asked, computed] = ["asked", "computed"].map((key) =>
      sum(this.rows.map((row) => row[key])),
    );
    const dropped = asked ? percent((asked - computed) / asked) : percent(0);
    return `step ${count(this.shown)}: ${count(asked)} choices asked, ${count(computed)} computed, ${dropped} dropped`;
  }

  describe(expert, mean) {
    const { asked, computed } = this.rows[expert];
    const lost = asked - computed;
    const dropped = lost > 0 ? `, ${count(lost)} dropped (${percent(lost / asked)})` : "";
    const ratio = mean ? (asked / mean).toFixed(2) : "0.00";
    return `expert ${expert}: ${count(asked)} asked (${ratio} × uniform), ${count(computed)} computed${dropped}`;
  }

  paint(context, { width, height }, x, y, mean) {
    const hatch = hatching(context);
    const scaled = (value) => (height * value) / y.end;
    this.rows.forEach(({ asked, computed }, expert) => {
      const [from, to] = x.edges(expert).map((edge) => edge * width);
      const gap = to - from > 4 ? (to - from) * 0.15 : 0;
      const [left, wide] = [from + gap, to - from - 2 * gap];
      context.fillStyle = hatch;
      context.fillRect(left, height - scaled(asked), wide, scaled(asked - computed));
      context.strokeStyle = theme("soft");
      if (asked > computed && gap) {
        context.strokeRect(left, height - scaled(asked), wide, scaled(asked - computed));
      }
      context.fillStyle = theme("computed");
      context.fillRect(left, height - scaled(computed), wide, scaled(computed));
    });
    dashedLine(context, height - scaled(mean), width);
  }

  async fillTable() {
    if (!this.details.open) return;
    const { step } = this;
    let gates;
    try {
      gates = valueAt(await this.gates(), step);
    } catch (error) {
      this.table.replaceChildren(make("p", { className: "problem", textContent: error.message }));
      return;
    }
    if (step !== this.step) return;
    const total = sum(this.rows.map((row) => row.computed));
    const rows = this.rows.map(({ asked, computed }, expert) => [
      count(asked),
      count(computed),
      percent(total ? computed / total : 0),
      gates?.[expert] == null ? "–" : gates[expert].toFixed(3),
    ]);
    this.table.replaceChildren(
      tableOf(
        ["asked", "computed", "share", "mean gate"],
        rows,
        rows.map((_, expert) => String(expert)),
        "expert",
      ),
    );
  }
}

function tableOf(columns, rows, names, corner) {
  const heading = (text, scope) => make("th", { textContent: text, scope });
  const head = make("tr", {}, ...[corner, ...columns].map((text) => heading(text, "col")));
  const body = rows.map((cells, row) =>
    make(
      "tr",
      {},
      heading(names[row], "row"),
      ...cells.map((cell) => (cell instanceof Node ? cell : make("td", { textContent: cell }))),
    ),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** Which experts are chosen together: of the choices beside a row's expert, each column's share. */
class PairsPanel {
  constructor({ run, named, experts, read }) {
    this.read = read;
    const height = Math.min(Math.max(3 * experts, 190), 768);
    this.chart = new Chart({
      kind: "pairs",
      title: "Chosen together",
      run,
      named,
      height,
      legend: legendOf(SHARE_SCALE),
    });
    this.element = this.chart.element;
  }

  async move(step) {
    this.step = step;
    const { step: from, value, until } = await this.read(step);
    if (step !== this.step) return;
    const names = (value ?? []).map((_, expert) => String(expert));
    const [x, y] = [bandAxis("chosen beside it", names), bandAxis("expert", names)];
    const totals = value?.map(sum);
    const share = (other, expert) => (totals[expert] ? value[expert][other] / totals[expert] : 0);
    const fractionAt = (other, expert) =>
      other !== expert && totals[expert]
        ? SHARE_SCALE.fraction(share(other, expert) * (x.length - 1))
        : null;
    this.chart.show({
      x,
      y,
      paint: (context, area) => paintCells(context, area, { x, y, fractionAt, hatchZero: true }),
      describe: (other, expert) => {
        if (other === expert) return `expert ${expert} with itself`;
        return (
          `expert ${expert}: ${plural(value[expert][other], "token")} also chose expert ${other}, ` +
          `${percent(share(other, expert))} of the choices beside it`
        );
      },
      rest: holding(from, until),
    });
  }
}

/** From when a value is that is written more rarely than others. */
function holding(from, until) {
  if (from > -Infinity) return `from step ${count(from)}`;
  return until < Infinity
    ? `Nothing yet at this step: the first are from step ${count(until)}.`
    : "Nothing was written.";
}

/** Texts token by token, coloured and numbered by expert. */
class ExamplesPanel {
  constructor({ run, named, read, memory }) {
    Object.assign(this, { read, memory });
    this.remark = make("span", { className: "remark" });
    this.buttons = make("div", {
      className: "experts",
      aria: { role: "group", label: "Show one expert's tokens" },
    });
    this.texts = make("div", { className: "texts" });
    this.tip = make("div", { className: "tip", hidden: true, aria: { live: "polite" } });
    this.element = make(
      "div",
      { className: "examples", dataset: { chart: "examples", run } },
      make("header", {}, headingOf("Examples", named), this.remark),
      this.buttons,
      this.texts,
    );
    this.listen();
  }

  async move(step) {
    this.step = step;
    const { step: from, value, until } = await this.read(step);
    if (step !== this.step || value === this.shown) return;
    this.shown = value;
    this.remark.textContent = holding(from, until);
    if (value !== null) {
      this.remark.textContent +=
        ". Click an expert to see its tokens alone; hover or use the arrow keys for gates.";
    }
    const texts = value === null ? [] : readTexts(value);
    if (texts === null)
      this.remark.textContent = `The examples of step ${count(from)} cannot be read.`;
    this.fill(texts ?? []);
  }

  fill(texts) {
    const counts = new Map();
    for (const [, choices] of texts.flat()) {
      for (const expert of new Set(choices.map((choice) => choice[0]))) {
        counts.set(expert, (counts.get(expert) ?? 0) + 1);
      }
    }
    const sorted = [...counts].sort((a, b) => a[0] - b[0]);
    this.buttons.replaceChildren(...sorted.map(([expert, tokens]) => expertButton(expert, tokens)));
    this.texts.hidden = texts.length === 0;
    this.texts.replaceChildren(
      ...texts.map((tokens) => make("p", { className: "text" }, ...tokens.map(tokenOf))),
      this.tip,
    );
    // One stop of the Tab key for all tokens; the arrow keys go on from there.
    const first = this.texts.querySelector(".token");
    if (first) first.tabIndex = 0;
    this.filter();
  }

  listen() {
    this.buttons.addEventListener("click", (event) => this.choose(event.target.closest("button")));
    this.texts.addEventListener("click", (event) =>
      this.choose(event.target.closest("[data-expert]")),
    );
    this.texts.addEventListener("keydown", (event) => this.press(event));
    for (const name of ["pointerover", "focusin"]) {
      this.texts.addEventListener(name, (event) => this.explain(event.target.closest(".token")));
    }
    for (const name of ["pointerleave", "focusout"]) {
      this.texts.addEventListener(name, () => this.explain(null));
    }
  }

  choose(element) {
    if (!element) return;
    const expert = Number(element.dataset.expert);
    this.memory.expert = this.memory.expert === expert ? null : expert;
    this.memory.refresh();
  }

  /** Fades the tokens of all experts but the chosen one. */
  filter() {
    const expert = this.memory.expert ?? null;
    this.texts.classList.toggle("filtered", expert !== null);
    for (const button of this.buttons.children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.expert) === expert));
    }
    for (const token of this.texts.querySelectorAll(".token")) {
      token.classList.toggle("chosen", token.dataset.experts.split(" ").includes(String(expert)));
    }
  }

  press(event) {
    const tokens = [...this.texts.querySelectorAll(".token")];
    const place = tokens.indexOf(document.activeElement);
    const distance = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    if (event.key === "Enter" || event.key === " ")
      this.choose(tokens[place]?.querySelector("[data-expert]"));
    else if (distance) {
      const next = tokens[Math.min(Math.max(place + distance, 0), tokens.length - 1)];
      tokens[place].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else return;
    event.preventDefault();
  }

  explain(token) {
    this.tip.hidden = !token;
    if (!token) return;
    this.tip.textContent = token.getAttribute("aria-label");
    this.tip.style.top = `${token.offsetTop + token.offsetHeight + 4}px`;
    const room = this.texts.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(Math.min(token.offsetLeft, room), 4)}px`;
  }
}

/** The texts of an example summary; `null` if they are not laid out as expected. */
function readTexts(json) {
  try {
    const { texts } = JSON.parse(json);
    const isChoice = (choice) => Number.isInteger(choice[0]) && Number.isFinite(choice[1]);
    const isToken = ([piece, choices]) => typeof piece === "string" && choices.every(isChoice);
    return texts.every((tokens) => tokens.every(isToken)) ? texts : null;
  } catch {
    return null;
  }
}

function expertButton(expert, tokens) {
  const label = `Expert ${expert}: ${plural(tokens, "token")}`;
  const button = make("button", {
    type: "button",
    textContent: expert,
    title: label,
    dataset: { expert },
  });
  button.setAttribute("aria-label", label);
  paintExpert(button, expert);
  return button;
}

function tokenOf([piece, choices]) {
  const words = choices.map(
    ([expert, gate, kept]) => `expert ${expert}, gate ${gate.toFixed(3)}${kept ? "" : ", dropped"}`,
  );
  const token = make("span", { className: "token", textContent: visible(piece), tabIndex: -1 });
  token.dataset.experts = choices.map((choice) => choice[0]).join(" ");
  token.setAttribute(
    "aria-label",
    `${visible(piece)}\n${words.join("\n") || "no expert was asked"}`,
  );
  token.setAttribute("role", "button");
  if (choices.length === 0) token.classList.add("unasked");
  else {
    if (!choices.some((choice) => choice[2])) token.classList.add("dropped");
    token.dataset.expert = choices[0][0];
    paintExpert(token, choices[0][0]);
    token.append(make("sub", {}, ...choices.flatMap(expertNumber)));
  }
  return token;
}

function expertNumber([expert, , kept], place) {
  const number = make("span", {
    textContent: expert,
    dataset: { expert },
    className: kept ? "" : "lost",
  });
  return place ? [" ", number] : [number];
}

// === A layer's section ===

class LayerSection {
  /** `page` gives runs, store, step and domain; `memory` outlives a reload. */
  constructor(page, layer, memory) {
    Object.assign(this, { page, layer, memory });
    this.panels = [];
    this.body = make("div", { className: "panels" });
    this.header = make(
      "header",
      {},
      make("h2", { textContent: layer.layer, tabIndex: -1 }),
      this.describe(),
    );
    this.element = make("section", { dataset: { layer: layer.layer } }, this.header, this.body);
    this.reserve();
    memory.refresh = () => this.panels.forEach((panel) => panel.filter?.());
  }

  describe() {
    const { group, task, experts } = this.layer;
    const words = [
      experts && plural(experts, "expert"),
      task && `gate of task ${task} in ${group}`,
    ];
    return make("span", { className: "remark", textContent: words.filter(Boolean).join(", ") });
  }

  /** Keeps room as for panels, so that a section that fills up while scrolling moves nothing. */
  reserve() {
    const usual = this.layer.kinds.includes("examples") ? 1150 : 780;
    if (!this.filled)
      this.body.style.minHeight = `${this.page.heights.get(this.shape()) ?? usual}px`;
  }

  /** Layers of one shape have sections of much the same height. */
  shape() {
    return JSON.stringify([this.layer.kinds, this.layer.experts, this.page.runs]);
  }

  /** Fetches and draws what is in view for the first time, and moves it to the page's step. */
  async show() {
    try {
      const first = !this.filled;
      if (first) this.filled = this.fill();
      await this.filled;
      await this.move();
      if (first) this.settle();
    } catch (error) {
      this.filled = null;
      this.body.replaceChildren(
        make("p", { className: "problem wide", textContent: error.message }),
      );
    }
  }

  async move() {
    const { step } = this.page;
    if (this.step === step) return;
    this.step = step;
    await Promise.all(this.panels.map((panel) => panel.move(step)));
  }

  async fill() {
    const { kinds } = this.layer;
    this.measures = Object.keys(MEASURES).filter((kind) => this.has(kind));
    if (!this.measures.includes(this.memory.measure)) {
      this.memory.measure =
        this.layer.group && kinds.includes("importance") ? "importance" : this.measures[0];
    }
    const groups = await Promise.all([
      this.measures.length ? this.stepsPanels() : [],
      this.has("balance") ? this.curvePanels() : [],
      this.hasDemand() ? this.demandPanels() : [],
      this.has("pairs") ? this.eachRun("pairs", (run) => this.pairsPanel(run)) : [],
      this.has("examples") ? this.eachRun("examples", (run) => this.examplesPanel(run)) : [],
    ]);
    this.stepsGroup = groups[0];
    const compared = this.page.runs.length > 1;
    const [steps, curves, demand, pairs, examples] = groups;
    if (!compared) {
      if (!curves.length) widen(steps);
      if (!pairs.length) widen(demand);
      widen(examples);
    }
    this.panels = [
      ...steps,
      ...curves.flatMap((panel) => panel.parts ?? [panel]),
      ...demand,
      ...pairs,
      ...examples,
    ];
    this.body.replaceChildren(...groups.flat().map((panel) => panel.element));
    if (this.measures.length > 1) this.addMeasures();
    this.step = null;
  }

  /** Gives up the room that was kept, and tells the other sections how much is needed. */
  settle() {
    this.body.style.minHeight = "";
    this.page.heights.set(this.shape(), this.body.offsetHeight);
    this.page.sections.forEach((section) => section.reserve());
  }

  /** Gates of tasks are read off their importance: most of them take something of every expert. */
  hasDemand() {
    return !this.layer.group && (this.has("load") || this.has("demand"));
  }

  has(kind, run = null) {
    const layers = this.page.runs.map((name) => this.page.layerOf(name, this.layer.layer));
    const asked = run === null ? layers : [this.page.layerOf(run, this.layer.layer)];
    return asked.some((layer) => layer?.kinds.includes(kind));
  }

  /** The panels of a kind, one for each run; a run without it gets a word instead. */
  eachRun(kind, panelOf) {
    return this.page.runs.map((run) =>
      this.has(kind, run) ? panelOf(run) : absentPanel(run, kind),
    );
  }

  /** Series of the runs that have the kind, by run. */
  async series(kind) {
    const { runs, store } = this.page;
    const found = runs.filter((run) => this.has(kind, run));
    const answers = await Promise.all(
      found.map((run) => store.series(run, kind, this.layer.layer)),
    );
    const series = answers.map((answer) => answer[this.layer.layer]);
    return new Map(found.map((run, i) => [run, series[i]]).filter(([, one]) => one.steps.length));
  }

  named(run) {
    return this.page.runs.length > 1 ? run : null;
  }

  async stepsPanels() {
    const { measure } = this.memory;
    const series = await this.series(measure);
    const scale = MEASURES[measure].share
      ? SHARE_SCALE
      : linearScale(
          "mean gate",
          highest([...series.values()].flatMap((one) => one.values)),
          decimal,
          "nothing",
        );
    const { domain, onStep } = this.page;
    return this.page.runs.map((run) =>
      series.has(run)
        ? new StepsPanel({
            run,
            named: this.named(run),
            measure,
            series: series.get(run),
            scale,
            domain,
            onStep,
          })
        : absentPanel(run, measure),
    );
  }

  async curvePanels() {
    const series = await this.series("balance");
    const names = this.layer.group
      ? ["importance_cv", "entropy"]
      : ["dropped_fraction", "load_cv", "entropy"];
    const uniform = this.layer.experts > 1 ? Math.log(this.layer.experts) : null;
    const most = (name) => {
      const values = [...series.values()].flatMap((one) =>
        one.values.map((value) => value[BALANCE[name].place]),
      );
      return name === "entropy" && uniform ? uniform : highest([values]);
    };
    const { domain, onStep } = this.page;
    return this.page.runs.map((run) => {
      if (!series.has(run)) return absentPanel(run, "balance");
      const parts = names.map(
        (name) =>
          new CurvePanel({
            run,
            named: this.named(run),
            name,
            series: series.get(run),
            most: most(name),
            reference: name === "entropy" ? uniform : null,
            domain,
            onStep,
          }),
      );
      return { parts, element: make("div", {}, ...parts.map((part) => part.element)) };
    });
  }

  async demandPanels() {
    const [load, demand] = await Promise.all([this.series("load"), this.series("demand")]);
    const all = [...load.values(), ...demand.values()];
    const mostAt = (step) => highest(all.map((series) => valueAt(series, step) ?? []));
    return this.page.runs.map((run) => {
      if (!load.has(run) && !demand.has(run)) return absentPanel(run, "load");
      const gates = async () => (await this.series("gate_mean")).get(run);
      return new DemandPanel({
        run,
        named: this.named(run),
        load: load.get(run),
        demand: demand.get(run),
        mostAt,
        gates,
      });
    });
  }

  pairsPanel(run) {
    const experts = this.page.layerOf(run, this.layer.layer).experts ?? 0;
    return new PairsPanel({
      run,
      named: this.named(run),
      experts,
      read: this.reader(run, "pairs"),
    });
  }

  examplesPanel(run) {
    const { memory } = this;
    return new ExamplesPanel({
      run,
      named: this.named(run),
      memory,
      read: this.reader(run, "examples"),
    });
  }

  reader(run, kind) {
    return (step) => this.page.store.at(run, kind, this.layer.layer, step);
  }

  addMeasures() {
    const options = this.measures.map((measure) => [measure, MEASURES[measure].name]);
    const select = choose("", options, this.memory.measure, (measure) =>
      work.on(this.change(measure)),
    );
    select.dataset.role = "measure";
    this.header.querySelector("label")?.remove(); // of a first try that failed
    this.header.append(make("label", {}, "Heat map of ", select));
  }

  async change(measure) {
    this.memory.measure = measure;
    const panels = await this.stepsPanels();
    panels.forEach((panel, i) => {
      panel.element.className = this.stepsGroup[i].element.className;
      this.stepsGroup[i].element.replaceWith(panel.element);
      panel.move(this.step);
    });
    this.panels = [...panels, ...this.panels.slice(panels.length)];
    this.stepsGroup = panels;
  }
}

function widen(panels) {
  for (const panel of panels) panel.element.classList.add("wide");
}

function absentPanel(run, kind) {
  const text = `${run} holds no ${kind.replace("_", " ")} of this layer.`;
  return {
    element: make("p", { className: "remark", textContent: text, dataset: { run } }),
    move() {},
  };
}

function highest(rows) {
  let most = 0;
  for (const row of rows) for (const value of row) if (value > most) most = value;
  return most;
}

// === All layers at a glance ===

/** One number of the balance of all layers over all steps. */
class Overview {
  constructor(page, measure, onMeasure) {
    Object.assign(this, { page, measure });
    const options = Object.entries(OVERVIEW).map(([value, { name }]) => [value, name]);
    const select = choose("overview-measure", options, measure, onMeasure);
    const header = make(
      "header",
      {},
      make("h2", { textContent: "All layers" }),
      make("label", {}, "Show ", select),
    );
    this.body = make("div", { className: "panels" });
    this.element = make("section", { id: "overview" }, header, this.body);
    this.charts = new Map();
  }

  fill() {
    const { runs, balance } = this.page;
    const tables = new Map(runs.map((run) => [run, this.tableOf(run)]));
    const most = highest([...tables.values()].flatMap(({ rows }) => rows));
    const { name, show } = OVERVIEW[this.measure];
    const scale =
      this.measure === "entropy" ? linearScale(name, 1, show) : linearScale(name, most, show);
    for (const run of runs) {
      const panel = balance.has(run)
        ? this.chartOf(run, tables.get(run), scale)
        : absentPanel(run, "balance");
      if (runs.length === 1) widen([panel]);
      this.body.append(panel.element);
    }
  }

  /** The steps of a run and for each of its layers the numbers at them. */
  tableOf(run) {
    const { place, forGate } = OVERVIEW[this.measure];
    const found = this.page.balance.get(run) ?? {};
    const layers = this.page.layersOf(run).filter((layer) => found[layer.layer]?.steps.length);
    const steps = union(layers.map(({ layer }) => found[layer].steps));
    const rows = layers.map(({ layer, group, experts }) => {
      const uniform = this.measure !== "entropy" ? 1 : experts > 1 ? Math.log(experts) : null;
      if (group && !forGate) return steps.map(() => null);
      return steps.map((step) => {
        const value = valueAt(found[layer], step)?.[place] ?? null;
        return value === null || !uniform ? null : value / uniform;
      });
    });
    return { steps, layers, rows };
  }

  chartOf(run, { steps, layers, rows }, scale) {
    const { name, show } = OVERVIEW[this.measure];
    const chart = new Chart({
      kind: "overview",
      title: capital(`${name} of each layer`),
      run,
      named: this.page.runs.length > 1 ? run : null,
      height: Math.max(layers.length * 16, 48),
      legend: legendOf({ ...scale, none: "no number" }),
    });
    const x = stepAxis(steps, this.page.domain);
    const y = bandAxis(
      "layer",
      layers.map(({ layer }) => layer),
    );
    const fractionAt = (column, row) => {
      const value = rows[row][column];
      return value === null ? null : scale.fraction(value);
    };
    chart.show({
      x,
      y,
      help: "Arrow keys move, Enter goes to the layer.",
      paint: (context, area) => paintCells(context, area, { x, y, fractionAt, hatchZero: false }),
      describe: (column, row) => {
        const value = rows[row][column];
        const words = value === null ? "no number" : `${name} ${show(value)}`;
        return `step ${count(steps[column])}, ${layers[row].layer}: ${words}`;
      },
      pick: (column, row) => this.page.jump(layers[row].layer),
    });
    this.charts.set(chart, steps);
    return chart;
  }

  move(step) {
    const rest = "Click a row, or press Enter on it, to go to the layer.";
    for (const [chart, steps] of this.charts) chart.mark(placeAt(steps, step), rest);
  }
}

function union(lists) {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}

/** For each mixing layer of several tasks: what share of its gates each task gives each expert. */
class TaskTables {
  constructor(page, importance) {
    Object.assign(this, { page, importance });
    this.element = make("div", { id: "tasks" });
  }

  move(step) {
    const sections = this.page.groups().map(([group, layers]) => {
      const panels = make("div", { className: "panels" });
      for (const run of this.page.runs) panels.append(this.tableOf(run, layers, step));
      const heading = make("h2", { textContent: `${group}: mean gate of each task` });
      const legend = legendOf({ ...SHARE_SCALE, zero: null });
      const header = make("header", {}, heading, legend);
      return make("section", { dataset: { group } }, header, panels);
    });
    this.element.replaceChildren(...sections);
  }

  tableOf(run, layers, step) {
    const rows = layers.map(({ layer }) => {
      const values = valueAt(this.importance.get(run)?.[layer], step) ?? [];
      const total = sum(values);
      return values.map((value) => (total && value !== null ? value / total : 0));
    });
    const experts = Math.max(...rows.map((row) => row.length));
    if (experts === 0) return absentPanel(run, "importance").element;
    const names = Array.from({ length: experts }, (_, expert) => String(expert));
    const cells = rows.map((row) =>
      row.map((share) => heatCell(share, SHARE_SCALE.fraction(share * experts))),
    );
    const table = tableOf(
      names,
      cells,
      layers.map(({ layer, task }) => task ?? layer),
      "task / expert",
    );
    table.className = "heat";
    const scroller = make(
      "div",
      { className: "scroller", tabIndex: 0, aria: { label: "Mean gates" } },
      table,
    );
    const single = this.page.runs.length === 1;
    const element = make("div", { className: single ? "wide" : "", dataset: { run } });
    element.append(single ? "" : headingOf(`at step ${count(step)}`, run), scroller);
    return element;
  }
}

function heatCell(share, fraction) {
  const cell = make("td", { textContent: share.toFixed(3) });
  const colour = colourAt(fraction);
  Object.assign(cell.style, { background: `rgb(${colour})`, color: textOn(colour) });
  return cell;
}

/** In words, which layers need attention at a step. */
class Health {
  constructor(page) {
    this.page = page;
    this.element = make("div", { id: "health", aria: { role: "region", label: "Health" } });
  }

  move(step) {
    // The list stays as the user left it.
    const open = this.element.querySelector("details")?.open ?? null;
    this.element.replaceChildren(...this.page.runs.map((run) => this.report(run, step, open)));
  }

  report(run, step, open) {
    const reports = this.page.layersOf(run).map(({ layer }) => ({
      layer,
      wrong: valueAt(this.page.health.get(run)?.[layer], step),
      watched: valueAt(this.page.watched.get(run)?.[layer], step) ?? [],
    }));
    const ill = reports.filter(({ wrong }) => wrong?.length);
    const report = make("div", { dataset: { run } }, this.verdict(run, step, reports, ill));
    report.append(make("div", { className: "chips" }, ...reports.map((entry) => this.chip(entry))));
    const said = reports.flatMap(({ layer, wrong, watched }) => [
      ...(wrong ?? []).map((sentence) => [layer, sentence]),
      ...watched.map((words) => [layer, `watching: ${words}`]),
    ]);
    if (said.length > 1) report.append(this.list(said, open));
    return report;
  }

  verdict(run, step, reports, ill) {
    const known = reports.filter(({ wrong }) => wrong !== null).length;
    const watching = reports.filter(({ watched }) => watched.length);
    const [className, symbol, text] = ill.length
      ? ["alarm", "!", attention(ill, reports.length, step)]
      : watching.length
        ? ["watch", "…", watch(watching, reports.length, step)]
        : known
          ? [
              "good",
              "✓",
              `${known === 1 ? "The layer is" : `All ${known} layers are`} healthy at step ${count(step)}`,
            ]
          : ["", "–", "No health reports up to this step; they are written in training"];
    const name =
      this.page.runs.length > 1
        ? make("span", { className: "run", textContent: `${run} · ` })
        : null;
    const sign = make("span", { className: "symbol", textContent: symbol, aria: { hidden: true } });
    return make("p", { className: `verdict ${className}` }, name, sign, ` ${text}`);
  }

  chip({ layer, wrong, watched }) {
    const [className, symbol, words] = wrong?.length
      ? ["alarm", "!", plural(wrong.length, "finding")]
      : watched.length
        ? ["watch", "…", `watching: ${watched.join("; ")}`]
        : wrong === null
          ? ["", "–", "no report"]
          : ["good", "✓", "healthy"];
    const sign = make("span", { className: "symbol", textContent: symbol });
    const button = make(
      "button",
      { type: "button", className, title: words, dataset: { layer } },
      sign,
      ` ${layer}`,
    );
    button.setAttribute("aria-label", `${layer}: ${words}`);
    button.addEventListener("click", () => this.page.jump(layer));
    return button;
  }

  list(said, open) {
    const items = said.map(([layer, sentence]) =>
      make("li", {}, make("b", { textContent: `${layer}: ` }), sentence),
    );
    const summary = make("summary", { textContent: plural(items.length, "finding") });
    return make("details", { open: open ?? items.length <= 5 }, summary, make("ul", {}, ...items));
  }
}

function attention(ill, layers, step) {
  const [{ layer, wrong }] = ill;
  const verb = ill.length === 1 ? "needs" : "need";
  return `${ill.length} of ${plural(layers, "layer")} ${verb} attention at step ${count(step)}: ${layer}: ${wrong[0]}`;
}

function watch(watching, layers, step) {
  const [{ layer, watched }] = watching;
  return `watching ${watching.length} of ${plural(layers, "layer")} at step ${count(step)}: ${layer}: ${watched[0]}`;
}

// === The page ===

const THEME_KEY = "moe-routing-theme";
const THEMES = [
  ["auto", "auto"],
  ["light", "light"],
  ["dark", "dark"],
];
const HOW_TO = `from moe_zoo.tensorboard import RoutingCallback

model.fit(data, callbacks=[RoutingCallback("logs")])`;

class Page {
  constructor() {
    this.layers = {}; // of each run
    this.memories = new Map(); // what the user chose in each layer's section
    this.heights = new Map(); // of sections that were filled, by shape
    this.measure = null; // of the overview, if the user chose one
    this.other = "";
    this.onStep = (step) => this.goTo(step);
  }

  build() {
    this.toolbar = make("div");
    this.slider = make("input", { id: "step", type: "range", min: 0, max: 0, value: 0 });
    this.slider.addEventListener("input", () => this.goTo(this.steps[this.slider.value]));
    this.stepName = make("output", { id: "step-name" });
    this.stepRow = make(
      "div",
      { id: "steps" },
      make("label", {}, "Step ", this.slider),
      this.stepName,
    );
    this.problem = make("p", { id: "problem", hidden: true, aria: { role: "alert" } });
    this.content = make("div");
    document.body.append(
      make("header", { id: "controls" }, this.toolbar, this.stepRow),
      make("main", {}, this.problem, this.content),
    );
    this.observer = new IntersectionObserver((entries) => this.see(entries), {
      rootMargin: "500px 0px",
    });
  }

  /** Fetches everything anew and keeps what is selected. */
  async load() {
    const store = new Store();
    this.store = store;
    const atEnd = !this.steps || this.step === this.steps.at(-1);
    const scroll = scrollY;
    try {
      const { runs } = await fetchJson("layers");
      if (this.store !== store) return; // another selection was made meanwhile
      this.layers = runs;
      this.chooseRuns();
      const series = await this.fetchAll();
      if (this.store !== store) return;
      Object.assign(this, series);
      this.chooseSteps();
      if (atEnd) this.step = this.steps.at(-1);
      this.tell(null);
      this.draw();
      scrollTo(0, scroll);
    } catch (error) {
      this.tell(error.message);
      this.drawToolbar();
    }
    // Sections in view begin to fill between two frames.
    await nextFrame();
    await nextFrame();
  }

  tell(problem) {
    this.problem.hidden = problem === null;
    this.problem.textContent = problem ?? "";
  }

  chooseRuns() {
    const names = Object.keys(this.layers);
    if (!names.includes(this.run))
      this.run = names.find((name) => name.endsWith("train")) ?? names[0];
    if (!names.includes(this.other) || this.other === this.run) this.other = "";
    this.runs = [this.run, this.other].filter(Boolean);
  }

  /** What is shown of all layers at once; the rest follows when a layer comes into view. */
  async fetchAll() {
    const [balance, health, watched, importance] = await Promise.all([
      this.seriesOfAll("balance"),
      this.seriesOfAll("health"),
      this.seriesOfAll("watched"),
      this.groups().length ? this.seriesOfAll("importance") : new Map(),
    ]);
    return { balance, health, watched, importance };
  }

  /** The slider's steps: all of those series, and the last of the others. */
  chooseSteps() {
    const found = [...this.balance.values(), ...this.health.values()];
    const steps = found.flatMap((layers) => Object.values(layers).map((series) => series.steps));
    const last = this.runs.flatMap((run) => this.layersOf(run).map((layer) => layer.last));
    this.steps = union([...steps, last]);
    this.domain = this.steps.length ? [windowStarts(this.steps)[0], this.steps.at(-1)] : [0, 1];
  }

  async seriesOfAll(kind) {
    const runs = this.runs.filter((run) =>
      this.layersOf(run).some((layer) => layer.kinds.includes(kind)),
    );
    const answers = await Promise.all(runs.map((run) => this.store.series(run, kind)));
    return new Map(runs.map((run, i) => [run, answers[i]]));
  }

  layersOf(run) {
    return this.layers[run] ?? [];
  }

  layerOf(run, name) {
    return this.layersOf(run).find((layer) => layer.layer === name);
  }

  /** The layers of each mixing layer of several tasks. */
  groups() {
    const groups = new Map();
    for (const layer of this.layersOf(this.run ?? "").filter(({ group }) => group)) {
      groups.set(layer.group, [...(groups.get(layer.group) ?? []), layer]);
    }
    return [...groups];
  }

  draw() {
    this.observer.disconnect();
    this.drawToolbar();
    const empty = this.runs.length === 0;
    if (empty) {
      this.sections = [];
      this.parts = [];
      this.content.replaceChildren(emptyState());
      return;
    }
    this.slider.max = this.steps.length - 1;
    this.sections = this.layersOf(this.run).map(
      (layer) => new LayerSection(this, layer, this.memory(layer.layer)),
    );
    const gates = this.layersOf(this.run).every((layer) => layer.group);
    const measure = this.measure ?? (gates ? "importance_cv" : "dropped_fraction");
    this.overview = new Overview(this, measure, (chosen) => this.changeMeasure(chosen));
    this.parts = [new Health(this), this.overview, new TaskTables(this, this.importance)];
    this.noMatch = make("p", {
      className: "remark",
      textContent: "No layer has that in its name.",
      hidden: true,
    });
    const elements = [...this.parts, ...this.sections].map((part) => part.element);
    this.content.replaceChildren(...elements, this.noMatch);
    this.overview.fill();
    this.filter();
    this.move();
    for (const section of this.sections) this.observer.observe(section.element);
  }

  memory(layer) {
    if (!this.memories.has(layer)) this.memories.set(layer, {});
    return this.memories.get(layer);
  }

  drawToolbar() {
    const names = Object.keys(this.layers);
    const options = (runs) => runs.map((run) => [run, run]);
    const layers = this.layersOf(this.run ?? "").map(({ layer }) => [layer, layer]);
    const reload = make("button", { id: "reload", type: "button", textContent: "Reload" });
    reload.addEventListener("click", () => this.reload());
    this.find ??= make("input", { id: "filter", type: "search", placeholder: "part of a name" });
    this.find.oninput = () => this.filter();
    const jump = choose("jump", [["", "layer …"], ...layers], "", (layer) => {
      jump.value = "";
      this.jump(layer);
    });
    const others = names.filter((name) => name !== this.run);
    const selection = [
      make(
        "label",
        {},
        "Run ",
        choose("run", options(names), this.run, (run) => this.reload({ run })),
      ),
      make(
        "label",
        {},
        "Compare with ",
        choose("compare", [["", "–"], ...options(others)], this.other, (other) =>
          this.reload({ other }),
        ),
      ),
      make("label", {}, "Only ", this.find),
      make("label", {}, "Go to ", jump),
    ];
    const themes = choose("theme", THEMES, chosenTheme(), (name) => this.changeTheme(name));
    this.toolbar.replaceChildren(
      make("h1", { textContent: "MoE routing" }),
      ...(names.length ? selection : []),
      make("label", { className: "push" }, "Theme ", themes),
      reload,
    );
    this.stepRow.hidden = names.length === 0;
  }

  reload(selection = {}) {
    Object.assign(this, selection);
    const focused = document.activeElement?.id;
    return work.on(this.load().then(() => focused && document.getElementById(focused)?.focus()));
  }

  changeMeasure(measure) {
    this.measure = measure;
    const { element } = this.overview;
    const overview = new Overview(this, measure, (next) => this.changeMeasure(next));
    element.replaceWith(overview.element);
    this.parts = this.parts.map((part) => (part === this.overview ? overview : part));
    this.overview = overview;
    overview.fill();
    overview.move(this.step);
    document.getElementById("overview-measure").focus();
  }

  changeTheme(name) {
    keepTheme(name);
    applyTheme(name);
    this.redraw();
  }

  /** Draws everything in the colours of the theme. */
  redraw() {
    if (this.runs) work.on(this.redrawn());
  }

  async redrawn() {
    this.draw();
    await nextFrame();
    await nextFrame();
  }

  goTo(step) {
    this.step = step;
    if (this.moving) return;
    this.moving = work.on(
      nextFrame().then(() => {
        this.moving = null;
        this.move();
      }),
    );
  }

  /** Shows the page's step everywhere; sections out of view follow when they are seen. */
  move() {
    const place = placeAt(this.steps, this.step);
    this.step = this.steps[place];
    this.slider.value = place;
    this.slider.setAttribute("aria-valuetext", `step ${count(this.step)}`);
    this.stepName.textContent = `${count(this.step)} (${count(place + 1)} of ${count(this.steps.length)})`;
    for (const part of this.parts) part.move(this.step);
    for (const section of this.sections) if (section.near) this.show(section);
  }

  see(entries) {
    for (const { target, isIntersecting } of entries) {
      const section = this.sections.find(({ element }) => element === target);
      if (!section) continue;
      section.near = isIntersecting;
      if (isIntersecting) this.show(section);
    }
  }

  show(section) {
    section.shown = work.on(section.show());
  }

  filter() {
    const words = this.find.value.trim().toLowerCase();
    const matches = ({ layer, group }) => `${layer} ${group ?? ""}`.toLowerCase().includes(words);
    for (const section of this.sections ?? []) section.element.hidden = !matches(section.layer);
    if (this.noMatch)
      this.noMatch.hidden = this.sections.some((section) => !section.element.hidden);
  }

  jump(layer) {
    const section = this.sections.find((one) => one.layer.layer === layer);
    if (!section) return;
    section.element.hidden = false;
    section.header.querySelector("h2").focus({ preventScroll: true });
    work.on(this.scrollTo(section));
  }

  /** What fills up around a section moves it: it is aimed at a second time. */
  async scrollTo(section) {
    section.element.scrollIntoView();
    await nextFrame();
    await nextFrame();
    await Promise.all(this.sections.filter(({ near }) => near).map(({ shown }) => shown));
    section.element.scrollIntoView();
  }
}

function emptyState() {
  const code = (text) => make("pre", {}, make("code", { textContent: text }));
  const text = (words) => make("p", { textContent: words });
  return make(
    "div",
    { id: "empty" },
    make("h2", { textContent: "No routing data yet" }),
    text("Train a model that has MoE layers with the callback that writes what its routers do:"),
    code(HOW_TO),
    text("Start TensorBoard on that folder:"),
    code("tensorboard --logdir logs"),
    text("Then press Reload. TensorBoard reads new files every few seconds."),
  );
}

/** The user's choice; a browser that keeps nothing for the frame gets its own "auto" each time. */
function chosenTheme() {
  try {
    return localStorage.getItem(THEME_KEY) ?? "auto";
  } catch {
    return "auto";
  }
}

function keepTheme(name) {
  try {
    localStorage.setItem(THEME_KEY, name);
  } catch {
    // Then the choice cannot be kept.
  }
}

/** TensorBoard has a dark mode of its own; no message tells the frame of it. */
function prefersDark() {
  try {
    if (parent !== window) return parent.document.body.classList.contains("dark-mode");
  } catch {
    // The frame of a notebook has another origin.
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function applyTheme(chosen = chosenTheme()) {
  const dark = chosen === "dark" || (chosen === "auto" && prefersDark());
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

/** The page follows while its theme is "auto". */
function followTheme(page) {
  const follow = () => {
    const before = document.documentElement.dataset.theme;
    applyTheme();
    if (document.documentElement.dataset.theme !== before) page.redraw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
  try {
    if (parent !== window) {
      new MutationObserver(follow).observe(parent.document.body, { attributeFilter: ["class"] });
    }
  } catch {
    // As above.
  }
}

function addStyle() {
  const link = make("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url) });
  document.head.append(link);
  return new Promise((resolve) => {
    link.onload = resolve;
    link.onerror = resolve;
  });
}

/** What TensorBoard calls when the tab is opened. */
export async function render() {
  document.documentElement.lang = "en";
  const page = new Page();
  await work.on(
    (async () => {
      await addStyle();
      applyTheme();
      followTheme(page);
      page.build();
      await page.load();
    })(),
  );
}
