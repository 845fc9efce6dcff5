"use strict";
// Sorts each table by any column and filters all of them. Without it the page shows every row, best average first.

const filters = document.querySelector(".filters");
const tables = [...document.querySelectorAll("table")];
const chosen = (name) => filters.elements[name].value;
const collator = new Intl.Collator(undefined, { numeric: true });

function compare(a, b, column, numbers) {
  const [left, right] = [a, b].map((row) => row.cells[column].dataset.value);
  if (left === "" || right === "") return 0;
  return numbers ? Number(left) - Number(right) : collator.compare(left, right);
}

function sort(table, head, direction) {
  const column = head.cellIndex, numbers = head.classList.contains("number");
  const rows = [...table.tBodies[0].rows];
  const known = rows.filter((row) => row.cells[column].dataset.value !== "");
  const unknown = rows.filter((row) => row.cells[column].dataset.value === ""); // last in either direction
  known.sort((a, b) => (direction === "ascending" ? 1 : -1) * compare(a, b, column, numbers));
  table.tBodies[0].append(...known, ...unknown);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  stripe();
}

function stripe() {
  for (const table of tables) {
    let count = 0;
    for (const row of table.tBodies[0].rows) if (!row.hidden) row.classList.toggle("striped", count++ % 2 === 1);
  }
}

function filter() {
  const language = chosen("language");
  let shown = 0, all = 0;
  for (const table of tables) {
    let here = 0;
    for (const row of table.tBodies[0].rows) {
      const score = language && row.querySelector(`td[data-language="${language}"]`);
      row.hidden = ["setting", "kind", "size"].some((name) => chosen(name) && row.dataset[name] !== chosen(name))
        || Boolean(language && !(score && score.dataset.value));
      here += row.hidden ? 0 : 1;
      all += 1;
    }
    for (const cell of table.querySelectorAll("[data-language]")) {
      cell.hidden = Boolean(language) && cell.dataset.language !== language;
    }
    for (const cell of table.querySelectorAll(".overall")) cell.hidden = Boolean(language); // rank and average: of all
    table.closest("section").hidden = here === 0;
    shown += here;
  }
  document.querySelector(".shown").textContent = shown ? `${shown} of ${all} rows shown.` : "No row fits these filters.";
  stripe();
}

for (const table of tables) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("score") ? "descending" : "ascending";
      const turned = { ascending: "descending", descending: "ascending" };
      sort(table, head, turned[head.getAttribute("aria-sort")] ?? first);
    });
  }
}

filters.addEventListener("change", (event) => {
  if (event.target.name === "language") {
    for (const table of tables) {
      const head = table.querySelector(`th[data-language="${chosen("language")}"]`) ?? table.querySelector("th.average");
      if (head) sort(table, head, "descending");
    }
  }
  filter();
});
filters.addEventListener("reset", () => setTimeout(() => {
  for (const table of tables) sort(table, table.querySelector("th.average"), "descending");
  filter();
}));
filters.addEventListener("submit", (event) => event.preventDefault());

function openTarget() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (found instanceof HTMLDetailsElement) found.open = true;
}
addEventListener("hashchange", openTarget);
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const element of closed) element.open = true;
});
addEventListener("afterprint", () => {
  for (const element of closed) element.open = false;
});

filters.hidden = false;
filters.reset(); // a browser may bring back what was chosen before a reload
filter();
openTarget();
