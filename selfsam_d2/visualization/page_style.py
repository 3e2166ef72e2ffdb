"""How a page looks, in light and dark, and how its tables are sorted."""

from __future__ import annotations

__all__ = ["SORT_SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --text: #1d2530; --paper: #f5f6f8; --card: #fff; --line: #dde1e7; --rule: #9aa5b4;
  --code: #f0f2f5; --up: #0b6b34; --down: #a61b1b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e3e7ee; --paper: #14181e; --card: #1d232b; --line: #333c48; --rule: #66727f;
    --code: #161b21; --up: #5fd08c; --down: #ff8d85;
  }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--paper);
  margin: 0; }
main { max-width: 1200px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
p { max-width: 75ch; margin: .5rem 0; overflow-wrap: anywhere; }
section, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  margin: 0 0 1.25rem; }
section { padding: .5rem 1.25rem 1rem; }
figure { padding: 1rem; }
figcaption { margin-bottom: .75rem; max-width: 95ch; }
figcaption strong { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-bottom: .75rem; }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
  border: 1px solid var(--rule); vertical-align: -.1em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; max-width: 95ch;
  margin: .75rem 0 0; font-size: .9rem; }
dt { font-weight: 600; }
dd { margin: 0; }
.wide, .fit { overflow-x: auto; }
.wide img { max-width: none; }
img { max-width: 100%; height: auto; display: block; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .75rem 0; }
th, td { padding: .35rem .9rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, .text { text-align: left; }
thead th { border-bottom: 2px solid var(--rule); vertical-align: bottom; }
tfoot td:not(:first-child) { text-align: right; }
tfoot td { border-top: 2px solid var(--rule); border-bottom: 0; font-weight: 600; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
th button::after { content: "\\a0\\2195"; opacity: .45; }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; opacity: 1; }
.up { color: var(--up); font-weight: 600; }
.down { color: var(--down); font-weight: 600; }
pre { overflow-x: auto; background: var(--code); padding: 1rem; border-radius: 6px;
  font-size: 13px; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) {
  main { padding: 1rem .6rem 3rem; }
  section { padding: .25rem .75rem .75rem; }
  figure { padding: .6rem; }
  th, td { padding: .3rem .5rem; }
}
""".strip()

# A click on a heading sorts by its column, numbers by size, what is undefined last; a second click
# turns the order round. The headings become buttons here, so that none is there without a script.
SORT_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].textContent;
      const rows = [...body.rows];
      const numeric = rows.every((row) => key(row) === "–" || Number.isFinite(+key(row)));
      rows.sort((a, b) => {
        const [one, other] = [key(a), key(b)];
        if (one === "–" || other === "–") return (one === "–") - (other === "–");
        const order = numeric ? one - other : one.localeCompare(other, "en", { numeric: true });
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
""".strip()
