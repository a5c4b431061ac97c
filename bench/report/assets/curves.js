// --- curves: a plot a panel, drawn when it comes into view
const visible = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const axis = more => {
  const line = colour("line");
  return { gridcolor: line, linecolor: line, zeroline: false, automargin: true, ...more };
};
const layout = more => ({
  font: { family: "system-ui, sans-serif", size: 12, color: colour("text") },
  paper_bgcolor: colour("ground"),
  plot_bgcolor: colour("ground"),
  margin: { l: 56, r: 16, t: 36, b: 44 },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
  hovermode: "closest",
  legend: { orientation: "h", yref: "container", yanchor: "bottom", y: 0, x: 0 },
  ...more,
});
const plot = (node, traces, more) =>
  Plotly.react(node, traces, layout(more), { responsive: true, displaylogo: false, modeBarButtons: BUTTONS });

panels.forEach((panel, index) => {
  const title = [books[panel.book].name, panel.title].filter(Boolean).join(": ");
  const caption = element("figcaption", {}, element("strong", {}, title), element("span", {}, panel.about));
  panel.groups = groups.filter(group => group.panel === index);
  panel.plot = element("div", { className: "plot" });
  panel.node = element("figure", { panel }, caption, panel.plot, list(panel.notes));
  $("curves").append(panel.node);
});

const against = () => $("axis").value;
const across = group => (against() ? group[against()] : 100 - 100 * (group.target ?? group.sparsity));

function drawVisible() {
  for (const panel of visible) if (!panel.node.hidden) drawCurves(panel);
}

function drawCurves(panel) {
  const key = [dark.matches, against(), ...panel.drawn.map(group => group.index)].join();
  if (panel.key === key) return;
  panel.key = key;
  const known = panel.drawn.filter(group => group.value !== null && across(group) > 0);
  const placed = known.filter(group => against() || !group.control);
  const ends = placed.length ? [Math.min(...placed.map(across)), Math.max(...placed.map(across))] : [1, 100];
  const pad = 0.04 * Math.log10(ends[1] / ends[0]) || 0.15;
  const range = [Math.log10(ends[0]) - pad, Math.log10(ends[1]) + pad];
  const height = accuracyAxis(panel, known);
  const lines = [...Map.groupBy(known, group => group.row)];
  const band = lines.length > 8 ? "14" : "26"; // opacity: many lie on top of each other
  // Where all have one place, they stand beside each other, not on top of each other.
  const shift = place => (ends[0] === ends[1] ? 10 ** (0.2 * ((place + 0.5) / lines.length - 0.5)) : 1);
  const traces = lines.flatMap(([row, points], place) => {
    const ordered = points.toSorted((one, other) => across(one) - across(other));
    const x = ordered.map(group => shift(place) * across(group));
    return rowTraces(row, panel.looks[row], ordered, x, height.place, range, band);
  });
  plot(panel.plot, traces, {
    height: 390 + 10 * lines.length,
    showlegend: true,
    xaxis: axis({ type: "log", ...acrossAxis(placed, range) }),
    yaxis: axis(height.axis),
  });
  panel.plot.removeAllListeners("plotly_click");
  panel.plot.on("plotly_click", event => openGroup(groups[event.points[0].customdata]));
}

function acrossAxis(placed, range) {
  const titles = { params: "parameters left", flops: "FLOPs (2 × multiply-adds)" };
  if (against()) return { range, dtick: "D2", title: { text: titles[against()] } };
  const kind = placed.map(group => settings[group.setting].target_kind).find(name => name && name !== "weights");
  const ticks = leftTicks(distinct(placed.map(group => Number((100 - across(group)).toPrecision(6)))), range, 0.05);
  return { ...ticks, range: range.toReversed(), title: { text: kind ? `${kind} removed (%)` : "sparsity (%)" } };
}

// Ticks in percent on a log axis of what is left of 100: labels that keep a share of the axis between them.
function leftTicks(values, range, gap) {
  const place = value => Math.log10(100 - value) / Math.abs(range[1] - range[0]);
  const shown = [];
  for (const value of values.toSorted((one, other) => other - one))
    if (!shown.length || place(value) - place(shown.at(-1)) >= gap) shown.push(value);
  return { tickvals: shown.map(value => 100 - value), ticktext: shown };
}

// Where good nets collapse, a linear axis would hide what tells them apart: then it is a log axis of the error.
const ACCURACY_TICKS = [10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98, 99, 99.5, 99.8, 99.9];
function accuracyAxis(panel, known) {
  const means = known.map(group => group.value);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  if (!panel.measure.includes("%") || high - low <= 20 || high <= 90 || high >= 100)
    return { place: value => value, axis: { title: { text: panel.measure } } };
  const room = 100 - Math.max(...known.map(group => group.value + (group.value_std ?? 0)));
  const range = [100 - Math.max(0, low - 5), Math.max(0.9 * room, 0.2 * (100 - high))].map(Math.log10);
  const title = { text: `${panel.measure},<br>log scale of the error` };
  const ticks = leftTicks(ACCURACY_TICKS, range, 0.06);
  return { place: value => Math.max(100 - value, 1e-3), axis: { type: "log", range, ...ticks, title } };
}

function rowTraces(row, look, points, x, place, range, opacity) {
  const color = look.color ?? colour("text");
  const legendgroup = escaped(row);
  const line = { color, width: 2, dash: look.dash };
  const shared = { name: escaped(row), legendgroup, line, hovertemplate: "%{text}<extra></extra>" };
  const said = group => `${group.column}: ${group.shown}, ${group.n} of ${group.n_planned} seeds`;
  const text = points.map(group => `${escaped(row)}<br>${escaped(said(group))}`);
  const customdata = points.map(group => group.index);
  if (points[0].control) {
    const ends = range.map(end => 10 ** end);
    const y = ends.map(() => place(points[0].value));
    const twice = { text: [text[0], text[0]], customdata: [customdata[0], customdata[0]] };
    return [{ ...shared, ...twice, mode: "lines", x: ends, y }];
  }
  const [lower, upper] = [-1, 1].map(side => points.map(group => place(group.value + side * (group.value_std ?? 0))));
  const y = points.map(group => place(group.value));
  const marker = { color, symbol: look.symbol, size: 7 };
  const means = { ...shared, mode: "lines+markers", x, y, text, customdata, marker };
  if (points.length === 1) {
    const spread = { array: [Math.abs(upper[0] - y[0])], arrayminus: [Math.abs(y[0] - lower[0])] };
    return [{ ...means, error_y: { type: "data", symmetric: false, color, ...spread } }];
  }
  const outline = { x: [...x, ...x.toReversed()], y: [...upper, ...lower.toReversed()], line: { width: 0 } };
  const filled = { mode: "lines", fill: "toself", fillcolor: `${color}${opacity}` };
  return [{ ...outline, ...filled, legendgroup, hoverinfo: "skip", showlegend: false }, means];
}
