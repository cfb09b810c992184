// The data of the server.

export async function fetchJson(route, parameters = {}) {
  let answer;
  try {
    answer = await fetch(`./${route}?${new URLSearchParams(parameters)}`);
  } catch {
    throw new Error("TensorBoard is not responding. Click Reload when it is running again.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  throw new Error(
    content.error ?? `TensorBoard returned status ${answer.status}. Click Reload to try again.`,
  );
}

/** The server's series; each is fetched once. */
export class Store {
  constructor() {
    this.answers = new Map();
    this.points = new Map();
  }

  /** Returns `{layer: {steps, values}}` of one layer, or of all layers that have the kind. */
  series(run, kind, layer = null) {
    const all = this.answers.get(JSON.stringify({ run, kind }));
    if (all) return all;
    const parameters = layer === null ? { run, kind } : { run, kind, layer };
    const key = JSON.stringify(parameters);
    if (!this.answers.has(key)) {
      const answer = fetchJson("series", parameters);
      answer.catch(() => this.answers.delete(key));
      this.answers.set(key, answer);
    }
    return this.answers.get(key);
  }

  /** Returns the value at a step, `{step, value, until}`: for kinds too large to fetch in full. */
  async at(run, kind, layer, step) {
    const key = JSON.stringify([run, kind, layer]);
    if (!this.points.has(key)) this.points.set(key, []);
    const known = this.points.get(key);
    const held = known.find((point) => point.step <= step && step < point.until);
    if (held) return held;
    const answer = (await fetchJson("series", { run, kind, layer, at: step }))[layer];
    const point = {
      step: answer.steps[0] ?? -Infinity,
      value: answer.values[0] ?? null,
      until: answer.until ?? Infinity,
    };
    known.push(point);
    return point;
  }
}
