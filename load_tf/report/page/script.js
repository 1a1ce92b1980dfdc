"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? (column ? null : cell.textContent) : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      // Numbers first from the largest, names from the first; a third click brings the data set's order back.
      const turns = column ? ["descending", "ascending", null] : ["ascending", "descending", null];
      const now = turns[(turns.indexOf(heading.getAttribute("aria-sort")) + 1) % 3];
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      if (now) heading.setAttribute("aria-sort", now);
      const rows = [...original];
      if (now) {
        const sign = now === "ascending" ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * compare(x, y);
        });
      }
      body.append(...rows);
    });
  });
}
for (const stack of document.querySelectorAll(".stack")) {
  const cut = stack.querySelector(".cut");
  const move = () => stack.style.setProperty("--cut", cut.value + "%");
  cut.addEventListener("input", move);
  // A mouse need not hold the handle: the line follows it over the picture.
  stack.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const box = stack.getBoundingClientRect();
    cut.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    move();
  });
  const truth = stack.parentNode.querySelector(".truth");
  truth.addEventListener("change", () => stack.classList.toggle("true", truth.checked));
  move();
}
const opacity = document.getElementById("opacity");
if (opacity) {
  const fade = () => document.querySelector(".cards").style.setProperty("--opacity", opacity.value / 100);
  opacity.addEventListener("input", fade);
  fade();
}
