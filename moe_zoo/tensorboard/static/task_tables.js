// A table for each multi-task mixing layer: the mean gate of each task and expert.

import { expertNames } from "./axes.js";
import { colorAt, textOn } from "./colors.js";
import { absentPanel, headingOf, make, scroller, tableOf } from "./elements.js";
import { formatCount } from "./format.js";
import { legendOf } from "./legend.js";
import { sum } from "./numbers.js";
import { SHARE_SCALE } from "./scales.js";
import { valueAt } from "./series.js";

export class TaskTables {
  constructor(page) {
    this.page = page;
    this.element = make("div", { id: "tasks" });
  }

  move(step) {
    const sections = this.page.groups().map(([group, layers]) => {
      const tables = this.page.runs.map((run) => this.tableOf(run, layers, step));
      const title = make("h2", { textContent: `${group}: mean gate of each task` });
      const header = make("header", {}, title, legendOf({ ...SHARE_SCALE, zero: null }));
      const body = make("div", { className: "panels" }, ...tables);
      return make("section", { dataset: { group } }, header, body);
    });
    this.element.replaceChildren(...sections);
  }

  tableOf(run, layers, step) {
    const rows = layers.map(({ layer }) => {
      const values = valueAt(this.page.importance.get(run)?.[layer], step) ?? [];
      const total = sum(values);
      return values.map((value) => (total && value !== null ? value / total : 0));
    });
    const experts = Math.max(...rows.map((row) => row.length));
    if (experts === 0) return absentPanel(run, "importance").element;
    const cells = rows.map((row) =>
      row.map((share) => heatCell(share, SHARE_SCALE.fraction(share * experts))),
    );
    const names = layers.map(({ layer, task }) => task ?? layer);
    const table = tableOf(expertNames(experts), cells, names, "task / expert");
    table.className = "heat";
    const compared = this.page.comparedRun(run);
    return make(
      "div",
      { className: compared ? "" : "wide", dataset: { run } },
      compared && headingOf(`step ${formatCount(step)}`, compared),
      scroller("Mean gates", table),
    );
  }
}

function heatCell(share, fraction) {
  const cell = make("td", { textContent: share.toFixed(3) });
  const color = colorAt(fraction);
  Object.assign(cell.style, { background: `rgb(${color})`, color: textOn(color) });
  return cell;
}
