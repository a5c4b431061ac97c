// --- what the reader does
function fillSelects() {
  for (const name of FILTERS) {
    const byTarget = (one, other) => (one.target ?? 2) - (other.target ?? 2); // "converged" comes last
    const values = distinct((name === "sparsity" ? groups.toSorted(byTarget) : groups).map(group => group.facts[name]));
    const options = values.map(value => element("option", { value }, value));
    $("filters").elements[name].append(element("option", { value: "" }, "all"), ...options);
  }
}

function readAddress() {
  readState();
  render();
  showCell();
}

fillSelects();
$("summary").textContent = summary.join(", ");
$("about").append(...books.flatMap(book => [element("h3", {}, book.name), list(book.notes)]));
$("filters").addEventListener("input", () => setState(Object.fromEntries(new FormData($("filters")))));
$("filters").addEventListener("submit", event => event.preventDefault());
$("filters").addEventListener("reset", event => {
  event.preventDefault();
  setState(Object.fromEntries([...FILTERS, "criterion"].map(name => [name, ""])));
});
$("axis").addEventListener("change", event => setState({ x: event.target.value }));
body.addEventListener("click", event => openGroup(event.target.closest("tr").group));
drawer.addEventListener("close", () => state.cell && setState({ cell: "" }));
drawer.addEventListener("click", event => event.target === drawer && drawer.close());
dark.addEventListener("change", () => {
  drawVisible();
  if (drawer.open) showCell();
});
const atEnd = entries => entries.some(entry => entry.isIntersecting) && moreRows();
new IntersectionObserver(atEnd, { root: $("scroll"), rootMargin: "400px" }).observe($("end"));
readState();
render();
// Plotly's code comes after this script, so that the table is there first.
addEventListener("DOMContentLoaded", () => {
  const watcher = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target.panel);
    drawVisible();
  }, { rootMargin: "300px" });
  for (const panel of panels) watcher.observe(panel.node);
  addEventListener("hashchange", readAddress);
  showCell();
});
