// The health of layers in words. A report is `{layer, wrong, watched}`: `wrong` has the findings,
// or is `null` before the first report; `watched` has what exceeds a bound but has not lasted yet.

import { formatCount, plural } from "./format.js";

/** Returns the class, the symbol and the words for a layer. */
export function describeLayer({ wrong, watched }) {
  if (wrong?.length) return ["alarm", "!", plural(wrong.length, "finding")];
  if (watched.length) return ["watch", "…", `watching: ${watched.join("; ")}`];
  if (wrong === null) return ["", "–", "no report"];
  return ["good", "✓", "healthy"];
}

/** Returns the same for all layers at a step. */
export function describeLayers(reports, step) {
  const at = `at step ${formatCount(step)}`;
  const layers = plural(reports.length, "layer");
  const ill = reports.filter(({ wrong }) => wrong?.length);
  if (ill.length) {
    const [{ layer, wrong }] = ill;
    const verb = ill.length === 1 ? "needs" : "need";
    const words = `${ill.length} of ${layers} ${verb} attention ${at}. ${layer}: ${wrong[0]}`;
    return ["alarm", "!", words];
  }
  const watching = reports.filter(({ watched }) => watched.length);
  if (watching.length) {
    const [{ layer, watched }] = watching;
    return [
      "watch",
      "…",
      `Watching ${watching.length} of ${layers} ${at}. ${layer}: ${watched[0]}`,
    ];
  }
  const known = reports.filter(({ wrong }) => wrong !== null).length;
  if (known === 0) {
    return ["", "–", "No health report yet at this step; reports are recorded during training"];
  }
  const subject = known === 1 ? "The layer is" : `All ${known} layers are`;
  return ["good", "✓", `${subject} healthy ${at}`];
}

/** Returns `[layer, sentence]` of everything that is wrong or watched. */
export function findingsOf(reports) {
  return reports.flatMap(({ layer, wrong, watched }) => [
    ...(wrong ?? []).map((sentence) => [layer, sentence]),
    ...watched.map((words) => [layer, `watching: ${words}`]),
  ]);
}
