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
  });
  addEventListener("afterprint", function () {
    root.setAttribute("data-bs-theme", shown);
  });
})();
