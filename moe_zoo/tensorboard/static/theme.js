// The light and the dark theme.

const KEY = "moe-routing-theme";

export const THEMES = ["auto", "light", "dark"];

/** Returns a color of the theme; `name` is that of its variable in `colors.css`. */
export function themeColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Returns the user's choice; "auto" where the browser keeps nothing for the frame. */
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
    // The browser cannot keep the choice.
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

/** TensorBoard has a dark mode of its own, and sends no message about it. */
function prefersDark() {
  return (
    tensorboardBody()?.classList.contains("dark-mode") ??
    matchMedia("(prefers-color-scheme: dark)").matches
  );
}

/** Returns TensorBoard's body; `null` if the page has no frame or one of another origin. */
function tensorboardBody() {
  try {
    return parent === window ? null : parent.document.body;
  } catch {
    return null;
  }
}
