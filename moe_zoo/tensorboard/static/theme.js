// The light and the dark theme.

const KEY = "moe-routing-theme";

export const THEMES = ["auto", "light", "dark"];

/** A color of the theme, by the name of its variable in `colors.css`. */
export function themeColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The user's choice; "auto" in a browser that keeps nothing for the frame. */
export function chosenTheme() {
  try {
    return localStorage.getItem(KEY) ?? "auto";
  } catch {
    return "auto";
  }
}

export function chooseTheme(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Then the choice cannot be kept.
  }
  applyTheme(name);
}

export function applyTheme(chosen = chosenTheme()) {
  const dark = chosen === "dark" || (chosen === "auto" && prefersDark());
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

/** Calls `redraw` when the theme changes while the user's choice is "auto". */
export function followTheme(redraw) {
  const follow = () => {
    const before = document.documentElement.dataset.theme;
    applyTheme();
    if (document.documentElement.dataset.theme !== before) redraw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
  const body = tensorboardBody();
  if (body) new MutationObserver(follow).observe(body, { attributeFilter: ["class"] });
}

/** TensorBoard has a dark mode of its own; no message tells the frame of it. */
function prefersDark() {
  return (
    tensorboardBody()?.classList.contains("dark-mode") ??
    matchMedia("(prefers-color-scheme: dark)").matches
  );
}

/** The body around this frame; `null` without one, or in a notebook, which has another origin. */
function tensorboardBody() {
  try {
    return parent === window ? null : parent.document.body;
  } catch {
    return null;
  }
}
