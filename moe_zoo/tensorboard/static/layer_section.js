// The section of a layer. It fills when it comes into view.

import { choose, labeled, make, problemOf, widen } from "./elements.js";
import { plural } from "./format.js";
import { LayerPanels } from "./layer_panels.js";
import { MEASURES } from "./measures.js";
import { work } from "./work.js";

export class LayerSection {
  /** `memory` keeps the user's choices over a reload. */
  constructor(page, layer, memory) {
    Object.assign(this, { page, layer, memory });
    this.make = new LayerPanels(page, layer, memory);
    this.panels = [];
    this.body = make("div", { className: "panels" });
    this.title = make("h2", { textContent: layer.layer, tabIndex: -1 });
    this.header = make("header", {}, this.title, this.describe());
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

  /** Reserves the room of the panels, so that sections do not move when one fills. */
  reserve() {
    if (this.filled) return;
    const usual = this.layer.kinds.includes("examples") ? 1150 : 780;
    this.body.style.minHeight = `${this.page.heights.get(this.shape()) ?? usual}px`;
  }

  /** Gives up the reserved room, and corrects that of the other sections. */
  settle() {
    this.body.style.minHeight = "";
    this.page.heights.set(this.shape(), this.body.offsetHeight);
    this.page.sections.forEach((section) => section.reserve());
  }

  /** Layers of the same shape have sections of about the same height. */
  shape() {
    return JSON.stringify([this.layer.kinds, this.layer.experts, this.page.runs]);
  }

  /** Fills the section when it is first in view, and shows the page's step. */
  async show() {
    try {
      const first = !this.filled;
      if (first) this.filled = this.fill();
      await this.filled;
      await this.move();
      if (first) this.settle();
    } catch (error) {
      this.filled = null;
      const problem = { element: problemOf(error) };
      widen([problem]);
      this.body.replaceChildren(problem.element);
    }
  }

  async move() {
    const { step } = this.page;
    if (this.step === step) return;
    this.step = step;
    await Promise.all(this.panels.map((panel) => panel.move(step)));
  }

  async fill() {
    const { make: panelsOf, memory } = this;
    this.measures = Object.keys(MEASURES).filter((kind) => panelsOf.has(kind));
    if (!this.measures.includes(memory.measure)) memory.measure = this.usualMeasure();
    const groups = await Promise.all([
      this.measures.length ? panelsOf.steps(memory.measure) : [],
      panelsOf.has("balance") ? panelsOf.curves() : [],
      panelsOf.hasDemand() ? panelsOf.demand() : [],
      panelsOf.has("pairs") ? panelsOf.pairs() : [],
      panelsOf.has("examples") ? panelsOf.examples() : [],
    ]);
    const [steps, curves, demand, pairs, examples] = groups;
    if (this.page.runs.length === 1) {
      if (!curves.length) widen(steps);
      if (!pairs.length) widen(demand);
      widen(examples);
    }
    this.heatMaps = steps;
    this.panels = groups.flat();
    this.body.replaceChildren(...this.panels.map((panel) => panel.element));
    if (this.measures.length > 1) this.addMeasures();
    this.step = null;
  }

  usualMeasure() {
    const ofGate = this.layer.group && this.layer.kinds.includes("importance");
    return ofGate ? "importance" : this.measures[0];
  }

  addMeasures() {
    const options = this.measures.map((measure) => [measure, MEASURES[measure].label]);
    const select = choose("", options, this.memory.measure, (measure) =>
      work.on(this.change(measure)),
    );
    select.dataset.role = "measure";
    this.header.querySelector("label")?.remove(); // of an earlier try that failed
    this.header.append(labeled("Heat map of ", select));
  }

  async change(measure) {
    this.memory.measure = measure;
    const heatMaps = await this.make.steps(measure);
    heatMaps.forEach((panel, i) => {
      const { element } = this.heatMaps[i];
      panel.element.className = element.className;
      element.replaceWith(panel.element);
      panel.move(this.step);
    });
    this.panels = [...heatMaps, ...this.panels.slice(heatMaps.length)];
    this.heatMaps = heatMaps;
  }
}
