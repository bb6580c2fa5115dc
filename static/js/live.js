// Keeps a page fresh: every few seconds one request for the figures (JSON) and for the parts of this page that the header
// names (HTML from the same templates as the first render). Pauses in a hidden tab, refreshes on return, gives up an overdue answer, backs off on errors,
// and always says how old what one sees is.
import { at, duration, language, show } from "./figures.js";
import { morph } from "./morph.js";

const OVERDUE = 10000;
const LONGEST = 60000;

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
  let clock = 0;
  let running = false;
  let delay = 0;
  let fresh = Date.now();
  let said = "";
  let asked = 0; // how often a component has changed something: what was under way then is too old

  return {
    init() {
      delay = this.period();
      document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.refresh()));
      window.addEventListener("online", () => this.refresh());
      window.addEventListener("live:now", () => {
        asked += 1;
        this.refresh();
      });
      clock = setInterval(() => this.tell(), 1000);
      this.count(Number(this.figure("failed-jobs") || 0));
      if (document.hidden) this.pause();
      else this.later();
    },
    destroy() {
      clearTimeout(timer);
      clearInterval(clock);
    },
    period() {
      return Number(this.$root.dataset.interval) || 5000;
    },
    figure(id) {
      const element = document.getElementById(id);
      return element && element.textContent.replace(/\D/g, "");
    },
    later() {
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh(), delay);
    },
    pause() {
      clearTimeout(timer);
      if (this.state() !== "ended") this.say("paused");
    },
    state() {
      return this.$refs.live.dataset.state;
    },

    async refresh() {
      if (running || this.state() === "ended") return;
      running = true;
      clearTimeout(timer);
      const mine = asked;
      const names = [...document.querySelectorAll("[data-partial]")].map((place) => place.dataset.partial);
      try {
        const answer = await getJson(this.$root.dataset.url, { "X-Partials": names.join() });
        if (mine === asked) this.swap(answer.partials);
        this.fill(answer);
        window.dispatchEvent(new CustomEvent("live:tick"));
        fresh = Date.now();
        delay = this.period();
        this.late(answer.monitor);
      } catch (error) {
        if (error instanceof SessionEnded) this.say("ended");
        else {
          delay = Math.min(delay * 2, LONGEST);
          this.say("off");
        }
      } finally {
        running = false;
      }
      if (this.state() === "ended") return;
      if (mine !== asked) this.refresh();
      else if (document.hidden) this.pause();
      else this.later();
    },

    // The HTML of the partials; not while a question is open, as it speaks of what stands below it, nor while a row is moved.
    swap(partials) {
      if (document.querySelector("dialog[open], .lifted")) return;
      for (const [name, html] of Object.entries(partials)) {
        for (const place of document.querySelectorAll(`[data-partial="${CSS.escape(name)}"]`)) morph(place, html);
      }
    },
    fill(data) {
      for (const element of document.querySelectorAll("[data-figure]")) {
        const value = at(data, element.dataset.figure);
        if (value === undefined) continue;
        const text = show(value, element.dataset.as);
        if (element.textContent !== text) element.textContent = text;
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
        link.href = `${this.$root.dataset.loginUrl}?next=${encodeURIComponent(location.pathname + location.search)}`;
        link.textContent = dataset.signIn;
        words.append(" ", link);
      }
      return undefined;
    },
    tell() {
      if (this.state() !== "fresh") return;
      const words = document.getElementById("last-update");
      const seconds = Math.round((Date.now() - fresh) / 1000);
      const ago = seconds < 1 ? words.dataset.now : seconds < 60 ? relative.format(-seconds, "second") : relative.format(-Math.floor(seconds / 60), "minute");
      if (said === ago) return;
      said = ago;
      const long = document.createElement("span");
      long.className = "long";
      long.textContent = `${words.dataset.updated} `;
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
