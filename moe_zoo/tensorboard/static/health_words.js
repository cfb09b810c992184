// The health of the layers in words. A report is `{layer, wrong, watched}`: the sentences of what
// is wrong, `null` before the first report, and what is over a bound but has not lasted yet.

import { formatCount, plural } from "./format.js";

/** The class, the symbol and the words of one layer. */
export function describeLayer({ wrong, watched }) {
  if (wrong?.length) return ["alarm", "!", plural(wrong.length, "finding")];
  if (watched.length) return ["watch", "…", `watching: ${watched.join("; ")}`];
  if (wrong === null) return ["", "–", "no report"];
  return ["good", "✓", "healthy"];
}

/** The same of all layers at a step. */
export function describeLayers(reports, step) {
  const at = `at step ${formatCount(step)}`;
  const layers = plural(reports.length, "layer");
  const ill = reports.filter(({ wrong }) => wrong?.length);
  if (ill.length) {
    const [{ layer, wrong }] = ill;
    const verb = ill.length === 1 ? "needs" : "need";
    const words = `${ill.length} of ${layers} ${verb} attention ${at}: ${layer}: ${wrong[0]}`;
    return ["alarm", "!", words];
  }
  const watching = reports.filter(({ watched }) => watched.length);
  if (watching.length) {
    const [{ layer, watched }] = watching;
    return [
      "watch",
      "…",
      `watching ${watching.length} of ${layers} ${at}: ${layer}: ${watched[0]}`,
    ];
  }
  const known = reports.filter(({ wrong }) => wrong !== null).length;
  if (known === 0) {
    return ["", "–", "No health reports up to this step; they are written in training"];
  }
  const subject = known === 1 ? "The layer is" : `All ${known} layers are`;
  return ["good", "✓", `${subject} healthy ${at}`];
}

/** `[layer, sentence]` of everything that was said. */
export function findingsOf(reports) {
  return reports.flatMap(({ layer, wrong, watched }) => [
    ...(wrong ?? []).map((sentence) => [layer, sentence]),
    ...watched.map((words) => [layer, `watching: ${words}`]),
  ]);
}
