"use strict";
// Sorting and filtering of the table of experiments, and, in the live view, looking for news. Nothing here makes HTML of values.
// The sorted column is known by its title: while a plan runs, more parameters turn out to differ, and columns move.
const view = { title: "", descending: false, words: "", status: "" };

const keyOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
};

const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;  // numbers before words such as "failure"
  if (typeof b === "number") return 1;
  return a.localeCompare(b, undefined, { numeric: true });
};

function sortRows() {
  const table = document.getElementById("results");
  if (!table) return;
  const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const column = titles.indexOf(view.title);
  if (column < 0) return;
  const sign = view.descending ? -1 : 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
  rows.sort((x, y) => {
    const words = (typeof x[0] !== "number") - (typeof y[0] !== "number");
    return words || sign * compare(x[0], y[0]);
  });
  body.append(...rows.map((pair) => pair[1]));
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    cell.setAttribute("aria-sort", index !== column ? "none" : view.descending ? "descending" : "ascending");
  });
}

function filterRows() {
  const table = document.getElementById("results");
  if (!table) return;
  const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = `${row.textContent} ${row.dataset.words}`.toLowerCase();
    const fits = words.every((word) => text.includes(word)) && (!view.status || row.dataset.status === view.status);
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("shown").textContent = `${shown} of ${table.tBodies[0].rows.length}`;
}

function connect() {
  const table = document.getElementById("results");
  if (!table) return;
  [...table.tHead.rows[0].cells].forEach((cell) => {
    cell.querySelector("button").addEventListener("click", () => {
      view.descending = view.title === cell.textContent ? !view.descending : cell.classList.contains("number");
      view.title = cell.textContent;
      sortRows();
    });
  });
  const words = document.getElementById("words");
  const status = document.getElementById("status");
  words.value = view.words;
  status.value = view.status;
  words.addEventListener("input", () => { view.words = words.value; filterRows(); });
  status.addEventListener("change", () => { view.status = status.value; filterRows(); });
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  sortRows();
  filterRows();
}

async function lookForNews(path, known) {
  let version = known;
  try {
    const answer = await fetch(path, { headers: version ? { "If-None-Match": version } : {} });
    if (answer.status === 200) {
      version = answer.headers.get("ETag");
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement && document.activeElement.id;
      const open = new Set([...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
      document.getElementById("content").replaceChildren(...made.body.childNodes);
      for (const one of document.querySelectorAll("details > summary")) {
        if (open.has(one.textContent)) one.parentElement.open = true;
      }
      connect();
      if (focused === "words") {
        const words = document.getElementById("words");
        words.focus();
        words.setSelectionRange(words.value.length, words.value.length);
      }
      document.getElementById("made").textContent = `live, ${new Date().toLocaleTimeString()}`;
    } else if (answer.status >= 500) {
      document.getElementById("made").textContent = (await answer.text()).trim();
    }
  } catch (error) {
    document.getElementById("made").textContent = "the server does not answer";
  }
  setTimeout(lookForNews, 2000, path, version);
}

connect();
if (document.body.dataset.live) lookForNews(document.body.dataset.live, "");
