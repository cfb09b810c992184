// Which experts are chosen together: the other choices of the tokens of a row's expert.

import { expertAxis } from "./axes.js";
import { Chart } from "./chart.js";
import { describeSpan, formatPercent, plural } from "./format.js";
import { heatMap } from "./heat_map.js";
import { legendOf } from "./legend.js";
import { clamp, sum } from "./numbers.js";
import { SHARE_SCALE } from "./scales.js";

export class PairsPanel {
  /** `read(step)` fetches the value at a step. */
  constructor({ run, comparedRun, experts, read }) {
    this.read = read;
    this.chart = new Chart({
      kind: "pairs",
      title: "Experts chosen together",
      run,
      comparedRun,
      height: clamp(3 * experts, 190, 768),
      legend: legendOf(SHARE_SCALE),
    });
    this.element = this.chart.element;
  }

  async move(step) {
    this.step = step;
    const { step: from, value, until } = await this.read(step);
    if (step !== this.step) return;
    const pairs = value ?? [];
    const totals = pairs.map(sum);
    const share = (other, expert) => (totals[expert] ? pairs[expert][other] / totals[expert] : 0);
    const fractionAt = (other, expert) =>
      other !== expert && totals[expert]
        ? SHARE_SCALE.fraction(share(other, expert) * (pairs.length - 1))
        : null;
    const [x, y] = [expertAxis(pairs.length, "also chosen"), expertAxis(pairs.length)];
    this.chart.show({
      ...heatMap({ x, y, fractionAt }),
      describe: (other, expert) => {
        if (other === expert) return `expert ${expert}: the same expert`;
        return (
          `expert ${expert}: ${plural(pairs[expert][other], "token")} also chose expert ${other}, ` +
          `${formatPercent(share(other, expert))} of its other choices`
        );
      },
      rest: describeSpan(from, until),
    });
  }
}
