// Numbers as the page's language writes them.
const language = document.documentElement.lang || "it";
const whole = new Intl.NumberFormat(language, { useGrouping: "always", maximumFractionDigits: 2 });
const amount = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 4 });
const tiny = new Intl.NumberFormat(language, { maximumSignificantDigits: 2 });
const units = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export { language };

export function at(data, path) {
  return path.split(".").reduce((value, key) => (value === null || value === undefined ? undefined : value[key]), data);
}

// One decimal, the nearest; below 100 for all that is less, because 100 % says that none failed.
function percentage(value) {
  const near = Math.floor(value * 10 + 0.5 + 1e-6) / 10;
  return near >= 100 && value < 100 - 1e-7 ? 99.9 : near;
}

export function show(value, as) {
  if (value === null || value === undefined) return "–";
  if (as === "percent") return tenths.format(percentage(value)) + "%";
  if (as === "duration") return duration(value);
  if (as === "amount") return (value && Math.abs(value) < 0.001 ? tiny : amount).format(value);
  return typeof value === "number" ? whole.format(value) : String(value);
}

// 40 ms; 0,9 s; 15 s; 15,2 s; 2 min 40 s; 3 h 5 min; 4 d 2 h: the same shapes as the server's filter.
export function duration(ms) {
  if (ms < 100) return `${(ms > 0 && ms < 1 ? tenths : units).format(ms)} ms`;
  if (ms < 59950) return `${(ms >= 10000 && ms % 1000 === 0 ? whole : tenths).format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  if (h >= 24) {
    const d = `${Math.floor(h / 24)} ${document.body.dataset.day || "d"}`;
    return h % 24 ? `${d} ${h % 24} h` : d;
  }
  if (h) return m ? `${h} h ${m} min` : `${h} h`;
  return s ? `${m} min ${s} s` : `${m} min`;
}
