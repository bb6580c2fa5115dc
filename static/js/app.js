// Registers the components; Alpine's script runs after this one and starts them.
import { bulk } from "./bulk.js";
import { charts } from "./charts.js";
import "./confirm.js";
import "./copy.js";
import "./keys.js";
import { live } from "./live.js";
import "./notices.js";
import "./schedule.js";

document.addEventListener("alpine:init", () => {
  const { Alpine } = window;
  Alpine.data("live", live);
  Alpine.data("charts", charts);
  Alpine.data("bulk", bulk);
  Alpine.data("themeToggle", themeToggle);
  Alpine.data("follow", follow);
});

// A graph larger than its frame opens where the chosen job stands, or the first one of its longest chain.
const frame = document.querySelector(".graph-frame");
const chosen = frame && frame.querySelector(".chosen, .first");
if (chosen) {
  const [node, view] = [chosen, frame].map((element) => element.getBoundingClientRect());
  frame.scrollBy(node.left + node.width / 2 - view.left - view.width / 2, node.top + node.height / 2 - view.top - view.height / 2);
}

function themeToggle() {
  return {
    init() {
      this.show();
    },
    toggle() {
      const root = document.documentElement;
      root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.bsTheme);
      } catch {
        // Storage may be off; the choice then holds for this page.
      }
      this.show();
    },
    show() {
      const use = this.$root.querySelector("use");
      const icon = document.documentElement.dataset.bsTheme === "dark" ? "sun" : "moon";
      use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${icon}`));
    },
  };
}

// A log that stays at its end while lines come, unless a person has asked it to stop or scrolls up.
function follow() {
  return {
    stopped: false,
    init() {
      this.down();
      window.addEventListener("live:tick", () => this.down());
    },
    get pressed() {
      return this.stopped ? "true" : "false";
    },
    toggle() {
      this.stopped = !this.stopped;
      this.down();
    },
    down() {
      const log = this.$root.querySelector("[data-log]");
      if (log && !this.stopped) log.scrollTop = log.scrollHeight;
    },
  };
}
