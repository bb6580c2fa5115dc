// Reorders the lists of waiting jobs by pointer (mouse, pen, touch) and by keyboard. The row that is lifted has the class
// "lifted": live.js leaves the lists alone meanwhile. A drop is written at once; the answer, also a refusal, is told, and
// the lists are fetched anew, so that they show the true order.
const EDGE = 48;
let lifted = null;

const told = () => document.getElementById("order-said");
const lists = () => [...document.querySelectorAll("[data-queue]")];
const rows = (list) => [...list.querySelectorAll(":scope > [data-uuid]")];

function say(key, row, where = "") {
  const all = rows(row.parentElement);
  const list = row.parentElement;
  const guest = lifted && lifted.row === row && lifted.list !== list && lifted.how !== "back"; // not counted there yet
  const of = Math.max(Number(list.dataset.depth || 0) + (guest ? 1 : 0), all.length);
  const words = { where, job: row.dataset.label, n: all.indexOf(row) + 1, of, queue: list.dataset.queue };
  told().className = "order-said";
  told().textContent = told().dataset[key].replace(/\{(\w+)\}/g, (_, name) => words[name]);
}

function lift(handle, how) {
  const row = handle.closest("[data-uuid]");
  lifted = { row, handle, how, list: row.parentElement, next: row.nextElementSibling, slot: null, ghost: null, busy: false };
  row.classList.add("lifted");
}

function end() {
  const { row, slot, ghost } = lifted;
  row.classList.remove("lifted");
  if (slot) slot.remove();
  if (ghost) ghost.remove();
  lifted = null;
}

function cancel() {
  const { row, handle, list, next } = lifted;
  const held = document.activeElement === handle;
  lifted.how = "back";
  if (row.parentElement !== list || row.nextElementSibling !== next) list.insertBefore(row, next);
  if (held) handle.focus();
  say("cancelled", row);
  end();
}

// The row goes to its new place, and the server is told between which rows that is.
async function drop() {
  const { row, list, next, how } = lifted;
  if (row.parentElement === list && row.nextElementSibling === next) return cancel();
  lifted.how = "sent";
  const line = rows(row.parentElement);
  const at = line.indexOf(row);
  const body = new FormData();
  const given = { csrf_token: document.querySelector("#order [name=csrf_token]").value, uuid: row.dataset.uuid, queue: row.parentElement.dataset.queue, place: at + 1 };
  if (line[at - 1]) given.after = line[at - 1].dataset.uuid;
  if (line[at + 1]) given.before = line[at + 1].dataset.uuid;
  for (const [name, value] of Object.entries(given)) body.append(name, value);
  try {
    const answer = await fetch(document.getElementById("order").action, { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await answer.json();
    if (answer.ok) {
      say("dropped", row, said.where);
      document.querySelectorAll(".order-undo").forEach((element) => element.remove()); // it undoes the move before this one
    } else wrong(said.error);
  } catch {
    wrong(told().dataset.lost);
  }
  end();
  if (how === "keys") row.querySelector(".handle").focus();
  window.dispatchEvent(new CustomEvent("live:now"));
  return undefined;
}

function wrong(sentence) {
  told().className = "order-said wrong";
  told().textContent = sentence;
}

// By keyboard.
function put(list, before) {
  const { row, handle } = lifted;
  lifted.busy = true;
  list.insertBefore(row, before);
  handle.focus();
  row.scrollIntoView({ block: "nearest" });
  lifted.busy = false;
  say("moved", row);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && lifted && lifted.how === "pointer") return cancel();
  const handle = event.target.closest && event.target.closest(".handle");
  if (!handle || (lifted && lifted.how !== "keys")) return undefined;
  const key = event.key === " " || event.key === "Enter" ? "Space" : event.key;
  if (!lifted) {
    if (key !== "Space") return undefined;
    event.preventDefault();
    lift(handle, "keys");
    return say("lifted", lifted.row);
  }
  const { row } = lifted;
  const list = row.parentElement;
  const beside = lists()[lists().indexOf(list) + (key === "ArrowLeft" ? -1 : 1)];
  const moves = {
    Space: drop, Escape: cancel, Tab: cancel,
    ArrowUp: () => row.previousElementSibling && put(list, row.previousElementSibling),
    ArrowDown: () => row.nextElementSibling && put(list, row.nextElementSibling.nextElementSibling),
    Home: () => put(list, rows(list)[0]), End: () => put(list, null),
    ArrowLeft: () => beside && put(beside, rows(beside)[rows(list).indexOf(row)] || null),
    ArrowRight: () => beside && put(beside, rows(beside)[rows(list).indexOf(row)] || null),
  };
  if (!moves[key]) return undefined;
  if (key !== "Tab") event.preventDefault();
  event.stopPropagation();
  return moves[key]();
}, true);
document.addEventListener("focusout", () => lifted && lifted.how === "keys" && !lifted.busy && cancel());

// By pointer: a copy of the row follows it, and a bar shows where the row will stand.
document.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle || lifted || event.button > 0 || !event.isPrimary) return;
  event.preventDefault();
  lift(handle, "pointer");
  const box = lifted.row.getBoundingClientRect();
  Object.assign(lifted, { id: event.pointerId, x: event.clientX, y: event.clientY, dx: event.clientX - box.left, dy: event.clientY - box.top });
  lifted.slot = Object.assign(document.createElement("li"), { className: "slot" });
  lifted.slot.setAttribute("aria-hidden", "true");
  lifted.ghost = lifted.row.cloneNode(true);
  lifted.ghost.className = "order-ghost";
  lifted.ghost.removeAttribute("data-uuid");
  lifted.ghost.querySelectorAll("input").forEach((input) => input.remove());
  lifted.ghost.style.width = `${box.width}px`;
  document.body.append(lifted.ghost);
  follow();
  requestAnimationFrame(scroll);
});

function follow() {
  const { ghost, slot, x, y, dx, dy } = lifted;
  ghost.style.transform = `translate(${Math.max(0, Math.min(x - dx, document.documentElement.clientWidth - ghost.offsetWidth))}px, ${y - dy}px)`;
  const under = document.elementFromPoint(x, y);
  const panel = under && under.closest(".order-lists .panel");
  if (!panel) return;
  const list = panel.querySelector("[data-queue]");
  const next = rows(list).find((row) => row !== lifted.row && row.getBoundingClientRect().bottom - row.offsetHeight / 2 > y);
  if (slot.parentElement !== list || slot.nextElementSibling !== (next || null)) list.insertBefore(slot, next || null);
}

// Near an edge of the list or of the window, it scrolls.
function scroll() {
  if (!lifted || lifted.how !== "pointer") return;
  const { slot, y } = lifted;
  const list = slot.parentElement;
  const speed = (top, bottom) => (y < top + EDGE ? -8 : y > bottom - EDGE ? 8 : 0);
  if (list) {
    const box = list.getBoundingClientRect();
    if (list.scrollHeight > list.clientHeight) list.scrollBy(0, speed(Math.max(box.top, 0), Math.min(box.bottom, innerHeight)));
  }
  scrollBy(0, speed(0, innerHeight));
  follow();
  requestAnimationFrame(scroll);
}

document.addEventListener("pointermove", (event) => {
  if (!lifted || lifted.how !== "pointer" || event.pointerId !== lifted.id) return;
  if (event.pointerType === "mouse" && !event.buttons) return void cancel(); // it was let go outside the window
  lifted.x = event.clientX;
  lifted.y = event.clientY;
  follow();
});
document.addEventListener("pointerup", (event) => {
  if (!lifted || lifted.how !== "pointer" || event.pointerId !== lifted.id) return;
  const { row, slot, ghost } = lifted;
  if (slot.parentElement) slot.replaceWith(row);
  ghost.remove();
  drop();
});
document.addEventListener("pointercancel", (event) => lifted && lifted.id === event.pointerId && lifted.how === "pointer" && cancel());
