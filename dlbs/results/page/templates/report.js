// The page of results: a selection of experiments, with its rows and plot. Updates of the live view keep the selection.
const view = { table: null, rows: { sort: "", descending: false, top: 0, exact: false }, narrow: { chosen: new Map(), wanted: new Map(), open: new Map(), words: "" }, plot: {}, batches: {} };

function start() {
  view.table = null;
  readData(showResults);
}

function showResults(data) {
  if (!data || !document.getElementById("rows")) return;
  const table = new RowTable(document.getElementById("rows"), "results", experimentColumns(data, view.rows), view.rows);
  table.nameOf = (row) => data.logs.prefix + data.logs.rest[row];
  view.table = table;
  const chart = new SelectionChart(document.getElementById("chart"), data, view.plot);
  const batches = new BatchTimes(document.getElementById("batchtimes"), data, view.batches);
  table.ordered = (order) => batches.show(order);
  const shown = document.getElementById("shown"), chips = document.getElementById("chips");
  const select = (isNew) => {
    if (isNew) view.rows.top = 0;
    const rows = facets.rows();
    shown.textContent = `${rows.length.toLocaleString("en-US")} of ${data.count.toLocaleString("en-US")}`;
    facets.chips(chips);
    table.show(rows);
    chart.show(rows);
  };
  const facets = new Facets(document.getElementById("facets"), experimentFacets(data), data.count, experimentText(data), view.narrow, () => select(true));
  const exact = document.getElementById("exact");
  exact.checked = view.rows.exact;
  exact.addEventListener("change", () => { view.rows.exact = exact.checked; table.draw(true); });
  for (const button of document.querySelectorAll("[data-reason]")) {
    button.addEventListener("click", () => {
      facets.clear();
      facets.choose("reason", button.dataset.reason, true);
      document.getElementById("experiments").scrollIntoView();
      document.getElementById("rows").focus({ preventScroll: true });
    });
  }
  select(false);
}

start();
