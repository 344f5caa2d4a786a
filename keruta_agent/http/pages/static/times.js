// Shows moments in the viewer's zone and language, and durations in words.

import { language, text } from "./texts.js";

const DAY_LOOK_MS = 60000;
// As the viewer's country writes it, if its language is the one of the page.
const locale = navigator.languages.find((name) => name.split("-")[0] === language) ?? language;
const today = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const complete = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
// How far the viewer's clock is behind the server's, whose moments are shown here.
const behindMs = Number(document.body.dataset.now) - Date.now();

// What the server's clock shows now.
export function serverNow() {
  return Date.now() + behindMs;
}

export function clockTime(moment) {
  return today.format(moment);
}

export function momentOf(iso) {
  return complete.format(new Date(iso));
}

export function showTime(element, iso) {
  const moment = iso ? new Date(iso) : null;
  if (moment === null || Number.isNaN(moment.getTime())) return;
  const isToday = moment.toDateString() === new Date().toDateString();
  element.dateTime = iso;
  element.textContent = (isToday ? today : complete).format(moment);
  element.title = complete.format(moment);
}

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    showTime(element, element.getAttribute("datetime"));
  }
}

// What was today is yesterday on a page that stays open.
let day = new Date().toDateString();
setInterval(() => {
  if (day === new Date().toDateString()) return;
  day = new Date().toDateString();
  showTimes(document);
}, DAY_LOOK_MS);

export function duration(seconds) {
  const whole = Math.floor(seconds);
  if (seconds < 60) return text("js.seconds", { s: seconds < 10 ? seconds.toFixed(1) : whole });
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return text("js.minutes", { m: minutes, s: whole % 60 });
  return text("js.hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
}
