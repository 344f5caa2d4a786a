// Shows moments in the viewer's zone and language, and durations in words.

import { language, text } from "./texts.js";

const today = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const complete = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

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

export function duration(seconds) {
  const whole = Math.floor(seconds);
  if (seconds < 60) return text("js.seconds", { s: seconds < 10 ? seconds.toFixed(1) : whole });
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return text("js.minutes", { m: minutes, s: whole % 60 });
  return text("js.hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
}
