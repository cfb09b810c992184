// What was asked of each expert, and what of it was computed.

import { formatCount, formatPercent } from "./format.js";
import { sum } from "./numbers.js";

/** `{asked, computed}` of each expert; of `load` and `demand` one may be `null`. */
export function assignmentsOf(load, demand) {
  return (demand ?? load ?? []).map((asked, expert) => ({
    asked: asked ?? 0,
    computed: load === null ? (asked ?? 0) : (load[expert] ?? 0),
  }));
}

export function totalsOf(experts) {
  return {
    asked: sum(experts.map(({ asked }) => asked)),
    computed: sum(experts.map(({ computed }) => computed)),
  };
}

export function describeTotals({ asked, computed }, step) {
  const dropped = formatPercent(asked ? (asked - computed) / asked : 0);
  return (
    `step ${formatCount(step)}: ${formatCount(asked)} choices asked, ` +
    `${formatCount(computed)} computed, ${dropped} dropped`
  );
}

/** `mean`: what an expert is asked for when all are asked equally. */
export function describeExpert(expert, { asked, computed }, mean) {
  const lost = asked - computed;
  const dropped = lost > 0 ? `, ${formatCount(lost)} dropped (${formatPercent(lost / asked)})` : "";
  const ratio = mean ? (asked / mean).toFixed(2) : "0.00";
  return (
    `expert ${expert}: ${formatCount(asked)} asked (${ratio} × uniform), ` +
    `${formatCount(computed)} computed${dropped}`
  );
}
