// The palette: asks /palette.json while somebody types, shows what it finds, and goes there. Focus stays in the field;
// the chosen line is told by aria-activedescendant. An answer that a later question has overtaken is dropped. Enter
// before the answer to what is typed waits for it and opens its first line.
import { getJson } from "./live.js";

const dialog = document.getElementById("palette");
const field = dialog && dialog.querySelector("input");
const list = dialog && dialog.querySelector("ul");
const status = dialog && dialog.querySelector("[role=status]");
let asked = 0;
let timer = 0;
let answered = null; // the text that the lines answer
let entered = false; // Enter waits for its answer

export function openPalette() {
  if (!dialog) return;
  field.value = "";
  answered = null;
  dialog.showModal();
  ask();
}

async function ask() {
  const mine = ++asked;
  const text = field.value;
  clearTimeout(timer);
  const url = new URL(dialog.dataset.url, location.href);
  url.searchParams.set("q", text);
  try {
    const { entries } = await getJson(url);
    if (mine !== asked) return;
    answered = text;
    show(entries);
    if (entered && dialog.open) go(list.firstElementChild);
    entered = false;
  } catch {
    if (mine !== asked) return;
    entered = false;
    status.textContent = dialog.dataset.failed;
  }
}

function show(entries) {
  list.replaceChildren(...entries.map((entry, at) => {
    const line = document.createElement("li");
    Object.assign(line, { id: `palette-${at}`, role: "option" });
    line.dataset.url = entry.url;
    const [text, kind] = ["title", "meta"].map((name) => Object.assign(document.createElement("span"), { className: name }));
    text.textContent = entry.text;
    kind.textContent = [entry.kind, entry.second].filter(Boolean).join(" · ");
    line.append(text, kind);
    return line;
  }));
  status.textContent = entries.length ? "" : dialog.dataset.nothing;
  choose(0);
}

function choose(at) {
  const lines = [...list.children];
  lines.forEach((line, n) => line.setAttribute("aria-selected", n === at ? "true" : "false"));
  if (lines[at]) {
    field.setAttribute("aria-activedescendant", lines[at].id);
    lines[at].scrollIntoView({ block: "nearest" });
  } else field.removeAttribute("aria-activedescendant");
}

function go(line) {
  if (!line) return;
  dialog.close(); // first, as the address may be a place on this page
  location.assign(line.dataset.url);
}

if (dialog) {
  field.addEventListener("input", () => {
    entered = false;
    clearTimeout(timer);
    timer = setTimeout(ask, 120);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const lines = [...list.children];
    const at = lines.findIndex((line) => line.getAttribute("aria-selected") === "true");
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (to !== undefined && lines.length) {
      event.preventDefault();
      choose((to + lines.length) % lines.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (answered === field.value) go(lines[at]);
      else if (!entered) {
        entered = true;
        ask();
      }
    }
  });
  dialog.addEventListener("close", () => (entered = false));
  list.addEventListener("click", (event) => go(event.target.closest("li")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-palette]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    link.closest("[popover]")?.hidePopover();
    openPalette();
  });
}
