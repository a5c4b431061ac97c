// --- leaderboard
let rows = [];
let columns = []; // those of COLUMNS that are shown: facts only where the criteria shown differ in them
let different = []; // what of their settings differs besides
const body = document.querySelector("tbody");
const heads = COLUMNS.map(({ key, heading, kind = "" }) => {
  const [one, other] = kind === "number" ? [`-${key}`, key] : [key, `-${key}`];
  const onclick = () => setState({ sort: state.sort === one ? other : one });
  return element("th", { scope: "col", className: kind }, element("button", { type: "button", onclick }, heading));
});
document.querySelector("thead").append(element("tr", {}, ...heads));

function compare(found) {
  const criteria = found.some(group => !group.control) ? found.filter(group => !group.control) : found;
  const used = distinct(criteria.map(group => group.setting)).map(place => settings[place]);
  const names = Object.keys(used[0] ?? {});
  const shared = names.filter(name => !varies(used.map(setting => setting[name])));
  different = names.filter(name => !shared.includes(name) && !FILTERS.includes(name));
  const shown = { setting: different.length > 0 };
  for (const name of FILTERS.slice(0, 4)) shown[name] = varies(criteria.map(group => group.facts[name]));
  columns = COLUMNS.filter(({ key }) => shown[key] ?? true);
  const facts = used.length ? said(used[0], shared) : [];
  $("common").textContent = facts.length ? `All criteria: ${facts.join(", ")}.` : "";
}

function sorted(found) {
  const key = state.sort?.replace(/^-/, "");
  const value = COLUMNS.find(column => column.key === key)?.value;
  if (!value) return found;
  const sign = state.sort === key ? 1 : -1;
  const compare = (one, other) => (typeof one === "string" ? one.localeCompare(other) : one - other);
  return found.toSorted((one, other) => {
    const [a, b] = [value(one), value(other)];
    return a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b);
  });
}

function tableRow(group, place) {
  const before = rows[place - 1];
  const first = before && !state.sort && (before.panel !== group.panel || before.column !== group.column);
  const cells = columns.map(({ key, value, text = value, kind = "" }) => {
    const shown = text(group);
    if (key === "criterion") return element("th", { scope: "row" }, element("button", { type: "button" }, shown));
    const bad = key === "value" && group.n < group.n_planned ? " bad" : "";
    const best = key === "value" && group.best;
    return element("td", { className: kind + bad }, best ? element("strong", {}, shown) : shown);
  });
  return element("tr", { className: first ? "first" : "", group }, ...cells);
}

function moreRows() {
  const place = body.childElementCount;
  body.append(...rows.slice(place, place + CHUNK).map((group, offset) => tableRow(group, place + offset)));
}

function render() {
  for (const name of [...FILTERS, "criterion"]) $("filters").elements[name].value = state[name] ?? "";
  $("axis").value = state.x ?? "";
  const all = groups.filter(group => !group.repeated);
  const found = all.filter(group => passes(group, FILTERS));
  compare(found);
  rows = sorted(found);
  COLUMNS.forEach((column, place) => {
    const order = state.sort === column.key ? "ascending" : state.sort === `-${column.key}` ? "descending" : "none";
    heads[place].setAttribute("aria-sort", order);
    heads[place].hidden = !columns.includes(column);
  });
  $("count").textContent = rows.length ? `${rows.length} of ${all.length} rows.` : "No row matches these filters.";
  body.replaceChildren();
  moreRows();
  $("scroll").scrollTop = 0;
  for (const panel of panels) {
    panel.drawn = panel.groups.filter(group => group.control || passes(group, FILTERS.slice(0, -1)));
    panel.node.hidden = panel.drawn.every(group => group.control || group.value === null);
  }
  for (const node of document.querySelectorAll(".report"))
    node.hidden = Boolean(state.experiment) && state.experiment !== node.dataset.experiment;
  drawVisible();
}
