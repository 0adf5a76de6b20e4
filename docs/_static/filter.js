// A field above each table of the class "filterable" that hides the rows without all of its words.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.filterable")) {
    const rows = [...table.tBodies[0].rows];
    const box = document.createElement("p");
    const field = document.createElement("input");
    const count = document.createElement("span");
    box.className = "filter";
    field.type = "search";
    field.placeholder = "Filter the rows";
    field.setAttribute("aria-label", field.placeholder);
    count.setAttribute("aria-live", "polite");
    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += row.hidden ? 0 : 1;
      }
      count.textContent = `${left} of ${rows.length} rows`;
    };
    field.addEventListener("input", show);
    box.append(field, count);
    (table.closest(".table-wrapper") || table).before(box);
    show();
  }
});
