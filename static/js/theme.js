// Runs before the first paint, so that a page never flashes in the wrong colours.
(function () {
  "use strict";
  var stored = null;
  try { stored = localStorage.getItem("theme"); } catch (e) { /* storage may be off */ }
  var dark = window.matchMedia && matchMedia("(prefers-color-scheme: dark)").matches;
  var root = document.documentElement;
  root.setAttribute("data-bs-theme", stored === "dark" || stored === "light" ? stored : dark ? "dark" : "light");
  root.classList.add("js");
  // Charts are drawn in the colours of the theme: on paper in those of the light one (charts.js follows the attribute).
  var shown = "";
  addEventListener("beforeprint", function () {
    shown = root.getAttribute("data-bs-theme");
    root.setAttribute("data-bs-theme", "light");
    // The ages on the page ("2 min ago") are of this minute; sv-SE writes 2026-11-27 09:30.
    var now = { timeZone: root.dataset.timezone, dateStyle: "short", timeStyle: "short" };
    document.querySelectorAll("[data-printed]").forEach(function (place) { place.textContent = new Date().toLocaleString("sv-SE", now); });
  });
  addEventListener("afterprint", function () {
    root.setAttribute("data-bs-theme", shown);
  });
})();
