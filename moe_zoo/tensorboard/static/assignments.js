// The choices that requested each expert, and the part of them that it computed.

import { formatCount, formatPercent } from "./format.js";
import { sum } from "./numbers.js";

/** Returns `{requested, computed}` of each expert; `load` or `demand` may be `null`. */
export function assignmentsOf(load, demand) {
  return (demand ?? load ?? []).map((requested, expert) => ({
    requested: requested ?? 0,
    computed: load === null ? (requested ?? 0) : (load[expert] ?? 0),
  }));
}

export function totalsOf(experts) {
  return {
    requested: sum(experts.map(({ requested }) => requested)),
    computed: sum(experts.map(({ computed }) => computed)),
  };
}

export function describeTotals({ requested, computed }, step) {
  const dropped = formatPercent(requested ? (requested - computed) / requested : 0);
  return (
    `step ${formatCount(step)}: ${formatCount(requested)} choices requested, ` +
    `${formatCount(computed)} computed, ${dropped} dropped`
  );
}

/** `mean`: the requested choices of an expert under a uniform demand. */
export function describeExpert(expert, { requested, computed }, mean) {
  const lost = requested - computed;
  const dropped =
    lost > 0 ? `, ${formatCount(lost)} dropped (${formatPercent(lost / requested)})` : "";
  const ratio = mean ? (requested / mean).toFixed(2) : "0.00";
  return (
    `expert ${expert}: ${formatCount(requested)} requested (${ratio}× uniform), ` +
    `${formatCount(computed)} computed${dropped}`
  );
}
