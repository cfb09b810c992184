// The page: its selection, its data and the parts that show them.

import { Controls } from "./controls.js";
import { make } from "./elements.js";
import { Health } from "./health.js";
import { LayerSection } from "./layer_section.js";
import { Overview } from "./overview.js";
import { indexAt, mergeSteps, windowStarts } from "./series.js";
import { fetchJson, Store } from "./store.js";
import { TaskTables } from "./task_tables.js";
import { nextFrame, nextView, work } from "./work.js";

const HOW_TO = `import moe_zoo

model.fit(data, callbacks=[moe_zoo.RoutingCallback("logs")])`;

export class Page {
  constructor() {
    this.layers = {}; // of each run
    this.memories = new Map(); // the user's choices in each layer's section
    this.heights = new Map(); // of filled sections, by shape
    this.measure = null; // of the overview, if the user has chosen one
    this.other = "";
    this.sections = [];
    this.onStep = (step) => this.goTo(step);
    this.controls = new Controls(this);
    this.problem = make("p", { id: "problem", hidden: true, aria: { role: "alert" } });
    this.content = make("div");
    this.noMatch = make("p", {
      className: "remark",
      textContent: "No layer name matches the filter.",
      hidden: true,
    });
    document.body.append(this.controls.element, make("main", {}, this.problem, this.content));
    this.observer = new IntersectionObserver((entries) => this.see(entries), {
      rootMargin: "500px 0px",
    });
  }

  /** Fetches everything again and keeps the selection. */
  async load() {
    const store = new Store();
    this.store = store;
    const atEnd = !this.steps || this.step === this.steps.at(-1);
    const scroll = scrollY;
    try {
      const { runs } = await fetchJson("layers");
      if (this.store !== store) return; // the user has selected something else meanwhile
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
      this.controls.draw();
    }
    await nextView();
  }

  tell(problem) {
    this.problem.hidden = problem === null;
    this.problem.textContent = problem ?? "";
  }

  chooseRuns() {
    const names = this.runNames();
    if (!names.includes(this.run))
      this.run = names.find((name) => name.endsWith("train")) ?? names[0];
    if (!names.includes(this.other) || this.other === this.run) this.other = "";
    this.runs = [this.run, this.other].filter(Boolean);
  }

  /** Fetches the series of all layers; a layer's others follow when it comes into view. */
  async fetchAll() {
    const [balance, health, watched, importance] = await Promise.all([
      this.seriesOfAll("balance"),
      this.seriesOfAll("health"),
      this.seriesOfAll("watched"),
      this.groups().length ? this.seriesOfAll("importance") : new Map(),
    ]);
    return { balance, health, watched, importance };
  }

  async seriesOfAll(kind) {
    const runs = this.runs.filter((run) =>
      this.layersOf(run).some((layer) => layer.kinds.includes(kind)),
    );
    const answers = await Promise.all(runs.map((run) => this.store.series(run, kind)));
    return new Map(runs.map((run, i) => [run, answers[i]]));
  }

  /** Sets the slider's steps: all of those series, and the last of each layer. */
  chooseSteps() {
    const fetched = [...this.balance.values(), ...this.health.values()];
    const steps = fetched.flatMap((layers) => Object.values(layers).map((series) => series.steps));
    const last = this.runs.flatMap((run) => this.layersOf(run).map((layer) => layer.last));
    this.steps = mergeSteps([...steps, last]);
    this.domain = this.steps.length ? [windowStarts(this.steps)[0], this.steps.at(-1)] : [0, 1];
  }

  runNames() {
    return Object.keys(this.layers);
  }

  layersOf(run) {
    return this.layers[run] ?? [];
  }

  layerOf(run, name) {
    return this.layersOf(run).find((layer) => layer.layer === name);
  }

  /** The run's name where two are compared, else `null`. */
  comparedRun(run) {
    return this.runs.length > 1 ? run : null;
  }

  /** Returns the name and the layers of each multi-task mixing layer. */
  groups() {
    const layers = this.layersOf(this.run).filter(({ group }) => group);
    const names = [...new Set(layers.map(({ group }) => group))];
    return names.map((name) => [name, layers.filter(({ group }) => group === name)]);
  }

  draw() {
    this.observer.disconnect();
    this.controls.draw();
    if (this.runs.length === 0) {
      this.sections = [];
      this.parts = [];
      this.content.replaceChildren(emptyState());
      return;
    }
    const layers = this.layersOf(this.run);
    this.sections = layers.map((layer) => new LayerSection(this, layer, this.memory(layer.layer)));
    const onlyGates = layers.every((layer) => layer.group);
    this.overview = this.newOverview(onlyGates ? "importance_cv" : "dropped_fraction");
    this.parts = [new Health(this), this.overview, new TaskTables(this)];
    const elements = [...this.parts, ...this.sections].map((part) => part.element);
    this.content.replaceChildren(...elements, this.noMatch);
    this.overview.fill();
    this.filter();
    this.move();
    for (const section of this.sections) this.observer.observe(section.element);
  }

  newOverview(usualMeasure) {
    return new Overview(this, this.measure ?? usualMeasure, (measure) =>
      this.changeMeasure(measure),
    );
  }

  changeMeasure(measure) {
    this.measure = measure;
    const before = this.overview;
    this.overview = this.newOverview();
    before.element.replaceWith(this.overview.element);
    this.parts = this.parts.map((part) => (part === before ? this.overview : part));
    this.overview.fill();
    this.overview.move(this.step);
    document.getElementById("overview-measure").focus();
  }

  memory(layer) {
    if (!this.memories.has(layer)) this.memories.set(layer, {});
    return this.memories.get(layer);
  }

  reload(selection = {}) {
    Object.assign(this, selection);
    const focused = document.activeElement?.id;
    return work.on(this.load().then(() => focused && document.getElementById(focused)?.focus()));
  }

  /** Draws everything in the colors of the theme. */
  redraw() {
    if (!this.runs) return;
    this.draw();
    work.on(nextView());
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

  /** Shows the step everywhere; sections out of view follow when they come into view. */
  move() {
    const index = indexAt(this.steps, this.step);
    this.step = this.steps[index];
    this.controls.showStep(index, this.steps);
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
    const { words } = this.controls;
    const matches = ({ layer, group }) => `${layer} ${group ?? ""}`.toLowerCase().includes(words);
    for (const section of this.sections) section.element.hidden = !matches(section.layer);
    this.noMatch.hidden = this.sections.some((section) => !section.element.hidden);
  }

  jump(name) {
    const section = this.sections.find(({ layer }) => layer.layer === name);
    if (!section) return;
    section.element.hidden = false;
    section.title.focus({ preventScroll: true });
    work.on(this.scrollTo(section));
  }

  /** Scrolls twice, since sections that fill meanwhile move the others. */
  async scrollTo(section) {
    section.element.scrollIntoView();
    await nextView();
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
    text("Train a model with MoE layers and add the callback that records its routing:"),
    code(HOW_TO),
    text("Start TensorBoard with the same folder:"),
    code("tensorboard --logdir logs"),
    text("Then click Reload. TensorBoard looks for new data every few seconds."),
  );
}
