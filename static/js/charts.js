// Draws what the server sends: rows with a label each, the series that data-series names, and the same rows into the
// table beside. Knows no metric by name. A row's `deploys` become lines, at their place within the bucket. A ring shows five slices: of more kinds the last is all the others together. Colours are the page's custom properties --chart-<series> and, for a kind with a colour of its own, --chart-<colour>; 5 is that of all others.
import { language, show } from "./figures.js";
import { getJson } from "./live.js";

const SLICES = 5;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function second(text) {
  const span = document.createElement("span");
  span.className = "second";
  span.textContent = text;
  return span;
}

export function charts() {
  // Kept out of Alpine's reactive data: a proxied chart recurses without end.
  let chart = null;
  let rows = [];
  let series = [];
  let onTick = null;
  let themes = null;
  let asked = 0;

  return {
    init() {
      series = JSON.parse(this.$root.dataset.series);
      rows = JSON.parse(this.$root.dataset.rows);
      this.draw();
      onTick = (event) => this.load(event.detail);
      window.addEventListener("live:charts", onTick);
      window.addEventListener("charts:period", onTick);
      themes = new MutationObserver(() => this.paint("theme"));
      themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
      document.fonts.ready.then(() => chart && chart.update("theme"));
    },
    destroy() {
      window.removeEventListener("live:charts", onTick);
      window.removeEventListener("charts:period", onTick);
      themes.disconnect();
      if (chart) chart.destroy();
    },

    choose(event) {
      const link = event.currentTarget;
      for (const other of link.parentElement.children) other.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      history.replaceState(null, "", link.href);
      const poll = new URL(document.body.dataset.url, location.href); // the links that a poll renders keep the period
      poll.searchParams.set("period", link.dataset.period);
      document.body.dataset.url = poll.href;
      window.dispatchEvent(new CustomEvent("charts:period", { detail: link.dataset }));
    },

    async load(chosen) {
      const root = this.$root;
      if (chosen) {
        root.dataset.period = chosen.period;
        const title = root.querySelector("[data-title]");
        title.textContent = title.dataset[chosen.period] || chosen.title;
        for (const link of root.querySelectorAll("a[data-csv]")) link.href = link.href.replace(/=\w+$/, `=${chosen.period}`);
      }
      const url = new URL(root.dataset.url, location.href);
      url.searchParams.set("period", root.dataset.period);
      if (root.dataset.kind === "bars") url.searchParams.set("bucket", root.dataset.period === "24h" ? "hour" : "day");
      const mine = ++asked;
      try {
        const answer = await getJson(url);
        if (mine !== asked) return; // a later question has been asked meanwhile
        rows = answer;
        this.draw();
      } catch {
        // The page says "reconnecting" already; the chart keeps what it shows.
      }
    },

    // What is drawn: of more than five kinds the first four and the sum of the others.
    drawn() {
      if (this.$root.dataset.kind !== "ring" || rows.length <= SLICES) return rows;
      const others = rows.slice(SLICES - 1);
      const sum = { label: this.$root.dataset.others.replace("{n}", show(others.length)) };
      for (const key of Object.keys(others[0])) if (typeof others[0][key] === "number") sum[key] = others.reduce((all, row) => all + (row[key] || 0), 0);
      sum.colour = SLICES;
      return [...rows.slice(0, SLICES - 1), sum];
    },
    label(row) {
      if (row.label) return row.label;
      const short = this.hour(row);
      // Where the clocks change, an hour of the day comes twice within the last 24: 02:00 CEST and 02:00 CET.
      return rows.filter((other) => this.hour(other) === short).length === 1 ? short : this.hour(row, "short");
    },
    hour(row, zone) {
      const day = /^\d{4}-\d\d-\d\d$/.test(row.date);
      const shape = day ? { day: "numeric", month: "short", timeZone: "UTC" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: document.documentElement.dataset.timezone, timeZoneName: zone };
      return new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, shape).format(new Date(row.date));
    },

    draw() {
      const root = this.$root;
      const some = rows.some((row) => row.total);
      root.querySelector("[data-empty]").hidden = some;
      root.querySelector("[data-full]").hidden = !some;
      this.table();
      if (!some || !window.Chart) return;
      if (!chart) chart = new window.Chart(root.querySelector("canvas"), this.config());
      const drawn = this.drawn();
      chart.data.labels = drawn.map((row) => this.label(row));
      series.forEach(([key], i) => {
        chart.data.datasets[i].data = drawn.map((row) => row[key]);
      });
      this.paint();
    },

    table() {
      this.fill(this.$root.querySelector("[data-twin]"), this.drawn());
      const whole = this.$root.querySelector("[data-whole]");
      if (whole) {
        this.fill(whole, rows);
        whole.closest("details").hidden = rows.length <= SLICES;
      }
      for (const sum of this.$root.querySelectorAll("[data-sum]")) {
        sum.textContent = show(rows.reduce((all, row) => all + row[sum.dataset.sum], 0));
      }
      const [average, start] = ["[data-average]", "[data-start]"].map((name) => this.$root.querySelector(name));
      if (average) {
        const [done, time] = rows.reduce(([n, ms], row) => [n + row.completed, ms + row.completed * (row.avg_time || 0)], [0, 0]);
        average.closest("footer").hidden = !done;
        average.textContent = done ? show(time / done, "duration") : "";
      }
      if (start && rows.length) start.textContent = this.label(rows[0]);
    },
    fill(body, some) {
      const columns = [...body.closest("table").querySelectorAll("thead [data-col]")];
      const { page } = this.$root.dataset;
      const lines = some.map((row) => {
        const line = document.createElement("tr");
        columns.forEach(({ dataset }, c) => {
          const cell = document.createElement(c ? "td" : "th");
          if (c) cell.className = "num";
          else cell.scope = "row";
          if (dataset.swatch !== undefined) {
            const swatch = document.createElement("span");
            swatch.className = `swatch k${row.colour}`;
            cell.append(swatch);
          }
          const text = dataset.col === "label" ? this.label(row) : show(row[dataset.col], dataset.as);
          const url = page && row.job_type && this.url(dataset.col, row);
          if (url) {
            const link = document.createElement("a");
            link.href = url;
            link.append(text);
            cell.append(link);
          } else cell.append(text);
          if (dataset.col === "label") for (const deploy of row.deploys || []) cell.append(second(`${deploy.at} ${deploy.text}`));
          line.append(cell);
        });
        return line;
      });
      body.replaceChildren(...lines);
    },

    // Where a cell of the table of types leads: a name to its page, a number to the jobs that it counts.
    url(column, row) {
      const { page, list } = this.$root.dataset;
      if (column === "label") return page.slice(0, -1) + row.job_type.split("/").map(encodeURIComponent).join("/");
      if (!row[column] || !row.since) return "";
      const { job_type: type, since, until } = row;
      const parts = { type, [column === "failed" ? "failed" : "outcome"]: `${since}..${until}` };
      return `${list}?${new URLSearchParams(parts)}`;
    },

    paint(mode) {
      if (!chart) return;
      const ring = this.$root.dataset.kind === "ring";
      chart.data.datasets.forEach((set, i) => {
        set.backgroundColor = ring ? this.drawn().map((row) => colour(`chart-${row.colour}`)) : colour(`chart-${series[i][0]}`);
        if (ring) set.borderColor = colour("surface");
      });
      if (!ring) {
        for (const axis of Object.values(chart.options.scales)) {
          axis.ticks.color = colour("muted");
          axis.grid.color = colour("line");
          axis.border.color = colour("line");
        }
      }
      chart.update(mode);
    },

    // Dashed lines, each with its text: in the first line of text that has room for it.
    lines(chart) {
      const { ctx, chartArea: area, scales } = chart;
      const step = scales.x.width / rows.length;
      const taken = [];
      ctx.save();
      Object.assign(ctx, { strokeStyle: colour("text"), fillStyle: colour("text"), font: `12px ${getComputedStyle(document.body).fontFamily}`, textBaseline: "top" });
      ctx.setLineDash([4, 3]);
      rows.forEach((row, i) => (row.deploys || []).forEach(({ text, place }) => {
        const x = Math.min(Math.round(scales.x.left + (i + place) * step), area.right - 1) + 0.5;
        ctx.beginPath();
        ctx.moveTo(x, area.top);
        ctx.lineTo(x, area.bottom);
        ctx.stroke();
        const shown = text.length > 24 ? `${text.slice(0, 23)}…` : text;
        const wide = ctx.measureText(shown).width;
        const start = x + 4 + wide > area.right ? x - 4 - wide : x + 4;
        let line = 0;
        while (taken.some((t) => t.line === line && start < t.end && t.start < start + wide + 8)) line += 1;
        if ((line + 1) * 15 > area.height) return;
        ctx.fillText(shown, start, area.top + line * 15);
        taken.push({ line, start, end: start + wide + 8 });
      }));
      ctx.restore();
    },

    config() {
      const font = { family: getComputedStyle(document.body).fontFamily, size: 12 };
      const still = { animation: { duration: 0 } };
      const tooltip = { titleFont: font, bodyFont: font, padding: 8, cornerRadius: 6, boxPadding: 4, callbacks: {} };
      const datasets = series.map(([, label]) => ({ label, data: [], borderWidth: 0 }));
      const common = { responsive: true, maintainAspectRatio: false, animation: false, transitions: { theme: still }, font };
      if (this.$root.dataset.kind === "ring") {
        tooltip.callbacks.label = (item) => ` ${show(item.parsed)}`;
        datasets[0].borderWidth = 2;
        return { type: "doughnut", data: { labels: [], datasets }, options: { ...common, cutout: "70%", plugins: { legend: { display: false }, tooltip } } };
      }
      tooltip.callbacks.label = (item) => ` ${item.dataset.label}: ${show(item.parsed.y, this.$root.dataset.as)}`;
      tooltip.callbacks.footer = ([item]) => (rows[item.dataIndex].deploys || []).map((deploy) => `${deploy.at} ${deploy.text}`);
      tooltip.footerFont = { ...font, weight: "normal" };
      datasets.forEach((set, i) => Object.assign(set, { maxBarThickness: 17, barPercentage: 0.62, categoryPercentage: 0.85, borderRadius: i ? { topLeft: 2, topRight: 2 } : 0 }));
      const grid = { drawTicks: false };
      return {
        type: "bar",
        data: { labels: [], datasets },
        plugins: [{ id: "deploys", afterDatasetsDraw: (chart) => this.lines(chart) }],
        options: {
          ...common,
          interaction: { mode: "index", intersect: false },
          plugins: { legend: { display: false }, tooltip },
          scales: {
            x: { stacked: true, grid: { ...grid, display: false }, border: {}, ticks: { font, padding: 8, maxRotation: 0, autoSkip: true, autoSkipPadding: 36 } },
            y: { stacked: true, beginAtZero: true, grid, border: { display: false }, ticks: { font, padding: 10, ...(this.$root.dataset.as ? {} : { precision: 0 }), maxTicksLimit: 4, callback: (value) => show(value, this.$root.dataset.as) } },
          },
        },
      };
    },
  };
}
