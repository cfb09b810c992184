// Numbers and texts as the page shows them.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function formatCount(value) {
  return GROUPED.format(value);
}

export function formatPercent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/** Formats as `formatPercent` does, without a trailing zero. */
export function formatShortPercent(share) {
  return `${Number((100 * share).toFixed(1))}%`;
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

/** Returns a token's text on one line, with its whitespace visible. */
export function visibleText(text) {
  return text
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replaceAll(" ", "␣")
    .replace(/(?![\u00ad\u200c\u200d])\p{C}/gu, "\ufffd"); // they join letters and emoji
}

/** Tells the step of a value that is recorded less often than others. */
export function describeSpan(from, until) {
  if (from > -Infinity) return `Recorded at step ${formatCount(from)}.`;
  return until < Infinity
    ? `No data yet at this step. The first is from step ${formatCount(until)}.`
    : "No data.";
}
