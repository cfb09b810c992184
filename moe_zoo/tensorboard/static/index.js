// The page of the "MoE Routing" tab.

import { make } from "./elements.js";
import { Page } from "./page.js";
import { applyTheme, followTheme } from "./theme.js";
import { work } from "./work.js";

const STYLES = ["colors.css", "page.css", "charts.css", "examples.css"];

/** TensorBoard calls this when the user opens the tab. */
export async function render() {
  document.documentElement.lang = "en";
  await work.on(start());
}

async function start() {
  await Promise.all(STYLES.map(addStyle));
  applyTheme();
  const page = new Page();
  followTheme(() => page.redraw());
  await page.load();
}

function addStyle(name) {
  const link = make("link", { rel: "stylesheet", href: new URL(name, import.meta.url) });
  document.head.append(link);
  return new Promise((resolve) => {
    link.onload = resolve;
    link.onerror = resolve;
  });
}
