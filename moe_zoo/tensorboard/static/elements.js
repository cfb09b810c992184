// Elements of the page. Text from event files reaches them through `textContent` alone, so that no
// token is markup.

export function make(tag, properties = {}, ...children) {
  const { dataset = {}, aria = {}, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(aria)) {
    element.setAttribute(name === "role" ? name : `aria-${name}`, value);
  }
  element.append(...children.filter((child) => child != null)); // nor undefined
  return element;
}

/** Returns a list of `[value, text]` options. */
export function choose(id, options, chosen, onChange) {
  const select = make("select", { id });
  for (const [value, text] of options) select.append(new Option(text, value));
  select.value = chosen;
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

export function labeled(text, control) {
  return make("label", {}, text, control);
}

/** Returns the label of a run where two runs are compared; `null` where there is one. */
export function runLabel(run) {
  return run && make("span", { className: "run", textContent: `${run} · ` });
}

export function headingOf(title, comparedRun) {
  return make("h3", {}, runLabel(comparedRun), title);
}

/** `rows` hold texts or cells, `names` their headings, and `corner` the heading of these. */
export function tableOf(columns, rows, names, corner) {
  const heading = (text, scope) => make("th", { textContent: text, scope });
  const head = make("tr", {}, ...[corner, ...columns].map((text) => heading(text, "col")));
  const cellOf = (cell) => (cell instanceof Node ? cell : make("td", { textContent: cell }));
  const body = rows.map((cells, row) =>
    make("tr", {}, heading(names[row], "row"), ...cells.map(cellOf)),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** Returns a box that scrolls wide content, with the keyboard too. */
export function scroller(label, ...children) {
  return make(
    "div",
    { className: "scroller", tabIndex: 0, aria: { label, role: "region" } },
    ...children,
  );
}

export function problemOf(error) {
  return make("p", { className: "problem", textContent: error.message });
}

/** Returns a remark in place of a panel for which a run has no data. */
export function absentPanel(run, kind) {
  const name = kind.replace("_", " ").replace(/s$/, "");
  const textContent = `${run} has no ${name} data.`;
  return { element: make("p", { className: "remark", textContent, dataset: { run } }), move() {} };
}

/** Makes panels as wide as the page. */
export function widen(panels) {
  for (const panel of panels) panel.element.classList.add("wide");
}
