// Keeps a page fresh. A WebSocket names the parts that have changed (socket.js); of those that are on this page one request
// brings the HTML, from the same templates as the first render, with the figures (JSON). Without a socket the page asks for
// all its parts every few seconds. It pauses in a hidden tab, refreshes on return, gives up an overdue answer, backs off on
// errors, and always says how old what one sees is: since the last answer, or the last message that named nothing of it.
// When neither a message nor an answer has come for a while it says that it reconnects, before any request has failed.
import { follow, grow } from "./ages.js";
import { at, duration, language, show } from "./figures.js";
import { morph } from "./morph.js";
import { socket } from "./socket.js";

const OVERDUE = 10000;
const LONGEST = 60000;
const SAFETY = 300000; // with a socket everything is asked for once in this time: a day begins, an age becomes a time of day
const SILENT = 12000; // two messages of the server, one each 5 s, are missing
const HIDDEN = 60000; // a hidden tab leaves its place to others, unless it shows notifications
const HEAD = "head"; // the numbers outside all parts

class SessionEnded extends Error {}

// What a script asks for by itself (X-Poll) keeps nobody signed in.
export async function getJson(url, headers = {}) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), OVERDUE);
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json", "X-Poll": "1", ...headers }, cache: "no-store", signal: giveUp.signal });
    if (answer.status === 401 || answer.status === 403) throw new SessionEnded();
    if (!answer.ok || answer.redirected) throw new Error(`answer ${answer.status}`);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

export function live() {
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "long" });
  let timer = 0;
  let due = Infinity; // when the timer asks
  let clock = 0;
  let leave = 0;
  let ticked = Date.now();
  let running = false;
  let failed = false;
  let delay = 0;
  let spread = 0; // over how long the pages of all people spread their requests, in ms
  let paced = 0; // when the next request may begin, but for one in advance
  let turn = 0; // when this page asks for what is owed
  let safety = Date.now() + SAFETY; // when it asks for everything
  let fresh = Date.now();
  let heard = Date.now(); // a message or an answer
  let said = "";
  let asked = 0; // how often a component has changed something: what was under way then is too old
  let line = null;
  const owed = new Set(); // parts that have changed since they were asked for

  return {
    init() {
      delay = this.period();
      line = socket(this.$root.dataset.live, {
        told: (message, first) => this.told(message, first),
        lost: () => this.plan(),
        over: () => this.say("ended"),
      });
      document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.wake()));
      window.addEventListener("online", () => this.wake());
      window.addEventListener("offline", () => this.lose());
      window.addEventListener("pageshow", (event) => event.persisted && this.wake());
      window.addEventListener("live:now", () => {
        asked += 1;
        this.refresh();
      });
      clock = setInterval(() => this.tell(), 1000);
      this.say("fresh");
      this.count(Number(this.figure("failed-jobs") || 0));
      if (document.hidden) this.pause();
      else {
        line.show();
        this.plan();
        if (navigator.onLine === false) this.lose();
      }
    },
    destroy() {
      clearTimeout(timer);
      clearTimeout(leave);
      clearInterval(clock);
      line.hide();
    },
    period() {
      return Number(this.$root.dataset.interval) || 5000;
    },
    figure(id) {
      const element = document.getElementById(id);
      return element && element.textContent.replace(/\D/g, "");
    },
    pause() {
      clearTimeout(timer);
      due = Infinity;
      if (this.state() !== "ended") this.say("paused");
      clearTimeout(leave);
      const tells = window.Notification && Notification.permission === "granted";
      if (!tells) leave = setTimeout(() => line.hide(), HIDDEN);
    },
    wake() {
      clearTimeout(leave);
      if (document.hidden || this.state() === "ended") return;
      line.show();
      this.refresh();
    },
    state() {
      return this.$refs.live.dataset.state;
    },

    // All that this page can ask for.
    parts() {
      const names = [...document.querySelectorAll("[data-partial]")].map((place) => place.dataset.partial);
      return [...names, HEAD, ...(document.querySelector("[x-data=charts]") ? ["charts"] : [])];
    },
    told(message, first) {
      spread = message.spread_ms || 0;
      follow(message.at);
      heard = Date.now();
      this.$root.dataset.heard = String(Date.now()); // notices.js asks by itself only without a socket
      if (message.changed.includes("notices_feed")) window.dispatchEvent(new CustomEvent("live:notices"));
      if (this.state() === "ended" || document.hidden) return;
      const here = this.parts().filter((name) => message.changed.includes(name));
      for (const name of here) owed.add(name);
      const early = spread > 1000 ? 0 : this.gap(); // two requests may follow each other at once when few people look
      if (here.length && !turn) turn = Math.max(paced - early, Date.now()) + Math.random() * spread;
      if (first) {
        failed = false;
        delay = this.period();
        due = Infinity;
      }
      if (!here.length && !owed.size && !running && !failed && message.monitor) {
        fresh = Date.now();
        this.late(message.monitor);
      }
      this.plan();
    },
    gap() {
      return Math.max(1000, spread, this.period() > 5000 ? this.period() : 0);
    },
    // Sets the timer, unless an earlier request is planned.
    plan() {
      if (running || document.hidden || this.state() === "ended") return;
      const now = Date.now();
      let next = now + delay + Math.random() * spread;
      if (line.open && !failed) next = Math.min(turn || safety, safety);
      if (next >= due) return;
      clearTimeout(timer);
      due = next;
      timer = setTimeout(() => (next === turn ? this.ask() : this.refresh()), next - now);
    },
    refresh() {
      for (const name of this.parts()) owed.add(name);
      safety = Date.now() + SAFETY * (0.75 + Math.random() / 2);
      return this.ask();
    },

    async ask() {
      if (running || this.state() === "ended") return;
      running = true;
      clearTimeout(timer);
      due = Infinity;
      const mine = asked;
      const names = [...owed];
      const began = Date.now();
      paced = Math.min(Math.max(paced, began), began + this.gap()) + this.gap();
      turn = 0;
      owed.clear();
      try {
        const answer = await getJson(this.$root.dataset.url, { "X-Partials": names.join() });
        heard = Date.now();
        if (mine === asked && !this.swap(answer.partials)) {
          for (const name of names) owed.add(name);
          turn = Date.now() + this.period();
        } else fresh = began;
        this.fill(answer);
        follow(answer.timestamp);
        window.dispatchEvent(new CustomEvent("live:tick"));
        if (names.includes("charts")) window.dispatchEvent(new CustomEvent("live:charts"));
        failed = false;
        delay = this.period();
        this.late(answer.monitor);
      } catch (error) {
        if (error instanceof SessionEnded) this.say("ended");
        else {
          for (const name of names) owed.add(name);
          failed = true;
          delay = Math.min(delay * 2, LONGEST);
          this.say("off");
        }
      } finally {
        running = false;
      }
      if (this.state() === "ended") line.hide();
      else if (mine !== asked) this.refresh();
      else if (document.hidden) this.pause();
      else this.plan();
    },

    // The HTML of the partials; not while a question is open, as it speaks of what stands below it, nor while a row is moved:
    // then false.
    swap(partials) {
      if (document.querySelector("dialog[open], .lifted")) return false;
      for (const [name, html] of Object.entries(partials)) {
        for (const place of document.querySelectorAll(`[data-partial="${CSS.escape(name)}"]`)) morph(place, html);
      }
      return true;
    },
    fill(data) {
      for (const element of document.querySelectorAll("[data-figure]")) {
        const value = at(data, element.dataset.figure);
        if (value === undefined) continue;
        const text = show(value, element.dataset.as);
        if (element.textContent !== text) element.textContent = text;
        if (element.dataset.none !== undefined) element.hidden = !value;
      }
      const failed = at(data, this.$root.dataset.titleFigure || "");
      if (typeof failed === "number") this.count(failed, at(data, "alerts.open") || 0);
    },

    // "(3) Job Monitoring Dashboard" and the number in the tab's icon; "(! 3)" and an exclamation mark while an alert is open.
    count(failed, alerts) {
      const bare = document.title.replace(/^\([!\d][!\d +]*\) /, "");
      const words = [alerts ? "!" : "", failed ? (failed > 999 ? "999+" : failed) : ""].filter(Boolean).join(" ");
      const title = words ? `(${words}) ${bare}` : bare;
      if (document.title === title) return;
      document.title = title;
      favicon(alerts ? "!" : failed > 99 ? "99+" : failed ? String(failed) : "");
    },

    late(monitor) {
      const state = monitor.age_s === null ? "off" : monitor.late ? "late" : "running";
      const footer = document.getElementById("monitor-state");
      if (footer) footer.textContent = footer.dataset[state].replace("{time}", duration((monitor.age_s || 0) * 1000));
      return this.say(state === "running" ? "fresh" : "late", monitor);
    },
    say(state, monitor) {
      const words = document.getElementById("last-update");
      const { dataset } = words;
      this.$refs.live.dataset.state = state;
      // Announced only when something is wrong; a screen reader must not count seconds.
      words.setAttribute("aria-live", state === "fresh" || state === "paused" ? "off" : "polite");
      let text = "";
      if (state === "paused") text = dataset.paused;
      if (state === "off") text = dataset.reconnecting;
      if (state === "late") text = monitor.age_s === null ? dataset.off : dataset.late.replace("{time}", duration(monitor.age_s * 1000));
      if (state === "ended") text = dataset.ended;
      if (!text) {
        said = "";
        return this.tell();
      }
      if (text === said) return undefined;
      said = text;
      words.replaceChildren(text);
      if (state === "ended") {
        const link = document.createElement("a");
        link.href = `${this.$root.dataset.loginUrl}?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`;
        link.textContent = dataset.signIn;
        words.append(" ", link);
      }
      return undefined;
    },
    lose() {
      if (this.state() === "fresh" || this.state() === "late") this.say("off");
    },
    tell() {
      const slept = Date.now() - ticked > 30000;
      ticked = Date.now();
      if (slept) this.wake();
      if (!document.hidden) grow();
      if (Date.now() - heard > SILENT + (line.open ? 0 : Math.max(0, delay - 5000) + spread)) this.lose();
      const words = document.getElementById("last-update");
      const seconds = Math.max(0, Math.round((Date.now() - fresh) / 1000));
      const ago = seconds < 1 ? words.dataset.now : seconds < 60 ? relative.format(-seconds, "second") : relative.format(-Math.floor(seconds / 60), "minute");
      const long = document.createElement("span");
      long.className = "long";
      long.textContent = `${words.dataset.updated} `;
      if (this.state() === "off") {
        const age = words.querySelector(".age") || document.createElement("span");
        age.className = "age";
        age.ariaHidden = "true"; // that it reconnects is announced once
        age.textContent = ` (${words.dataset.updated} ${ago})`.toLowerCase();
        if (!age.isConnected) words.append(age);
      }
      if (said === ago || this.state() !== "fresh") return;
      said = ago;
      words.replaceChildren(long, ago);
    },
  };
}

function favicon(text) {
  const link = document.querySelector('link[rel="icon"]');
  link.dataset.plain = link.dataset.plain || link.href;
  if (!text) {
    link.type = "image/svg+xml";
    link.href = link.dataset.plain;
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#b3261e";
  pen.beginPath();
  pen.roundRect(0, 0, 32, 32, 7);
  pen.fill();
  pen.fillStyle = "#fff";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = `600 ${text.length > 2 ? 15 : 20}px system-ui, sans-serif`;
  pen.fillText(text, 16, 17);
  link.type = "image/png";
  link.href = canvas.toDataURL();
}
