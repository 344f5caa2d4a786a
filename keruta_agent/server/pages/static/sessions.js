// Keeps the counts of the sessions' page right.

import { Live } from "/static/live.js";
import { text } from "/static/texts.js";

const INTERVAL_MS = 1000;
let due = null;

function refreshSoon() {
  due ??= setTimeout(refresh, INTERVAL_MS);
}

async function refresh() {
  due = null;
  const answer = await fetch("/sessions.json");
  if (answer.redirected) location.reload(); // to the login
  if (answer.redirected || !answer.ok) return;
  const sessions = await answer.json();
  const cards = [...document.querySelectorAll("[data-session]")];
  const shown = new Map(cards.map((card) => [card.dataset.session, card]));
  const areSame = sessions.length === cards.length && sessions.every(({ id }) => shown.has(id));
  if (!areSame && !isTyping()) location.reload();
  for (const session of sessions) {
    const card = shown.get(session.id);
    if (card) fill(card, session);
  }
}

function fill(card, session) {
  for (const name of ["running", "waiting", "ended", "failed"]) {
    card.querySelector(`[data-f=${name}]`).textContent = session[name];
  }
  const badge = card.querySelector("[data-f=status]");
  badge.dataset.status = session.status;
  badge.textContent = text(`session.${session.status}`);
}

// A page that is loaded again would lose what stands in the form.
function isTyping() {
  return [...document.querySelectorAll("form.tall :is(input:not([type=hidden]), textarea)")]
    .some((field) => field.value !== field.defaultValue);
}

new Live({
  address: "/api/v1/sessions/realtime/events",
  after: document.body.dataset.newest,
  names: [
    "session_created", "session_update", "session_deleted",
    "task_created", "task_update", "task_deleted",
  ],
  onEvent: refreshSoon,
  onReturn: refreshSoon,
});
