// What the charts show.

import { formatCount, formatDecimal, formatShortPercent } from "./format.js";

/** The heat maps of a layer. `share`: whether it is shown as a multiple of the uniform share. */
export const MEASURES = {
  load: { name: "load", label: "load (computed choices)", share: true },
  demand: { name: "demand", label: "demand (requested choices)", share: true },
  importance: { name: "importance", label: "importance (sum of gates)", share: true },
  gate_mean: { name: "mean gate", label: "mean gate", share: false },
};

/** The numbers of a `balance` vector. `forGate`: whether one applies to the gate of a task. */
export const BALANCE = {
  dropped_fraction: {
    index: 0,
    name: "dropped fraction",
    forGate: false,
    show: formatShortPercent,
  },
  load_cv: { index: 1, name: "load CV", forGate: false, show: formatDecimal },
  importance_cv: { index: 2, name: "importance CV", forGate: true, show: formatDecimal },
  entropy: { index: 3, name: "entropy", forGate: true, show: formatDecimal },
  dead_experts: { index: 4, name: "dead experts", forGate: false, show: formatCount },
};

/** The same numbers for the overview: normalized, the entropies of all layers compare. */
export const OVERVIEW = {
  ...BALANCE,
  entropy: { ...BALANCE.entropy, name: "normalized entropy", show: formatShortPercent },
};
