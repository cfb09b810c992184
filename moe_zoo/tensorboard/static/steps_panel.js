// A heat map of one measure: experts by steps.
// Each panel shows the series of one run; `move(step)` marks a step in it.

import { expertAxis, stepAxis } from "./axes.js";
import { Chart } from "./chart.js";
import { capitalize, formatCount, formatPercent, plural } from "./format.js";
import { heatMap } from "./heat_map.js";
import { legendOf } from "./legend.js";
import { MEASURES } from "./measures.js";
import { clamp, highest, sum } from "./numbers.js";
import { indexAt } from "./series.js";

export class StepsPanel {
  constructor({ run, comparedRun, measure, series, scale, domain, onStep }) {
    Object.assign(this, { measure, series });
    const { name, share } = MEASURES[measure];
    this.totals = series.values.map(sum);
    this.experts = highest([series.values.map((values) => values.length)]);
    const fractionAt = (column, expert) => {
      const value = series.values[column][expert];
      if (value == null) return null;
      return scale.fraction(share ? this.ratio(value, column) : value);
    };
    this.chart = new Chart({
      kind: "steps",
      title: capitalize(`${name} over steps`),
      run,
      comparedRun,
      height: clamp(3 * this.experts, 270, 768),
      legend: legendOf(scale),
    });
    this.chart.show({
      ...heatMap({ x: stepAxis(series.steps, domain), y: expertAxis(this.experts), fractionAt }),
      describe: (column, expert) => this.describe(column, expert),
      pick: (column) => onStep(series.steps[column]),
    });
    this.element = this.chart.element;
  }

  /** Returns a value as a multiple of the uniform share. */
  ratio(value, column) {
    const total = this.totals[column];
    return total ? (value * this.experts) / total : 0;
  }

  describe(column, expert) {
    const value = this.series.values[column][expert];
    const where = `step ${formatCount(this.series.steps[column])}, expert ${expert}: `;
    if (value == null) return `${where}no data`;
    if (this.measure === "gate_mean") return `${where}mean gate ${value.toFixed(3)}`;
    const number =
      this.measure === "importance"
        ? `sum of gates ${formatCount(value)}`
        : plural(value, "choice");
    const total = this.totals[column];
    const share = formatPercent(total ? value / total : 0);
    const ratio = this.ratio(value, column).toFixed(2);
    return `${where}${number}, ${share} (${ratio}× uniform)`;
  }

  move(step) {
    this.chart.mark(indexAt(this.series.steps, step));
  }
}
