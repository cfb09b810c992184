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

/** A list of `[value, text]` to choose from. */
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

/** What stands before a title where two runs are compared; `null` where there is one. */
export function runLabel(run) {
  return run && make("span", { className: "run", textContent: `${run} · ` });
}

export function headingOf(title, comparedRun) {
  return make("h3", {}, runLabel(comparedRun), title);
}

/** `rows` of texts or elements, with a name each; `corner` heads the names. */
export function tableOf(columns, rows, names, corner) {
  const heading = (text, scope) => make("th", { textContent: text, scope });
  const head = make("tr", {}, ...[corner, ...columns].map((text) => heading(text, "col")));
  const cellOf = (cell) => (cell instanceof Node ? cell : make("td", { textContent: cell }));
  const body = rows.map((cells, row) =>
    make("tr", {}, heading(names[row], "row"), ...cells.map(cellOf)),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** Scrolls what is wider than the page, by keys too. */
export function scroller(label, ...children) {
  return make("div", { className: "scroller", tabIndex: 0, aria: { label } }, ...children);
}

export function problemOf(error) {
  return make("p", { className: "problem", textContent: error.message });
}

/** In place of the panel of a run that does not have the kind. */
export function absentPanel(run, kind) {
  const textContent = `${run} holds no ${kind.replace("_", " ")} of this layer.`;
  return { element: make("p", { className: "remark", textContent, dataset: { run } }), move() {} };
}

/** Lets panels take the whole width. */
export function widen(panels) {
  for (const panel of panels) panel.element.classList.add("wide");
}
