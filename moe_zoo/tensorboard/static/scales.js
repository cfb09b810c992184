// Scales of heat maps: from a value to its place on the color ramp, between 0 and 1.

import { roundUp } from "./numbers.js";

/** Multiples of the uniform share: 1 is in the middle, so all layers and runs share one scale. */
export const SHARE_SCALE = {
  title: "× uniform share",
  fraction: (ratio) => ratio / (1 + ratio),
  ticks: [
    [0, "0"],
    [0.25, "¼"],
    [0.5, "½"],
    [1, "1.0"],
    [2, "2"],
    [4, "4"],
    [10, "10"],
  ],
  reference: 1,
  zero: "zero",
};

/** From 0 to a round number above `most`. `zero` names what is hatched, if anything is. */
export function linearScale(title, most, show, zero = null) {
  const end = roundUp(most || 1);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => [part * end, show(part * end)]);
  return { title, fraction: (value) => value / end, ticks, zero };
}
