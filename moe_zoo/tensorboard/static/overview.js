// A heat map of one number of the balance: layers by steps.

import { bandAxis, stepAxis } from "./axes.js";
import { Chart } from "./chart.js";
import { absentPanel, choose, labeled, make, widen } from "./elements.js";
import { capitalize, formatCount } from "./format.js";
import { heatMap } from "./heat_map.js";
import { legendOf } from "./legend.js";
import { OVERVIEW } from "./measures.js";
import { highest } from "./numbers.js";
import { linearScale } from "./scales.js";
import { indexAt, mergeSteps, valueAt } from "./series.js";

export class Overview {
  constructor(page, measure, onMeasure) {
    Object.assign(this, { page, measure });
    const options = Object.entries(OVERVIEW).map(([value, { name }]) => [value, name]);
    const select = choose("overview-measure", options, measure, onMeasure);
    const title = make("h2", { textContent: "All layers" });
    const header = make("header", {}, title, labeled("Show ", select));
    this.body = make("div", { className: "panels" });
    this.element = make("section", { id: "overview" }, header, this.body);
    this.charts = new Map();
  }

  fill() {
    const { runs, balance } = this.page;
    const { name, show } = OVERVIEW[this.measure];
    const tables = new Map(runs.map((run) => [run, this.tableOf(run)]));
    const rows = [...tables.values()].flatMap((table) => table.rows);
    const scale = linearScale(name, this.measure === "entropy" ? 1 : highest(rows), show);
    const panels = runs.map((run) =>
      balance.has(run) ? this.chartOf(run, tables.get(run), scale) : absentPanel(run, "balance"),
    );
    if (runs.length === 1) widen(panels);
    this.body.append(...panels.map((panel) => panel.element));
  }

  /** Returns the steps of a run and a row of numbers for each of its layers. */
  tableOf(run) {
    const { index, forGate } = OVERVIEW[this.measure];
    const balance = this.page.balance.get(run) ?? {};
    const layers = this.page.layersOf(run).filter(({ layer }) => balance[layer]?.steps.length);
    const steps = mergeSteps(layers.map(({ layer }) => balance[layer].steps));
    const rows = layers.map(({ layer, group, experts }) => {
      const uniform = this.measure !== "entropy" ? 1 : experts > 1 ? Math.log(experts) : null;
      if (group && !forGate) return steps.map(() => null);
      return steps.map((step) => {
        const value = valueAt(balance[layer], step)?.[index] ?? null;
        return value === null || !uniform ? null : value / uniform;
      });
    });
    return { steps, names: layers.map(({ layer }) => layer), rows };
  }

  chartOf(run, { steps, names, rows }, scale) {
    const { name, show } = OVERVIEW[this.measure];
    const chart = new Chart({
      kind: "overview",
      title: capitalize(`${name} of each layer`),
      run,
      comparedRun: this.page.comparedRun(run),
      height: Math.max(names.length * 16, 48),
      legend: legendOf({ ...scale, none: "no value" }),
    });
    const fractionAt = (column, row) => {
      const value = rows[row][column];
      return value === null ? null : scale.fraction(value);
    };
    const [x, y] = [stepAxis(steps, this.page.domain), bandAxis("layer", names)];
    chart.show({
      ...heatMap({ x, y, fractionAt, hatchZero: false }),
      help: "Use the arrow keys to move and Enter to go to the layer.",
      describe: (column, row) => {
        const value = rows[row][column];
        const words = value === null ? "no value" : `${name} ${show(value)}`;
        return `step ${formatCount(steps[column])}, ${names[row]}: ${words}`;
      },
      pick: (_, row) => this.page.jump(names[row]),
    });
    this.charts.set(chart, steps);
    return chart;
  }

  move(step) {
    const rest = "Click a row or press Enter to go to its layer.";
    for (const [chart, steps] of this.charts) chart.mark(indexAt(steps, step), rest);
  }
}
