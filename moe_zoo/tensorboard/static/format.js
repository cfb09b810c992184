// Numbers and texts as the page shows them.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function formatCount(value) {
  return GROUPED.format(value);
}

export function formatPercent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** As `formatPercent`, without a zero behind the point. */
export function formatShortPercent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

export function formatDecimal(value) {
  return value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2);
}

export function capitalize(text) {
  return text[0].toUpperCase() + text.slice(1);
}

export function plural(number, noun) {
  return `${formatCount(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A token's text on one line, with its white space visible. */
export function visibleText(text) {
  return text
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replaceAll(" ", "␣")
    .replace(/(?![\u00ad\u200c\u200d])\p{C}/gu, "\ufffd"); // those join letters and emoji
}

/** From when a value is that is written more rarely than others. */
export function describeSpan(from, until) {
  if (from > -Infinity) return `from step ${formatCount(from)}`;
  return until < Infinity
    ? `Nothing yet at this step: the first are from step ${formatCount(until)}.`
    : "Nothing was written.";
}
