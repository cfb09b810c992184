// The routing of example texts: tokens `[text, choices]` with choices `[expert, gate, kept]`.

import { visibleText } from "./format.js";

/** Reads the texts of an example summary; returns `null` if they have another layout. */
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

/** Returns `[expert, number of tokens]` of each chosen expert, in ascending order. */
export function tokensByExpert(texts) {
  const counts = new Map();
  for (const [, choices] of texts.flat()) {
    for (const expert of new Set(choices.map((choice) => choice[0]))) {
      counts.set(expert, (counts.get(expert) ?? 0) + 1);
    }
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/** Returns the token's text, then a line for each of its experts. */
export function describeToken([text, choices]) {
  const lines = choices.map(
    ([expert, gate, kept]) => `expert ${expert}, gate ${gate.toFixed(3)}${kept ? "" : ", dropped"}`,
  );
  return `${visibleText(text)}\n${lines.join("\n") || "no expert chosen"}`;
}
