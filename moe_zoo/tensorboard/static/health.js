// The layers that need attention at a step, in words.

import { make, runLabel } from "./elements.js";
import { plural } from "./format.js";
import { describeLayer, describeLayers, findingsOf } from "./health_words.js";
import { valueAt } from "./series.js";

export class Health {
  constructor(page) {
    this.page = page;
    this.element = make("div", { id: "health", aria: { role: "region", label: "Health" } });
  }

  move(step) {
    // The list stays open or closed as the user left it.
    const open = this.element.querySelector("details")?.open ?? null;
    this.element.replaceChildren(...this.page.runs.map((run) => this.report(run, step, open)));
  }

  report(run, step, open) {
    const reports = this.page.layersOf(run).map(({ layer }) => ({
      layer,
      wrong: valueAt(this.page.health.get(run)?.[layer], step),
      watched: valueAt(this.page.watched.get(run)?.[layer], step) ?? [],
    }));
    const [className, symbol, words] = describeLayers(reports, step);
    const sign = make("span", { className: "symbol", textContent: symbol, aria: { hidden: true } });
    const name = runLabel(this.page.comparedRun(run));
    const findings = findingsOf(reports);
    return make(
      "div",
      { dataset: { run } },
      make("p", { className: `verdict ${className}` }, name, sign, ` ${words}`),
      make("div", { className: "chips" }, ...reports.map((report) => this.chip(report))),
      findings.length > 1 ? listOf(findings, open) : null,
    );
  }

  chip(report) {
    const { layer } = report;
    const [className, symbol, words] = describeLayer(report);
    const button = make(
      "button",
      {
        type: "button",
        className,
        title: words,
        dataset: { layer },
        aria: { label: `${layer}: ${words}` },
      },
      make("span", { className: "symbol", textContent: symbol }),
      ` ${layer}`,
    );
    button.addEventListener("click", () => this.page.jump(layer));
    return button;
  }
}

function listOf(findings, open) {
  const items = findings.map(([layer, sentence]) =>
    make("li", {}, make("b", { textContent: `${layer}: ` }), sentence),
  );
  const summary = make("summary", { textContent: plural(items.length, "finding") });
  return make("details", { open: open ?? items.length <= 5 }, summary, make("ul", {}, ...items));
}
