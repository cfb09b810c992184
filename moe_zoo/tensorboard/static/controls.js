// The controls at the top of the page.

import { choose, labeled, make } from "./elements.js";
import { formatCount } from "./format.js";
import { chooseTheme, chosenTheme, THEMES } from "./theme.js";

export class Controls {
  constructor(page) {
    this.page = page;
    this.toolbar = make("div");
    this.find = make("input", { id: "filter", type: "search", placeholder: "part of a name" });
    this.find.addEventListener("input", () => page.filter());
    this.slider = make("input", { id: "step", type: "range", min: 0, max: 0, value: 0 });
    this.slider.addEventListener("input", () => page.goTo(page.steps[this.slider.value]));
    this.stepName = make("output", { id: "step-name" });
    this.stepRow = make("div", { id: "steps" }, labeled("Step ", this.slider), this.stepName);
    this.element = make("header", { id: "controls" }, this.toolbar, this.stepRow);
  }

  /** The text that a layer's name must contain, in lower case. */
  get words() {
    return this.find.value.trim().toLowerCase();
  }

  draw() {
    const { page } = this;
    const isEmpty = page.runNames().length === 0;
    const reload = make("button", { id: "reload", type: "button", textContent: "Reload" });
    reload.addEventListener("click", () => page.reload());
    const themes = THEMES.map((name) => [name, name]);
    const theme = labeled(
      "Theme ",
      choose("theme", themes, chosenTheme(), (name) => {
        chooseTheme(name);
        page.redraw();
      }),
    );
    theme.className = "push";
    const title = make("h1", { textContent: "MoE routing" });
    this.toolbar.replaceChildren(title, ...(isEmpty ? [] : this.selection()), theme, reload);
    this.stepRow.hidden = isEmpty;
  }

  selection() {
    const { page } = this;
    const names = page.runNames();
    const others = names.filter((name) => name !== page.run);
    const optionsOf = (runs) => runs.map((run) => [run, run]);
    const layers = page.layersOf(page.run).map(({ layer }) => [layer, layer]);
    const run = choose("run", optionsOf(names), page.run, (run) => page.reload({ run }));
    const other = choose("compare", [["", "–"], ...optionsOf(others)], page.other, (other) =>
      page.reload({ other }),
    );
    const jump = choose("jump", [["", "layer…"], ...layers], "", (layer) => {
      jump.value = "";
      page.jump(layer);
    });
    return [
      labeled("Run ", run),
      labeled("Compare with ", other),
      labeled("Filter layers ", this.find),
      labeled("Go to ", jump),
    ];
  }

  showStep(index, steps) {
    const step = formatCount(steps[index]);
    this.slider.max = steps.length - 1;
    this.slider.value = index;
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    this.stepName.textContent = `${step} (${formatCount(index + 1)} of ${formatCount(steps.length)})`;
  }
}
