// The panels of a layer, one of each kind for each run that is shown.

import { CurvesPanel } from "./curves_panel.js";
import { DemandPanel } from "./demand_panel.js";
import { absentPanel } from "./elements.js";
import { ExamplesPanel } from "./examples_panel.js";
import { formatDecimal } from "./format.js";
import { BALANCE, MEASURES } from "./measures.js";
import { highest } from "./numbers.js";
import { PairsPanel } from "./pairs_panel.js";
import { linearScale, SHARE_SCALE } from "./scales.js";
import { valueAt } from "./series.js";
import { StepsPanel } from "./steps_panel.js";

/** Each method fetches the series of its kind and returns a panel for each run. */
export class LayerPanels {
  constructor(page, layer, memory) {
    Object.assign(this, { page, layer, memory, name: layer.layer });
  }

  has(kind) {
    return this.page.runs.some((run) => this.holds(run, kind));
  }

  /** The gate of a task has no demand panel: most gates use every expert. */
  hasDemand() {
    return !this.layer.group && (this.has("load") || this.has("demand"));
  }

  async steps(measure) {
    const series = await this.series(measure);
    const values = [...series.values()].flatMap((ofRun) => ofRun.values);
    const scale = MEASURES[measure].share
      ? SHARE_SCALE
      : linearScale("mean gate", highest(values), formatDecimal, "zero");
    return this.eachRun(
      measure,
      series,
      (run) =>
        new StepsPanel({
          ...this.common(run),
          measure,
          series: series.get(run),
          scale,
        }),
    );
  }

  async curves() {
    const series = await this.series("balance");
    const { group, experts } = this.layer;
    const names = group ? ["importance_cv", "entropy"] : ["dropped_fraction", "load_cv", "entropy"];
    const uniform = experts > 1 ? Math.log(experts) : null;
    const rows = [...series.values()].flatMap((ofRun) => ofRun.values);
    const curves = names.map((name) => {
      const most = highest([rows.map((balance) => balance[BALANCE[name].index])]);
      return name === "entropy"
        ? { name, most: uniform ?? most, reference: uniform }
        : { name, most, reference: null };
    });
    return this.eachRun(
      "balance",
      series,
      (run) => new CurvesPanel({ ...this.common(run), curves, series: series.get(run) }),
    );
  }

  async demand() {
    const [load, demand] = await Promise.all([this.series("load"), this.series("demand")]);
    const all = [...load.values(), ...demand.values()];
    const mostAt = (step) => highest(all.map((series) => valueAt(series, step) ?? []));
    const panelOf = (run) =>
      new DemandPanel({
        ...this.common(run),
        load: load.get(run),
        demand: demand.get(run),
        mostAt,
        readGates: async () => (await this.series("gate_mean")).get(run),
      });
    return this.eachRun("load", new Map([...load, ...demand]), panelOf);
  }

  pairs() {
    const runs = this.holders("pairs");
    const { page, name } = this;
    return this.eachRun(
      "pairs",
      runs,
      (run) =>
        new PairsPanel({
          ...this.common(run),
          experts: page.layerOf(run, name).experts ?? 0,
          read: this.reader(run, "pairs"),
        }),
    );
  }

  examples() {
    const runs = this.holders("examples");
    const { memory } = this;
    return this.eachRun(
      "examples",
      runs,
      (run) =>
        new ExamplesPanel({
          ...this.common(run),
          memory,
          read: this.reader(run, "examples"),
        }),
    );
  }

  /** Returns the arguments that all panels of a run share. */
  common(run) {
    const { domain, onStep } = this.page;
    return { run, comparedRun: this.page.comparedRun(run), domain, onStep };
  }

  /** Returns a panel for each run, or a remark for a run that is not in `runs`. */
  eachRun(kind, runs, panelOf) {
    return this.page.runs.map((run) => (runs.has(run) ? panelOf(run) : absentPanel(run, kind)));
  }

  /** Fetches the series of a kind, by run. */
  async series(kind) {
    const runs = [...this.holders(kind)];
    const answers = await Promise.all(
      runs.map((run) => this.page.store.series(run, kind, this.name)),
    );
    const entries = runs.map((run, i) => [run, answers[i][this.name]]);
    return new Map(entries.filter(([, series]) => series.steps.length));
  }

  holders(kind) {
    return new Set(this.page.runs.filter((run) => this.holds(run, kind)));
  }

  holds(run, kind) {
    return this.page.layerOf(run, this.name)?.kinds.includes(kind) ?? false;
  }

  reader(run, kind) {
    return (step) => this.page.store.at(run, kind, this.name, step);
  }
}
