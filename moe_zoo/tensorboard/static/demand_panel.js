// The demand of each expert at a step: computed choices are filled, dropped ones hatched.

import { assignmentsOf, describeExpert, describeTotals, totalsOf } from "./assignments.js";
import { expertAxis, expertNames, valueAxis } from "./axes.js";
import { Chart, dashedLine } from "./chart.js";
import { make, problemOf, scroller, tableOf } from "./elements.js";
import { formatCount, formatPercent } from "./format.js";
import { hatchedSwatch, hatching, keyOf, swatch } from "./legend.js";
import { indexAt, valueAt } from "./series.js";
import { themeColor } from "./theme.js";
import { work } from "./work.js";

export class DemandPanel {
  /** `mostAt(step)` is the highest bar of all runs. `readGates()` fetches the mean gates. */
  constructor({ run, comparedRun, load, demand, mostAt, readGates }) {
    Object.assign(this, { load, demand, mostAt, readGates });
    const keys = [
      keyOf(swatch(themeColor("computed")), "computed"),
      keyOf(hatchedSwatch(), "dropped"),
      keyOf(make("span", { className: "uniform" }), "uniform"),
    ];
    this.chart = new Chart({
      kind: "demand",
      title: "Demand and load",
      run,
      comparedRun,
      height: 190,
      legend: make("div", { className: "legend" }, ...keys),
    });
    this.table = scroller("Experts");
    this.details = make("details", {}, make("summary", { textContent: "Table" }), this.table);
    this.details.addEventListener("toggle", () => work.on(this.fillTable()));
    this.element = make("div", { dataset: { run } }, this.chart.element, this.details);
  }

  move(step) {
    this.step = step;
    this.experts = assignmentsOf(valueAt(this.load, step), valueAt(this.demand, step));
    this.totals = totalsOf(this.experts);
    const { steps } = this.load ?? this.demand;
    const { length } = this.experts;
    const x = expertAxis(length);
    const y = valueAxis("choices", this.mostAt(step), formatCount);
    const mean = this.totals.requested / length;
    this.chart.show({
      x,
      y,
      paint: (context, area) => length && this.paint(context, area, x, y, mean),
      describe: (expert) => describeExpert(expert, this.experts[expert], mean),
      help: "Use the arrow keys to move between experts.",
      rest: length
        ? describeTotals(this.totals, steps[indexAt(steps, step)])
        : "No data yet at this step.",
    });
    work.on(this.fillTable());
  }

  paint(context, { width, height }, x, y, mean) {
    const hatch = hatching(context);
    const scaled = (value) => (height * value) / y.end;
    this.experts.forEach(({ requested, computed }, expert) => {
      const [from, to] = x.edges(expert).map((edge) => edge * width);
      const gap = to - from > 4 ? (to - from) * 0.15 : 0;
      const [left, wide] = [from + gap, to - from - 2 * gap];
      const dropped = [left, height - scaled(requested), wide, scaled(requested - computed)];
      context.fillStyle = hatch;
      context.fillRect(...dropped);
      context.strokeStyle = themeColor("soft");
      if (requested > computed && gap) context.strokeRect(...dropped);
      context.fillStyle = themeColor("computed");
      context.fillRect(left, height - scaled(computed), wide, scaled(computed));
    });
    dashedLine(context, height - scaled(mean), width);
  }

  async fillTable() {
    if (!this.details.open) return;
    const { step } = this;
    let gates;
    try {
      gates = valueAt(await this.readGates(), step);
    } catch (error) {
      this.table.replaceChildren(problemOf(error));
      return;
    }
    if (step !== this.step) return;
    const { computed: total } = this.totals;
    const rows = this.experts.map(({ requested, computed }, expert) => [
      formatCount(requested),
      formatCount(computed),
      formatPercent(total ? computed / total : 0),
      gates?.[expert] == null ? "–" : gates[expert].toFixed(3),
    ]);
    const columns = ["requested", "computed", "share", "mean gate"];
    this.table.replaceChildren(tableOf(columns, rows, expertNames(rows.length), "expert"));
  }
}
