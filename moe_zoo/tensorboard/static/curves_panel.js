// Curves of the balance over steps. A value covers the window since the value before it.

import { stepAxis, valueAxis } from "./axes.js";
import { Chart, dashedLine } from "./chart.js";
import { make } from "./elements.js";
import { capitalize, formatCount } from "./format.js";
import { BALANCE } from "./measures.js";
import { indexAt } from "./series.js";
import { themeColor } from "./theme.js";

export class CurvesPanel {
  /** `curves` has a `name`, the end of the axis, `most`, and a `reference` or `null` for each. */
  constructor({ curves, ...common }) {
    this.curves = curves.map((curve) => new Curve({ ...common, ...curve }));
    this.element = make("div", {}, ...this.curves.map((curve) => curve.chart.element));
  }

  move(step) {
    for (const curve of this.curves) curve.move(step);
  }
}

class Curve {
  constructor({ run, comparedRun, name, series, most, reference, domain, onStep }) {
    Object.assign(this, { series, reference, balance: BALANCE[name] });
    this.x = stepAxis(series.steps, domain);
    this.y = valueAxis(reference ? "dashed: uniform" : "", most, this.balance.show);
    const title = capitalize(this.balance.name);
    this.chart = new Chart({ kind: name, title, run, comparedRun, height: 58, slim: true });
    this.chart.show({
      x: this.x,
      y: this.y,
      paint: (context, area) => this.paint(context, area),
      describe: (column) => this.describe(column),
      help: "Use the arrow keys to move and Enter to select the step.",
      pick: (column) => onStep(series.steps[column]),
    });
  }

  value(column) {
    return this.series.values[column][this.balance.index];
  }

  describe(column) {
    const value = this.value(column);
    const words = value === null ? "no value" : this.balance.show(value);
    return `step ${formatCount(this.series.steps[column])}: ${words}`;
  }

  paint(context, { width, height }) {
    const heightOf = (value) => height * (1 - value / this.y.end);
    if (this.reference) dashedLine(context, heightOf(this.reference), width);
    context.strokeStyle = themeColor("computed");
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.beginPath();
    let drawn = false;
    for (let column = 0; column < this.x.length; column++) {
      const value = this.value(column);
      const [from, to] = this.x.edges(column);
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
    const column = indexAt(this.series.steps, step);
    this.chart.mark(column, column < 0 ? "no data yet at this step" : this.describe(column));
  }
}
