// Keeps a session's board right: fills cards, moves them, and shows the end of what runs.

import { announce } from "../announce.js";
import { plain } from "../ansi.js";
import { base } from "../base.js";
import { Live } from "../live.js";
import { visible } from "../visible.js";
import { text } from "../texts.js";
import { duration, serverNow, showTime } from "../times.js";

const GROUPS = {
  PROCESSING: "running", WAITING_FOR_INPUT: "running",
  PENDING: "waiting", RETRYING: "waiting",
  COMPLETED: "ended", FAILED: "ended", CANCELLED: "ended",
};
const TAIL = 5;
const TAIL_INTERVAL_MS = 1000;
const MOST_ENDED = 100;

const { session, newest, status } = document.body.dataset;
const lists = new Map([...document.querySelectorAll("[data-list]")].map((e) => [e.dataset.list, e]));
const blank = document.getElementById("card").content.firstElementChild;
const cards = new Map();
const tails = new Map();
let endedCount = Number(document.querySelector("[data-count=ended]").textContent);

for (const list of lists.values()) for (const card of list.children) cards.set(card.dataset.task, card);

function part(card, name) {
  return card.querySelector(`[data-f=${name}]`);
}

// The blank card's addresses lack the id.
function addressOf(id, address) {
  const own = `${base}/tasks/`;
  return address.replace(own, `${own}${encodeURIComponent(id)}`);
}

function newCard(id) {
  const card = document.importNode(blank, true);
  card.dataset.task = id;
  card.dataset.group = "";
  for (const link of card.querySelectorAll("a[href]")) {
    link.setAttribute("href", addressOf(id, link.getAttribute("href")));
  }
  for (const form of card.querySelectorAll("form")) {
    form.setAttribute("action", addressOf(id, form.getAttribute("action")));
  }
  cards.set(id, card);
  return card;
}

function put(task) {
  const card = cards.get(task.taskId) ?? newCard(task.taskId);
  fill(card, task);
  const before = card.dataset.group;
  const group = GROUPS[task.status] ?? "waiting";
  card.dataset.group = group;
  const isMoved = before !== group || group === "waiting";
  if (isMoved) place(card, lists.get(group));
  if (before && before !== group) announce(`${visible(task.name)}: ${text(`status.${task.status}`)}`);
  if (group === "running" && before !== "running") refreshTail(task.taskId);
  if (group === "ended" && before !== "ended") endedCount += 1;
  if (before === "ended" && group !== "ended") endedCount -= 1;
}

function fill(card, task) {
  part(card, "name").textContent = visible(task.name);
  const badge = part(card, "status");
  badge.dataset.status = task.status;
  badge.textContent = text(`status.${task.status}`);
  const bar = part(card, "progress");
  bar.value = task.progress;
  bar.setAttribute("aria-label", text("js.progress", { name: visible(task.name) }));
  part(card, "message").textContent = task.message;
  part(card, "code").textContent = task.errorCode;
  part(card, "code").hidden = !task.errorCode;
  part(card, "priority").textContent = task.priority;
  const answer = part(card, "answer"); // not there for those who only look
  if (answer) answer.hidden = task.status !== "WAITING_FOR_INPUT";
  Object.assign(card.dataset, {
    priority: task.priority,
    created: task.createdAt ?? "",
    started: task.startedAt ?? "",
    ended: task.endedAt ?? "",
  });
  showTime(part(card, "created"), task.createdAt);
  showDuration(card);
}

function showDuration(card) {
  const { started, ended } = card.dataset;
  part(card, "took-row").hidden = !started;
  if (!started) return;
  const seconds = (ended ? new Date(ended) : serverNow()) - new Date(started);
  part(card, "took").textContent = duration(Math.max(0, seconds / 1000));
}

// What waits stands in the order of execution, what ended with the newest first.
function comesBefore(one, other, group) {
  if (group === "ended") return one.dataset.ended > other.dataset.ended;
  const difference = Number(other.dataset.priority) - Number(one.dataset.priority);
  if (group === "waiting" && difference !== 0) return difference < 0;
  return one.dataset.created < other.dataset.created;
}

// All cards of a long list may be looked at, one after the other.
function isInOrder(card, group) {
  const { previousElementSibling: previous, nextElementSibling: next } = card;
  return !(previous && comesBefore(card, previous, group)) && !(next && comesBefore(next, card, group));
}

function place(card, list) {
  const group = list.dataset.list;
  if (card.parentElement === list && isInOrder(card, group)) return;
  const hadFocus = card.contains(document.activeElement) ? document.activeElement : null;
  card.remove();
  const next = [...list.children].find((other) => comesBefore(card, other, group));
  list.insertBefore(card, next ?? null);
  hadFocus?.focus();
  if (group === "ended") {
    while (list.children.length > MOST_ENDED) forget(list.lastElementChild);
  }
}

function forget(card) {
  cards.delete(card.dataset.task);
  card.remove();
}

function drop(id) {
  const card = cards.get(id);
  if (!card) return;
  if (card.dataset.group === "ended") endedCount -= 1;
  forget(card);
}

function count() {
  for (const [group, list] of lists) {
    const shown = group === "ended" ? Math.max(endedCount, list.children.length) : list.children.length;
    document.querySelector(`[data-count=${group}]`).textContent = shown;
    document.querySelector(`[data-empty=${group}]`).hidden = list.children.length > 0;
  }
}

// The end of a log, at most once a second for each task.
function refreshTail(id) {
  if (tails.has(id)) return;
  tails.set(id, setTimeout(() => readTail(id), tails.size ? TAIL_INTERVAL_MS : 200));
}

async function readTail(id) {
  try {
    const answer = await fetch(`${base}/api/v1/tasks/${encodeURIComponent(id)}/logs?order=desc&size=${TAIL}`);
    const card = cards.get(id);
    if (!answer.ok || !card) return;
    const lines = (await answer.json()).reverse().map((entry) => entry.message);
    part(card, "tail").textContent = visible(plain(lines.join("\n")));
  } catch (error) {
    console.warn("the log could not be read", error);
  } finally {
    tails.delete(id);
  }
}

async function readAll() {
  const answer = await fetch(`${base}/sessions/${encodeURIComponent(session)}/cards`);
  if (answer.redirected || answer.status === 404) location.reload();
  const found = await answer.json();
  // What was heard while it was read is newer than it.
  if (Number(live.last) > found.newest) return readAll();
  const present = new Set(found.cards.map((task) => task.taskId));
  for (const id of [...cards.keys()]) if (!present.has(id)) drop(id);
  for (const task of found.cards) {
    put(task);
    if (GROUPS[task.status] === "running") refreshTail(task.taskId);
  }
  endedCount = found.endedCount;
  count();
}

function hear(name, event) {
  if (name === "task_logs") {
    if (cards.get(event.data.taskId)?.dataset.group === "running") refreshTail(event.data.taskId);
  } else if (name === "session_update") {
    if (event.data.status !== status) location.reload();
  } else if (name === "session_deleted") {
    const gone = document.getElementById("gone");
    gone.textContent = text("js.gone");
    gone.hidden = false;
  } else if (name === "task_deleted") {
    drop(event.data.taskId);
    count();
  } else {
    put(event.data);
    count();
  }
}

// What only moves a card needs no new page, and leaves the focus where it is.
async function submitQuietly(event) {
  const form = event.target;
  if (!form.action.endsWith("/priority")) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
  if (answer === null) return; // the connection is lost, and the page says so
  if (!answer.ok || new URL(answer.url).pathname === `${base}/login`) location.reload();
}

document.addEventListener("submit", submitQuietly);
for (const card of cards.values()) showDuration(card);
setInterval(() => {
  for (const card of lists.get("running").children) showDuration(card);
}, 1000);

const live = new Live({
  address: `${base}/api/v1/sessions/realtime/events`,
  session,
  after: newest,
  names: ["session_update", "session_deleted", "task_created", "task_update", "task_deleted", "task_logs"],
  onEvent: hear,
  onReturn: () => readAll().catch((error) => console.warn("the board could not be read", error)),
});
