"use strict";
// Tables sort by a click on a heading (or Enter or Space: headings are buttons); cells without a value stay last.
(function () {
  function key(row, column) {
    const cell = row.cells[column];
    if (cell.classList.contains("number")) {
      return "sort" in cell.dataset ? Number(cell.dataset.sort) : null;
    }
    return cell.textContent.trim() || null;
  }

  function sort(table, column) {
    const head = table.tHead.rows[0].cells[column];
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    // Numbers are first wanted from the largest on.
    const falling = before === "none" ? numeric : before === "ascending";
    const rows = Array.from(table.tBodies[0].rows, (row) => [key(row, column), row]);
    rows.sort(function (one, other) {
      if (one[0] === null || other[0] === null) {
        return (one[0] === null) - (other[0] === null);
      }
      const order = numeric ? one[0] - other[0] : one[0].localeCompare(other[0], undefined, { numeric: true });
      return falling ? -order : order;
    });
    for (const each of table.tHead.rows[0].cells) {
      each.setAttribute("aria-sort", "none");
    }
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    table.tBodies[0].append(...rows.map((pair) => pair[1]));
  }

  for (const table of document.querySelectorAll("table")) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      head.querySelector("button").addEventListener("click", () => sort(table, column));
    });
  }

  // Paper can't be opened: everything is, while it is printed.
  let closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    closed.forEach((each) => (each.open = true));
  });
  window.addEventListener("afterprint", () => closed.forEach((each) => (each.open = false)));
})();
