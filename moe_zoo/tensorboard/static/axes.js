// Axes of charts, which place cells and ticks between 0 and 1.
// `edges(cell)` returns both ends of a cell; `ticks(room, size)` fits texts of `size` into `room`.

import { formatCount } from "./format.js";
import { roundTicks, roundUp } from "./numbers.js";
import { indexAt, windowStarts } from "./series.js";

const BAND_STRIDES = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 512];

/** Returns an axis of equal bands, one for each name. */
export function bandAxis(title, names) {
  return {
    title,
    length: names.length,
    edges: (band) => [band / names.length, (band + 1) / names.length],
    cell: (place) => Math.min(Math.floor(place * names.length), names.length - 1),
    ticks(room, size) {
      const fits = (stride) => (room / names.length) * stride >= size;
      const stride = BAND_STRIDES.find(fits) ?? names.length;
      return names
        .map((text, band) => ({ text, at: (band + 0.5) / names.length }))
        .filter((_, band) => band % stride === 0);
    },
  };
}

export function expertNames(experts) {
  return Array.from({ length: experts }, (_, expert) => String(expert));
}

export function expertAxis(experts, title = "expert") {
  return bandAxis(title, expertNames(experts));
}

/** Returns an axis of steps; the cell of a step reaches back to the step before it. */
export function stepAxis(steps, [from, to]) {
  const starts = windowStarts(steps);
  const place = (step) => (step - from) / (to - from);
  return {
    title: "step",
    length: steps.length,
    edges: (cell) => [Math.max(place(starts[cell]), 0), place(steps[cell])],
    cell(at) {
      const step = from + at * (to - from);
      const last = indexAt(steps, step);
      const cell = steps[last] === step ? last : last + 1;
      return cell < steps.length && step >= starts[cell] ? cell : null;
    },
    ticks: (room, size) =>
      roundTicks(Math.max(from, 0), to, room / (6 * size))
        .filter(Number.isInteger)
        .map((step) => ({ text: formatCount(step), at: place(step) })),
  };
}

/** Returns an axis of numbers from 0 upward, without cells. */
export function valueAxis(title, most, show) {
  const end = roundUp(most || 1);
  return {
    title,
    end,
    ticks: (room, size) =>
      roundTicks(0, end, room / (2 * size)).map((value) => ({
        text: show(value),
        at: 1 - value / end,
      })),
  };
}
