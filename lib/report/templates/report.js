"use strict";
// Sorting, searching, hiding trackers, reading curves under the pointer. Text only ever goes in as text.

const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

function sortBy(header) {
  const table = header.closest("table");
  const column = Array.from(header.parentNode.children).indexOf(header);
  const words = header.dataset.kind === "words";
  const before = header.getAttribute("aria-sort");
  const direction = before === "none" ? (words ? "ascending" : "descending") : before === "ascending" ? "descending" : "ascending";
  all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const key = (row) => {
    const text = row.children[column].textContent.trim();
    if (words) return text;
    const number = parseFloat(text);
    return Number.isNaN(number) ? null : number;
  };
  const compare = (a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // missing values stay last
    return sign * (words ? a.key.localeCompare(b.key, "en", { numeric: true }) : a.key - b.key);
  };
  for (const body of table.tBodies) { // groups of rows stay apart
    const rows = Array.from(body.rows).filter((row) => row.children.length > column);
    rows.map((row, place) => ({ row, key: key(row), place }))
      .sort((a, b) => compare(a, b) || a.place - b.place)
      .forEach((entry) => body.appendChild(entry.row));
  }
}

function search() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  const rows = all("#sequences tbody tr");
  for (const row of rows) {
    const text = row.dataset.search.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = count + " of " + rows.length + " sequences";
}

function chooseMetric() {
  const index = Number(document.getElementById("metric").value);
  for (const cell of all("#sequences td[data-scores]")) cell.textContent = cell.dataset.scores.split(" ")[index];
  const sorted = document.querySelector('#sequences th[aria-sort]:not([aria-sort="none"])');
  if (sorted && sorted.dataset.kind !== "words") {
    const direction = sorted.getAttribute("aria-sort");
    sorted.setAttribute("aria-sort", direction === "ascending" ? "descending" : "ascending");
    sortBy(sorted);
  }
}

function toggle(button) {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  all(".t" + button.dataset.tracker).forEach((item) => { item.style.display = shown ? "" : "none"; });
}

function reading(chart, event) {
  const data = JSON.parse(chart.dataset.curves);
  if (!data.x) return;
  const area = chart.getBoundingClientRect();
  const [left, right, top, bottom] = chart.dataset.area.split(" ").map(Number); // percent of the chart
  const part = ((100 * (event.clientX - area.left)) / area.width - left) / (right - left);
  if (part < 0 || part > 1) return leave(chart);
  const end = Number(chart.dataset.end);
  const nearest = data.x.reduce((best, x, k) => (Math.abs(x - part * end) < Math.abs(data.x[best] - part * end) ? k : best), 0);
  const cursor = chart.querySelector(".cursor");
  const at = left + ((right - left) * data.x[nearest]) / end;
  for (const [name, value] of Object.entries({ left: at, top: top, height: bottom - top })) cursor.style[name] = value + "%";
  cursor.style.visibility = "visible";
  const box = document.getElementById("reading");
  const names = all(".bar button");
  const lines = data.y
    .map((values, k) => ({ k, value: values[nearest] }))
    .filter((line) => names[line.k].getAttribute("aria-pressed") === "true")
    .sort((a, b) => b.value - a.value)
    .map((line) => (100 * line.value).toFixed(1).padStart(5) + "  " + names[line.k].textContent.trim().slice(0, 30));
  box.textContent = "at " + Number(data.x[nearest].toFixed(3)) + "\n" + lines.join("\n");
  box.style.display = "block";
  box.style.left = Math.max(4, Math.min(event.clientX + 14, document.documentElement.clientWidth - box.offsetWidth - 4)) + "px";
  box.style.top = Math.max(4, Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 4)) + "px";
}

function leave(chart) {
  chart.querySelector(".cursor").style.visibility = "hidden";
  document.getElementById("reading").style.display = "none";
}

all("th[aria-sort] button").forEach((button) => button.addEventListener("click", () => sortBy(button.parentNode)));
all(".bar button").forEach((button) => button.addEventListener("click", () => toggle(button)));
all("[data-curves]").forEach((chart) => {
  chart.addEventListener("pointermove", (event) => reading(chart, event));
  chart.addEventListener("pointerleave", () => leave(chart));
});
document.getElementById("search").addEventListener("input", search);
document.getElementById("metric").addEventListener("change", chooseMetric);
search();
