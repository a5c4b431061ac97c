const $ = id => document.getElementById(id);
const { summary, books, panels, groups, settings } = JSON.parse($("overview").textContent);
let details; // parsed when the first cell is opened
const FILTERS = ["experiment", "dataset", "model", "granularity", "sparsity"];
const BUTTONS = [["toImage", "zoom2d", "pan2d", "resetScale2d"]]; // none that would send data away
const CHUNK = 150; // rows that are put into the table at a time

// --- texts: they reach the page as text nodes, or escaped where plotly would read markup or TeX
const element = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const list = lines => element("ul", {}, ...lines.map(line => element("li", {}, line)));
const escaped = text => String(text).replace(/[&<>$]/g, character => `&#${character.charCodeAt()};`);
// `{name: iterative, steps: 5}` as `iterative steps=5`.
const plain = value =>
  String(value ?? "").replace(/^\{(name: )?|\}$/g, "").replaceAll(": ", "=").replaceAll(", ", " ");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const said = (setting, names) =>
  names.filter(name => setting[name] !== null).map(name => `${name}=${plain(setting[name])}`);
const distinct = values => [...new Set(values)];
const varies = values => distinct(values).length > 1;

// --- groups: what they are filtered by; a control that several panels share is one row of the leaderboard
const seen = new Set();
groups.forEach((group, index) => {
  const setting = settings[group.setting];
  const key = `${panels[group.panel].book} ${group.cells}`;
  group.index = index;
  group.repeated = group.control && seen.has(key);
  group.facts = {
    experiment: books[panels[group.panel].book].name,
    dataset: setting.dataset,
    model: setting.model,
    granularity: plain(setting.granularity) || "none",
    sparsity: group.column,
  };
  seen.add(key);
});

// --- columns of the leaderboard: `value` sorts, `text` is shown
const percent = value => `${(100 * value).toFixed(1)} %`;
const capital = text => text[0].toUpperCase() + text.slice(1);
const measures = distinct(panels.map(panel => panel.measure)).join(" or ");
const digits = group => (panels[group.panel].measure.includes("%") ? 1 : 3);
const fact = name => ({ key: name, heading: capital(name), kind: "fact", value: group => group.facts[name] });
const setting = own => said(own, different).map(text => text.replace(/^[a-z_]+=(?=[a-z_])/, "")).join(", ");
const measured = (key, heading, format, text) => ({
  key, heading, kind: "number", value: group => group[key],
  text: text ?? (group => (group[key] === null ? "" : format(group[key], group))),
});
const COLUMNS = [
  { key: "criterion", heading: "Criterion", value: group => group.row },
  measured("target", "Sparsity", null, group => group.column),
  measured("value", capital(measures), null, group => group.shown),
  measured("against_dense", "vs dense", (value, group) => signed(value, digits(group))),
  measured("n", "Seeds", null, group => `${group.n} of ${group.n_planned}`),
  ...FILTERS.slice(0, 4).map(fact),
  { key: "setting", heading: "Setting", kind: "setting", value: group => setting(settings[group.setting]) },
  measured("sparsity_effective", "Effective sparsity", percent),
  measured("params", "Parameters", compact.format),
  measured("flops", "FLOPs", compact.format),
  measured("epochs_total", "Epochs", exact.format),
];

// --- state: filters, order, axis and open cell live in the address, so that it can be shared
const state = {};
const readState = () => {
  for (const key of Object.keys(state)) delete state[key];
  Object.assign(state, Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
};
const setState = changes => {
  Object.assign(state, changes);
  const kept = Object.entries(state).filter(([, value]) => value);
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  if ("cell" in changes) showCell();
  else render();
};
const passes = (group, filters) =>
  filters.every(name => !state[name] || group.facts[name] === state[name]) &&
  group.row.toLowerCase().includes((state.criterion ?? "").trim().toLowerCase());
