// Legends of charts, and the hatching that marks zeros and dropped choices.

import { VIRIDIS } from "./colors.js";
import { make } from "./elements.js";
import { formatPercent } from "./format.js";
import { themeColor } from "./theme.js";

/** Returns the color ramp of a scale with its ticks. */
export function legendOf(scale) {
  const stops = VIRIDIS.map((parts) => `rgb(${parts})`).join(",");
  const colors = make("div", { className: "colors" });
  colors.style.background = `linear-gradient(90deg, ${stops})`;
  const ticks = make("div", { className: "ticks" });
  for (const [value, text] of scale.ticks) {
    const tick = make("span", { textContent: text });
    tick.className = value === scale.reference ? "reference" : "";
    tick.style.left = formatPercent(scale.fraction(value));
    ticks.append(tick);
  }
  return make(
    "div",
    { className: "legend" },
    make("span", { textContent: scale.title }),
    make("div", { className: "ramp" }, colors, ticks),
    scale.zero && keyOf(hatchedSwatch(), scale.zero),
    scale.none && keyOf(swatch(themeColor("missing")), scale.none),
  );
}

export function keyOf(sign, text) {
  return make("span", { className: "key" }, sign, text);
}

export function swatch(background) {
  const element = make("span", { className: "swatch" });
  element.style.background = background;
  return element;
}

export function hatchedSwatch() {
  const stripes = `${themeColor("soft")} 0 1px, ${themeColor("page")} 1px 4px`;
  return swatch(`repeating-linear-gradient(135deg, ${stripes})`);
}

/** Returns the same hatching as a canvas pattern. */
export function hatching(context) {
  const tile = make("canvas", { width: 6, height: 6 });
  const pen = tile.getContext("2d");
  pen.fillStyle = themeColor("page");
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = themeColor("soft");
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift - 1, 7);
    pen.lineTo(shift + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
