// Shows what the person asked to be told: the end of followed jobs and batches, new alerts. The socket says when there is
// something (live.js), else it is asked every 15 s; the server knows what this browser has not seen (`after`). With the
// permission the platform shows it, whatever page is open; else the open page does.
// One notification however many tabs: they take turns (navigator.locks), the last id is kept for all of them, and a tag
// makes the platform replace what it shows already. It is kept after it is shown, so a closed tab loses none.
// A service worker shows it (notices-worker.js): phones know no other way, and its click works when the page has moved on.
import { getJson } from "./live.js";

const POLL = 15000;
const HEARD = 25000; // the socket speaks every 5 s
const MOST = 6; // on a page; all are on /account
const place = document.getElementById("toasts");
const key = place && `notices:${place.dataset.who}`;
let memory = null; // where storage is off
let looking = false;
let again = false;

function last() {
  try {
    return localStorage.getItem(key) ?? memory;
  } catch {
    return memory;
  }
}

function keep(id) {
  memory = String(id);
  try {
    localStorage.setItem(key, memory);
  } catch {
    // This page still knows it.
  }
}

// What this browser can do: a name of `data-when` in partials/notify_here.html.
function ability() {
  if (!window.isSecureContext) return "insecure";
  if (!("Notification" in window)) return "unsupported";
  return Notification.permission;
}

async function worker() {
  const registration = await navigator.serviceWorker.register(place.dataset.worker);
  const coming = registration.installing || registration.waiting;
  if (!registration.active && coming) {
    await new Promise((ready) => {
      coming.addEventListener("statechange", () => ["activated", "redundant"].includes(coming.state) && ready());
    });
  }
  return registration;
}

async function notify(notice) {
  const options = { body: notice.body, tag: `${key}:${notice.id}`, data: { link: notice.link }, lang: document.documentElement.lang };
  try {
    await (await worker()).showNotification(notice.title, options);
  } catch {
    try {
      const shown = new Notification(notice.title, options);
      shown.onclick = () => {
        window.focus();
        location.assign(notice.link);
      };
    } catch {
      toast(notice);
    }
  }
}

function toast(notice) {
  const box = document.createElement("div");
  box.className = "flash info";
  const words = document.createElement("span");
  const link = document.createElement("a");
  link.href = notice.link;
  link.textContent = notice.title;
  words.append(link, notice.body ? ` ${notice.body}` : "");
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button small";
  close.textContent = place.dataset.close;
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  place.append(box);
  if (place.children.length > MOST) place.firstElementChild.remove();
}

async function ask() {
  const tells = ability() === "granted";
  if (!tells && document.hidden) return; // a toast would be seen by nobody
  const after = last();
  const { notices, last: newest } = await getJson(place.dataset.url + (after === null ? "" : `?after=${encodeURIComponent(after)}`));
  for (const notice of notices) {
    if (tells) await notify(notice);
    else toast(notice);
  }
  keep(newest.id);
}

async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  try {
    do {
      again = false;
      if (navigator.locks) await navigator.locks.request(key, ask);
      else await ask();
    } while (again);
  } catch {
    // The session has ended, or the site does not answer: live.js says so. What is new comes with the next look.
  }
  looking = false;
}

function tell() {
  for (const region of document.querySelectorAll("[data-notify]")) {
    for (const words of region.querySelectorAll("[data-when]")) words.hidden = words.dataset.when !== ability();
  }
}

if (place) {
  tell();
  look();
  window.addEventListener("live:notices", look);
  document.addEventListener("visibilitychange", () => document.hidden || look());
  setInterval(() => Date.now() - Number(document.body.dataset.heard || 0) > HEARD && look(), POLL);
  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-notify-ask]")) return;
    await Notification.requestPermission();
    tell();
  });
  if (navigator.serviceWorker) {
    navigator.serviceWorker.addEventListener("message", (event) => {
      if (typeof event.data?.open === "string") location.assign(event.data.open);
    });
  }
}
