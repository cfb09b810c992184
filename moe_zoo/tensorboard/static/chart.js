// A chart: a canvas with axes, a marker at the slider's step and a crosshair.

import { headingOf, make } from "./elements.js";
import { clamp } from "./numbers.js";
import { themeColor } from "./theme.js";

const HINT = "Hover over a cell, or focus the chart and use the arrow keys.";
const MARGIN = { left: 46, right: 18, top: 18, bottom: 32 };
const FONT = "11px Roboto, system-ui, sans-serif";

export class Chart {
  /** `comparedRun` names the run where two are compared. `slim` puts the readout in the title. */
  constructor({ kind, title, run, comparedRun = null, height, slim = false, legend = null }) {
    this.height = height;
    this.title = title;
    this.canvas = make("canvas", { tabIndex: 0, aria: { role: "application" } });
    this.marker = make("div", { className: "marker", hidden: true });
    this.cursor = make("div", { className: "cursor", hidden: true });
    this.cross = [0, 1].map(() => make("div", { className: "cross", hidden: true }));
    this.readout = make("p", { className: "readout" });
    const layers = [this.canvas, ...this.cross, this.marker, this.cursor];
    this.plot = make("div", { className: "plot" }, ...layers);
    const heading = headingOf(title, comparedRun);
    const caption = make("figcaption", {}, heading, slim ? this.readout : legend);
    const dataset = { chart: kind, run };
    this.element = make("figure", { className: slim ? "slim" : "", dataset }, caption, this.plot);
    if (!slim) this.element.append(this.readout);
    this.listen();
  }

  /**
   * `view` has the axes `x` and `y`, `paint(context, area)`, `describe(column, row)` in words,
   * `help` on the keys, `rest` to show without a crosshair, and `pick(column, row)` for a click or
   * Enter.
   */
  show(view) {
    this.view = view;
    this.canvas.setAttribute("aria-label", `${this.title}. ${view.help ?? HINT}`);
    this.paint();
    this.point(this.at ?? null);
  }

  /** Marks the column of the slider's step, or none for -1; `rest` as in `show`. */
  mark(column, rest = HINT) {
    const [from, to] = column < 0 ? [0, 0] : this.view.x.edges(column);
    this.marker.hidden = column < 0;
    this.marked = column;
    this.view.rest = rest;
    this.place(this.marker, { left: (from + to) / 2, top: 0, height: 1 });
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

  /** Fits the canvas to the page's width and computes the area of the plot. */
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
    context.fillStyle = themeColor("soft");
    context.strokeStyle = themeColor("control");
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

  /** Moves the crosshair to a cell, `[column, row]`, and describes it; `null` removes it. */
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
    this.place(this.cursor, { left, top, width: right - left, height: bottom - top });
    this.place(this.cross[0], { left: (left + right) / 2, top: 0, height: 1 });
    this.place(this.cross[1], { left: 0, top: (top + bottom) / 2, width: 1 });
    this.cross[1].hidden = !y.length;
    this.readout.textContent = describe(column, row);
  }

  /** Places an element in the plot; the style sheet sets a size that is not given. */
  place(element, { left, top, width, height }) {
    const { area } = this;
    if (!area) return;
    element.style.left = `${area.left + left * area.width}px`;
    element.style.top = `${area.top + top * area.height}px`;
    element.style.width = width === undefined ? "" : `${width * area.width}px`;
    element.style.height = height === undefined ? "" : `${height * area.height}px`;
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => this.pick(this.cellAt(event)));
    canvas.addEventListener("keydown", (event) => this.press(event));
    // The slider changes the readout too, but a screen reader should read only the crosshair's.
    canvas.addEventListener("focus", () => this.readout.setAttribute("aria-live", "polite"));
    canvas.addEventListener("blur", () => {
      this.readout.removeAttribute("aria-live");
      this.point(null);
    });
    const resized = () => this.plot.clientWidth !== this.width && this.paint();
    new ResizeObserver(resized).observe(this.plot);
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
      const lastRow = (y.length || 1) - 1;
      this.point([clamp(nextColumn, 0, x.length - 1), clamp(nextRow, 0, lastRow)]);
    } else return;
    event.preventDefault();
  }
}

/** Draws the line of a uniform distribution. */
export function dashedLine(context, height, width) {
  context.strokeStyle = themeColor("ink");
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(0, height);
  context.lineTo(width, height);
  context.stroke();
  context.setLineDash([]);
}
