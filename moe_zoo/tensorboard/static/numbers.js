// Arithmetic of the charts.

export function sum(values) {
  return values.reduce((total, value) => total + (value ?? 0), 0);
}

/** Returns the highest value of all rows, at least 0; a value may be `null`. */
export function highest(rows) {
  let most = 0;
  for (const row of rows) for (const value of row) if (value > most) most = value;
  return most;
}

export function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** Returns a number at or above `value` whose quarters and fifths are round. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 8, 10].find((digit) => digit * power >= value * (1 - 1e-9)) * power;
}

/** Returns round numbers from `from` to `to`, with at most `most` intervals between them. */
export function roundTicks(from, to, most) {
  const raw = (to - from) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const distance = [1, 2, 5, 10].find((digit) => digit * power >= raw * (1 - 1e-9)) * power;
  const ticks = [];
  for (let n = Math.ceil(from / distance - 1e-9); n * distance <= to * (1 + 1e-9); n++) {
    ticks.push(n * distance + 0); // not -0
  }
  return ticks;
}
