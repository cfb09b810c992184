// The routing of example texts: tokens `[text, choices]` with choices `[expert, gate, kept]`.

import { visibleText } from "./format.js";

/** The texts of an example summary, or `null` if they are not laid out as expected. */
export function readTexts(json) {
  try {
    const { texts } = JSON.parse(json);
    const isChoice = (choice) => Number.isInteger(choice[0]) && Number.isFinite(choice[1]);
    const isToken = ([text, choices]) => typeof text === "string" && choices.every(isChoice);
    return texts.every((tokens) => tokens.every(isToken)) ? texts : null;
  } catch {
    return null;
  }
}

/** `[expert, number of tokens]` of each expert that a token chose, in ascending order. */
export function tokensByExpert(texts) {
  const counts = new Map();
  for (const [, choices] of texts.flat()) {
    for (const expert of new Set(choices.map((choice) => choice[0]))) {
      counts.set(expert, (counts.get(expert) ?? 0) + 1);
    }
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/** The token and, line by line, its experts and gates. */
export function describeToken([text, choices]) {
  const lines = choices.map(
    ([expert, gate, kept]) => `expert ${expert}, gate ${gate.toFixed(3)}${kept ? "" : ", dropped"}`,
  );
  return `${visibleText(text)}\n${lines.join("\n") || "no expert was asked"}`;
}
