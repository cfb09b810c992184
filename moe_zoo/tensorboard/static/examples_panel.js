// Example texts: each token is colored by its expert.

import { headingOf, make } from "./elements.js";
import { describeSpan, formatCount } from "./format.js";
import { clamp } from "./numbers.js";
import { readTexts, tokensByExpert } from "./token_texts.js";
import { expertButton, tokenOf } from "./tokens.js";

const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 };

export class ExamplesPanel {
  /** `read(step)` fetches the value at a step; `memory` has the expert that the user chose. */
  constructor({ run, comparedRun, read, memory }) {
    Object.assign(this, { read, memory });
    this.remark = make("span", { className: "remark" });
    this.buttons = make("div", {
      className: "experts",
      aria: { role: "group", label: "Highlight the tokens of an expert" },
    });
    this.texts = make("div", { className: "texts" });
    this.tip = make("div", { className: "tip", hidden: true, aria: { live: "polite" } });
    this.element = make(
      "div",
      { className: "examples", dataset: { chart: "examples", run } },
      make("header", {}, headingOf("Examples", comparedRun), this.remark),
      this.buttons,
      this.texts,
    );
    this.listen();
  }

  async move(step) {
    this.step = step;
    const { step: from, value, until } = await this.read(step);
    if (step !== this.step || value === this.shown) return;
    this.shown = value;
    const texts = value === null ? [] : readTexts(value);
    const hint = texts?.length
      ? " Click an expert to highlight its tokens. Hover over a token or focus it to see its gates."
      : "";
    this.remark.textContent =
      texts === null
        ? `The examples of step ${formatCount(from)} cannot be read.`
        : describeSpan(from, until) + hint;
    this.fill(texts ?? []);
  }

  fill(texts) {
    this.buttons.replaceChildren(
      ...tokensByExpert(texts).map(([expert, tokens]) => expertButton(expert, tokens)),
    );
    this.texts.hidden = texts.length === 0;
    this.texts.replaceChildren(
      ...texts.map((tokens) => make("p", { className: "text" }, ...tokens.map(tokenOf))),
      this.tip,
    );
    // The Tab key stops once for all tokens; the arrow keys move between them.
    const first = this.texts.querySelector(".token");
    if (first) first.tabIndex = 0;
    this.filter();
  }

  listen() {
    this.buttons.addEventListener("click", (event) => this.choose(event.target.closest("button")));
    this.texts.addEventListener("click", (event) =>
      this.choose(event.target.closest("[data-expert]")),
    );
    this.texts.addEventListener("keydown", (event) => this.press(event));
    for (const name of ["pointerover", "focusin"]) {
      this.texts.addEventListener(name, (event) => this.explain(event.target.closest(".token")));
    }
    for (const name of ["pointerleave", "focusout"]) {
      this.texts.addEventListener(name, () => this.explain(null));
    }
  }

  choose(element) {
    if (!element) return;
    const expert = Number(element.dataset.expert);
    this.memory.expert = this.memory.expert === expert ? null : expert;
    this.memory.refresh();
  }

  /** Fades the tokens of all experts but the chosen one. */
  filter() {
    const expert = this.memory.expert ?? null;
    this.texts.classList.toggle("filtered", expert !== null);
    for (const button of this.buttons.children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.expert) === expert));
    }
    for (const token of this.texts.querySelectorAll(".token")) {
      token.classList.toggle("chosen", token.dataset.experts.split(" ").includes(String(expert)));
    }
  }

  press(event) {
    const tokens = [...this.texts.querySelectorAll(".token")];
    const place = tokens.indexOf(document.activeElement);
    if (event.key === "Enter" || event.key === " ")
      this.choose(tokens[place]?.querySelector("[data-expert]"));
    else if (event.key in MOVES) {
      const next = tokens[clamp(place + MOVES[event.key], 0, tokens.length - 1)];
      tokens[place].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else return;
    event.preventDefault();
  }

  explain(token) {
    this.tip.hidden = !token;
    if (!token) return;
    this.tip.textContent = token.getAttribute("aria-label");
    this.tip.style.top = `${token.offsetTop + token.offsetHeight + 4}px`;
    const room = this.texts.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(Math.min(token.offsetLeft, room), 4)}px`;
  }
}
