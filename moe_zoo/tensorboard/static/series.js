// Series over steps: `{steps, values}`, with the steps in ascending order.

/** Returns the index of the last step at or before `step`; -1 before the first. */
export function indexAt(steps, step) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export function valueAt(series, step) {
  return series?.values[indexAt(series.steps, step)] ?? null;
}

/** Returns the start of each value's window: a value covers the steps since the one before it. */
export function windowStarts(steps) {
  const gaps = steps
    .slice(1)
    .map((step, i) => step - steps[i])
    .sort((a, b) => a - b);
  const first = steps[0] - (gaps[gaps.length >> 1] ?? Math.max(steps[0], 1));
  return [first, ...steps.slice(0, -1)];
}

export function mergeSteps(lists) {
  return [...new Set(lists.flat())].sort((a, b) => a - b);
}
