// Tokens of example texts and buttons of experts, in the experts' colors.

import { expertColors } from "./colors.js";
import { make } from "./elements.js";
import { plural, visibleText } from "./format.js";
import { describeToken } from "./token_texts.js";

export function expertButton(expert, tokens) {
  const label = `Expert ${expert}: ${plural(tokens, "token")}`;
  const button = make("button", {
    type: "button",
    textContent: expert,
    title: label,
    dataset: { expert },
    aria: { label },
  });
  paintExpert(button, expert);
  return button;
}

/** Returns a token with the numbers of its experts, in the color of the first one. */
export function tokenOf([text, choices]) {
  const token = make("span", {
    className: "token",
    textContent: visibleText(text),
    tabIndex: -1,
    dataset: { experts: choices.map((choice) => choice[0]).join(" ") },
    aria: { label: describeToken([text, choices]), role: "button" },
  });
  if (choices.length === 0) token.classList.add("unrouted");
  else {
    if (!choices.some((choice) => choice[2])) token.classList.add("dropped");
    token.dataset.expert = choices[0][0];
    paintExpert(token, choices[0][0]);
    token.append(make("sub", {}, ...choices.flatMap(expertNumber)));
  }
  return token;
}

function expertNumber([expert, , kept], place) {
  const number = make("span", {
    textContent: expert,
    dataset: { expert },
    className: kept ? "" : "lost",
  });
  return place ? [" ", number] : [number];
}

function paintExpert(element, expert) {
  const [background, color] = expertColors(expert);
  Object.assign(element.style, { background, color });
}
