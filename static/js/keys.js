// Keys for those who do not want to leave the keyboard: `?` lists them. A letter does nothing while somebody types, while
// a dialog is open, with Ctrl, Alt or Meta, or when the keys are switched off in this browser.
import { openPalette } from "./palette.js";

const STORED = "keys";
const help = document.getElementById("keys");
const box = help && help.querySelector("[data-keys-on]");

function on() {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return !box || box.checked; // storage may be off: the choice then holds for this page
  }
}

const typing = (target) => target.closest && target.closest("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=submit])");
const visible = (element) => element.checkVisibility({ visibilityProperty: true });
const link = (row) => row.querySelector("a.title") || row.querySelector("a[href]"); // an entry of the log has no title
const rows = () => [...document.querySelectorAll("main .t tbody tr")].filter((row) => visible(row) && link(row) && visible(link(row)));

// The row that has the focus, or the first one.
function current() {
  const all = rows();
  const at = all.indexOf(document.activeElement.closest("tr"));
  return { all, at };
}

function move(step) {
  const { all, at } = current();
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  if (!next) return;
  link(next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function tick() {
  const { all, at } = current();
  const mark = at >= 0 && all[at].querySelector(".tick");
  if (mark) mark.click();
}

// The row's own button where it has one; in the list, the bar's for what is ticked, or for this row.
function retry() {
  const { all, at } = current();
  const bar = document.querySelector('.bulk [name="action"][value="retry"]');
  if (!bar) {
    const own = at >= 0 && all[at].querySelector('form[action*="/retry/"] button');
    if (own) own.click();
    return;
  }
  const mark = at >= 0 && all[at].querySelector(".tick");
  if (!document.querySelector(".jobs tbody .tick:checked") && mark) mark.click();
  setTimeout(() => bar.disabled || bar.click(), 50); // after the bar has counted what is ticked
}

function search() {
  const field = ["main input[type=search]", "main form[role=search] input", "main form.toolbar input:not([type=hidden])"].flatMap((kind) => [...document.querySelectorAll(kind)]).find(visible);
  if (!field) return openPalette();
  field.focus();
  return field.select();
}

const KEYS = { "?": () => help.showModal(), "/": search, j: () => move(1), k: () => move(-1), x: tick, r: retry };

document.addEventListener("keydown", (event) => {
  if (!help || event.defaultPrevented || event.isComposing || event.altKey || !on()) return;
  const open = document.querySelector("dialog[open], [popover]:popover-open");
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || open || typing(event.target) || (event.repeat && !"jk".includes(event.key))) return;
  const act = Object.hasOwn(KEYS, event.key) && KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

if (help) {
  box.checked = on();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(STORED, box.checked ? "on" : "off");
    } catch {
      // as above
    }
  });
  for (const button of document.querySelectorAll("[data-keys]")) {
    button.addEventListener("click", () => {
      button.closest("[popover]")?.hidePopover();
      help.showModal();
    });
  }
}
