// Ages grow between two answers: "12 seconds ago", "3 min ago" and "in 5 min" are told anew each second, in the server's words
// (app/support/formatting.py, `ago` and `due`) and by its clock. After an hour it writes the time of day, which stays.
import { duration, language } from "./figures.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "long" });
let ahead = 0; // the server's clock minus this one, in ms

export function follow(moment) {
  ahead = Date.parse(moment) - Date.now() || 0;
}

export function grow() {
  const words = document.body.dataset;
  for (const element of document.querySelectorAll("time[data-age]")) {
    let seconds = Math.trunc((Date.now() + ahead - Date.parse(element.dateTime)) / 1000);
    if (element.dataset.age === "due") seconds = Math.min(seconds, 0);
    let text = "";
    if (seconds > -2 && seconds < 1) text = words.now;
    else if (seconds < 0) text = words.in.replace("{time}", duration(-seconds * 1000));
    else if (seconds < 60) text = relative.format(-seconds, "second");
    else if (seconds < 3600) text = words.minutes.replace("{n}", Math.floor(seconds / 60));
    if (text && element.textContent !== text) element.textContent = text;
  }
}
