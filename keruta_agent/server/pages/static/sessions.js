// Keeps the list of sessions right, with their counts.

import { base } from "../base.js";
import { Live } from "../live.js";
import { Parts } from "../parts.js";

const parts = new Parts();

// Progress changes no count, and is told often.
function isOnlyProgress(name, data) {
  return name === "task_update" && (data.previousStatus ?? data.status) === data.status;
}

new Live({
  address: `${base}/api/v1/sessions/realtime/events`,
  after: document.body.dataset.newest,
  names: [
    "session_created", "session_update", "session_deleted",
    "task_created", "task_update", "task_deleted",
  ],
  onEvent: (name, event) => isOnlyProgress(name, event.data) || parts.want(),
  onReturn: () => parts.want(),
});
