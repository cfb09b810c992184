// Colors of heat maps and experts.

import { clamp } from "./numbers.js";

export const VIRIDIS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 73, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];

// Okabe and Ito's palette for the color-blind, and the text color that is legible on each.
const EXPERT_COLORS = [
  ["#e69f00", "#000"],
  ["#56b4e9", "#000"],
  ["#009e73", "#000"],
  ["#f0e442", "#000"],
  ["#0072b2", "#fff"],
  ["#d55e00", "#000"],
  ["#cc79a7", "#000"],
  ["#bbbbbb", "#000"],
];

/** Returns `[red, green, blue]` of a place on the ramp, from 0 to 1. */
export function colorAt(fraction) {
  const place = clamp(fraction, 0, 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[low].map((part, i) => part + (place - low) * (VIRIDIS[low + 1][i] - part));
}

/** Returns `[background, text]` of an expert. */
export function expertColors(expert) {
  return EXPERT_COLORS[expert % EXPERT_COLORS.length];
}

/** Returns white or black, whichever has more contrast on a color. */
export function textOn([red, green, blue]) {
  const linear = [red, green, blue].map((part) => (part / 255) ** 2.2);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 ? "#000" : "#fff";
}

/** Returns `[red, green, blue]` of `#rrggbb`. */
export function parseColor(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

/** Returns a color as a pixel of `ImageData`, which is RGBA in little-endian order. */
export function packColor([red, green, blue]) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}
