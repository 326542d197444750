"use strict";
const find = (query, within = document) => [...within.querySelectorAll(query)];
const cases = find("figure.case:not(.sample)");

// Copies of some pictures, so that each is held once on the page.
function show(place, title, wanted) {
  const heading = document.createElement("h3"), grid = document.createElement("div");
  heading.textContent = title;
  grid.className = "cases";
  grid.append(...cases.filter(wanted).map((one) => one.cloneNode(true)));
  place.replaceChildren(heading, grid);
}

const matrix = document.querySelector(".matrix");
const names = matrix.dataset.names.split("\x1f");
const cells = find("[data-t]", matrix);

function choose(cell) {
  const { t, p, n } = cell.dataset;
  find("[aria-selected]", matrix).forEach((other) => other.removeAttribute("aria-selected"));
  cell.setAttribute("aria-selected", "true");
  const wanted = (one) => one.dataset.t === t && one.dataset.p === p;
  const count = cases.filter(wanted).length;
  const some = count < +n ? `, ${count} of them here` : "";
  const what = t === p ? `${names[t]}, named right` : `${names[t]}, taken for ${names[p]}`;
  show(document.getElementById("cell"), `${what}: ${(+n).toLocaleString("en")}${some}`, wanted);
}

function focus(cell) {
  cells.forEach((other) => { other.tabIndex = -1; });
  cell.tabIndex = 0;
  cell.focus();
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// The next cell in that direction that holds anything.
function beside(cell, [down, across]) {
  let t = +cell.dataset.t, p = +cell.dataset.p;
  for (;;) {
    t += down;
    p += across;
    if (!names[t] || !names[p]) return cell;
    const next = cells.find((one) => +one.dataset.t === t && +one.dataset.p === p);
    if (next) return next;
  }
}

if (cells.length) cells[0].tabIndex = 0;
matrix.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-t]");
  if (cell) { focus(cell); choose(cell); }
});
matrix.addEventListener("keydown", (event) => {
  const cell = event.target.closest("[data-t]");
  if (!cell) return;
  if (STEPS[event.key]) { event.preventDefault(); focus(beside(cell, STEPS[event.key])); }
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(cell); }
});
matrix.addEventListener("pointerover", (event) => {
  const cell = event.target.closest("[data-t]");
  if (cell && !cell.title) cell.title = `${names[cell.dataset.t]} → ${names[cell.dataset.p]}: ${cell.dataset.n}`;
});
for (const pair of find("button.pair")) {
  pair.addEventListener("click", () => {
    choose(cells.find((one) => one.dataset.t === pair.dataset.t && one.dataset.p === pair.dataset.p));
    document.getElementById("cell").scrollIntoView({ block: "nearest" });
  });
}

const filter = document.getElementById("filter");
if (filter) filter.addEventListener("change", () => {
  const filtered = document.getElementById("filtered"), chosen = filter.value;
  filtered.hidden = !chosen;
  document.getElementById("gallery").hidden = Boolean(chosen);
  const concerns = (one) => one.dataset.t !== one.dataset.p && (one.dataset.t === chosen || one.dataset.p === chosen);
  if (chosen) show(filtered, `Taken for ${names[chosen]}, or shows it`, concerns);
});

// What has no number stays at the end.
function sort(table, column, isRising) {
  const value = (row) => row.cells[column].dataset.v;
  const compare = (one, other) => {
    const a = value(one), b = value(other);
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = column ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return isRising ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const button of find("button.sort")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table");
    const isRising = head.getAttribute("aria-sort") !== "ascending";
    find("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    sort(table, head.cellIndex, isRising);
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
});
