// The daemon's status page: what it does, as it happens, and the log of one job.

import { base } from "./base.js";
import { Live } from "./live.js";
import { LogView } from "./logview.js";
import { Parts } from "./parts.js";

const LINES = 200; // between two positions that are remembered; pages are multiples of it
const AT_ONCE = 10000;

const agent = document.getElementById("agent");
const job = agent.dataset.job;

// Reads a log whose lines have positions and no numbers: remembers some positions on its way.
class JobLog {
  constructor() {
    this.positions = [""]; // behind which lines 0, 200, 400, ... stand
    this.last = "";
    this.known = 0;
  }

  async lines(after, limit) {
    const wanted = after ? `&after=${after}` : "";
    const answer = await fetch(`${base}/api/v1/jobs/${job}/logs?colours=true&limit=${limit}${wanted}`);
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    return text.split("\n").filter(Boolean).map((line) => {
      const found = JSON.parse(line);
      return { ...found, id: found.position };
    });
  }

  async count() {
    if (!job) return 0;
    for (;;) {
      const lines = await this.lines(this.last, AT_ONCE);
      for (const line of lines) {
        this.known += 1;
        if (this.known % LINES === 0) this.positions.push(line.position);
        this.last = line.position;
      }
      if (!lines.length) return this.known;
    }
  }

  async page(number, size) {
    const found = [];
    let after = this.positions[(number * size) / LINES];
    const wanted = Math.min(size, this.known - number * size);
    while (found.length < wanted) {
      const lines = await this.lines(after, wanted - found.length);
      if (!lines.length) break;
      found.push(...lines);
      after = lines.at(-1).position;
    }
    return found;
  }
}

const log = new LogView(agent, new JobLog());
const parts = new Parts(followRunning);
const readLog = () => log.refresh().catch(() => undefined);

new Live({
  address: `${base}/api/v1/events`,
  after: agent.dataset.after,
  names: ["job", "progress", "log"],
  probe: `${base}/api/v1/health/live`,
  onEvent: (name) => {
    if (name === "log") readLog();
    else parts.want();
  },
  onReturn: () => {
    parts.want();
    log.forget();
    readLog();
  },
});

// The log shown is that of what runs: another job's needs another page.
function followRunning() {
  if (new URL(location.href).searchParams.has("job")) return;
  const current = document.querySelector('[data-part="current"] h3 a')?.search.split("=")[1];
  const isFollowing = document.querySelector("[data-log=follow]").checked;
  const isTyping = document.activeElement?.matches("input:not([type=checkbox])");
  if (current && current !== job && isFollowing && !isTyping) location.reload();
}

// The outbox and the health change without an event.
setInterval(() => !document.hidden && parts.want(), 5000);
readLog();
