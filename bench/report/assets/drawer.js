// --- the drawer: one cell of a group
const drawer = $("drawer");
const openGroup = (group, cell = group.cells[0]) => setState({ cell: `${group.facts.experiment}/${cell}` });

function showCell() {
  const cut = state.cell?.lastIndexOf("/") ?? 0;
  const [experiment, id] = [state.cell?.slice(0, cut), state.cell?.slice(cut + 1)];
  const group = groups.find(one => one.cells.includes(id) && one.facts.experiment === experiment);
  if (!group) return drawer.close();
  details ??= JSON.parse($("details").textContent);
  const cell = details.cells[panels[group.panel].book][id];
  const close = element("button", { type: "button", onclick: () => drawer.close() }, "Close");
  close.setAttribute("aria-label", "Close this cell");
  const panel = panels[group.panel];
  const title = element("h2", { id: "cell" }, group.control ? group.row : `${group.row} at ${group.column}`);
  drawer.firstElementChild.replaceChildren(
    element("header", {}, title, close),
    element("p", {}, [experiment, panel.about, group.control ? "" : panel.title].filter(Boolean).join("; ")),
    seeds(group, id),
    ...outcome(cell.measured),
    element("h3", {}, "Command"),
    ...commandLines(id, cell),
    element("h3", {}, "Record"),
    definitions(Object.entries(cell.measured).filter(([name]) => !["status", "reason"].includes(name))),
  );
  if (!drawer.open) drawer.showModal();
  showDetails(cell, panel.looks[group.row].color ?? colour("text"));
}

function seeds(group, id) {
  const buttons = group.cells.map(other => {
    const { seed, measured } = details.cells[panels[group.panel].book][other];
    const value = measured.top1 ?? measured.r2;
    const text = `seed ${seed}: ${value === undefined ? measured.status : value.toFixed(digits(group))}`;
    const button = element("button", { type: "button", onclick: () => openGroup(group, other) }, text);
    button.setAttribute("aria-pressed", other === id);
    return button;
  });
  return element("nav", { ariaLabel: "Seeds" }, ...buttons);
}

function outcome({ status, reason }) {
  return status === "ok" ? [] : [element("p", { className: "bad" }, [status, reason].filter(Boolean).join(": "))];
}

function commandLines(id, { command, measured, config }) {
  const resolved = details.pool[config];
  const torch = resolved.environment?.torch ?? resolved.torch;
  const needs = [`torch ${torch}`, measured.git && `this code at ${measured.git}`].filter(Boolean).join(" and ");
  const copy = element("button", { type: "button" }, "Copy");
  copy.onclick = async () => {
    await navigator.clipboard.writeText(command);
    copy.textContent = "Copied";
  };
  const note = `Its plan holds this cell, ${id}, with ${needs}, and the controls that go with it.`;
  return [element("pre", {}, element("code", {}, command)), element("p", {}, note, " ", copy)];
}

function definitions(entries) {
  const text = value => (typeof value === "string" ? value : JSON.stringify(value));
  const shown = value => (typeof value === "number" ? exact.format(value) : text(value));
  const pair = ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, shown(value)));
  return element("dl", {}, ...entries.map(pair));
}

const flat = (value, name) =>
  value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, item]) => flat(item, name ? `${name}.${key}` : key))
    : value === null ? [] : [[name, value]];

function showDetails(cell, color) {
  const article = drawer.firstElementChild;
  const add = (heading, draw) => {
    const node = element("div");
    article.append(element("h3", {}, heading), node);
    draw(node);
  };
  const layers = details.pool[cell.layers];
  const stages = cell.curves.map(place => details.pool[place]);
  if (layers.length) add("Weights kept by layer", node => drawLayers(node, layers, cell.kept, color));
  if (stages.length) add("Training and fine-tuning", node => drawStages(node, stages, color));
  if (cell.histogram) add("Scores at the last pruning step", node => drawHistogram(node, cell.histogram, color));
  const absent = "No densities and no curves: the cell failed, is missing, or was published without.";
  if (!layers.length && !stages.length) article.append(element("p", {}, absent));
  const config = { ...details.pool[cell.config], seed: cell.seed, sparsity: cell.target };
  article.append(element("details", {}, element("summary", {}, "Configuration"), definitions(flat(config, ""))));
}

function drawLayers(node, layers, kept, color) {
  const share = layers.map(([, total], place) => (100 * kept[place]) / total);
  const counts = layers.map(([, total], place) => `${exact.format(kept[place])} of ${exact.format(total)}`);
  const text = counts.map((count, place) => `${Number(share[place].toPrecision(3))} % (${count})`);
  const y = layers.map(([name]) => escaped(name));
  const shown = { text, cliponaxis: false, hovertemplate: "%{y}<br>%{text}<extra></extra>" };
  plot(node, [{ type: "bar", orientation: "h", x: share, y, marker: { color }, ...shown }], {
    height: 80 + 24 * layers.length,
    xaxis: axis({ range: [0, 100], title: { text: "kept (%)" } }),
    yaxis: axis({ type: "category", autorange: "reversed" }),
  });
}

function drawStages(node, stages, color) {
  const starts = stages.map((_, place) => stages.slice(0, place).reduce((sum, stage) => sum + stage.epochs, 0));
  const names = distinct(stages.flatMap(stage => Object.keys(stage.values)));
  const scores = names.filter(name => !name.endsWith("loss"));
  const traces = names.map(name => ({
    name: escaped(name),
    mode: "lines",
    line: { color: name.startsWith("train/") ? colour("quiet") : color, width: 2 },
    x: stages.flatMap((stage, place) => (stage.values[name] ?? []).map((_, epoch) => starts[place] + epoch + 1)),
    y: stages.flatMap(stage => stage.values[name] ?? []),
    yaxis: scores.includes(name) ? "y2" : "y",
  }));
  const quiet = colour("quiet");
  const dotted = { type: "line", yref: "paper", y0: 0, y1: 1, line: { color: quiet, width: 1, dash: "dot" } };
  const dashes = starts.slice(1).map(start => ({ ...dotted, x0: start + 0.5, x1: start + 0.5 }));
  const labels = stages.length > 6 ? [] : stages.map((stage, place) => ({
    text: escaped(stage.stage), x: starts[place] + 0.5, xanchor: "left", font: { color: quiet },
    y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
  }));
  plot(node, traces, {
    height: 440,
    margin: { l: 56, r: 16, t: 56, b: 44 },
    shapes: dashes,
    annotations: labels,
    xaxis: axis({ title: { text: "epoch" }, anchor: "y" }),
    yaxis: axis({ domain: [0, scores.length ? 0.46 : 1], title: { text: "loss" }, type: "log" }),
    yaxis2: axis({ domain: [0.54, 1], title: { text: escaped(scores.join(", ")) } }),
  });
}

function drawHistogram(node, { low, high, kept, removed, zero, negative }, color) {
  const width = (high - low) / kept.length || 1;
  const x = kept.map((_, place) => low + (place + 0.5) * width);
  const bars = (name, y, fill) => ({ type: "bar", name, x, y, width, marker: { color: fill }, hovertemplate: "%{y}" });
  plot(node, [bars("removed", removed, colour("quiet")), bars("kept", kept, color)], {
    height: 300,
    barmode: "stack",
    legend: { orientation: "h", yanchor: "bottom", y: 1, x: 0 },
    xaxis: axis({ title: { text: "log₁₀ of the absolute score" } }),
    yaxis: axis({ title: { text: "candidates" } }),
  });
  const text = `${exact.format(zero)} scores are 0 and stand in no bar; ${exact.format(negative)} are negative.`;
  node.after(element("p", {}, text));
}
