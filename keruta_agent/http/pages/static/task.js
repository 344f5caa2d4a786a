// A task's page: its log, and its other parts as they change.

import { announce } from "./announce.js";
import { base } from "./base.js";
import { Live } from "./live.js";
import { LogView } from "./logview.js";
import { Parts } from "./parts.js";
import { text } from "./texts.js";

const task = document.getElementById("task");
const logs = `${base}/api/v1/tasks/${encodeURIComponent(task.dataset.task)}/logs`;

async function read(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

const source = {
  count: async () => (await read(`${logs}/count`)).count,
  page: (number, size) => read(`${logs}?order=asc&page=${number}&size=${size}`),
  after: (id, size) => read(`${logs}?order=asc&after=${id}&size=${size}`),
};
const log = new LogView(task, source);
const parts = new Parts();

// Progress comes often: it is shown at once, and its steps are read later.
function isOnlyProgress(data) {
  const isSame = (data.previousStatus ?? data.status) === data.status;
  return isSame && !["artifactId", "prompt", "inputAvailable"].some((name) => name in data);
}

function showProgress(data) {
  task.querySelector("progress").value = data.progress;
  task.querySelector(".percent").textContent = `${data.progress}%`;
  const message = task.querySelector(".message");
  if (message) message.textContent = data.message;
}

// What cannot be read now is read when the connection is back.
const readLog = () => log.refresh().catch(() => undefined);

new Live({
  address: `${base}/api/v1/sessions/realtime/events`,
  session: task.dataset.session,
  after: task.dataset.after,
  names: ["task_created", "task_update", "task_deleted", "task_logs"],
  onEvent: (name, event) => {
    const isOurs = event.data.taskId === task.dataset.task;
    if (name === "task_logs") {
      if (isOurs) readLog();
    } else if (isOurs && name === "task_update" && isOnlyProgress(event.data)) {
      showProgress(event.data);
      parts.wantRarely();
    } else if (isOurs && name === "task_update") {
      if (event.data.previousStatus) announce(text(`status.${event.data.status}`));
      parts.want();
    } else if (isOurs || event.data.parentTaskId || document.querySelector(".lineage")) parts.want();
  },
  onReturn: () => {
    parts.want();
    log.forget();
    readLog();
  },
});
readLog();
