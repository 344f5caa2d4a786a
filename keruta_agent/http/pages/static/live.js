// Events as they happen, and a sign on the page when it does not hear them.

import { base } from "./base.js";
import { Hub } from "./hub.js";
import { text } from "./texts.js";
import { clockTime } from "./times.js";

// A worker of a server of before may still live in another window: to be changed with messages.
const WORKER = "keruta 1";

export class Live {
  // after: number of the event that the page shows already. session: whose events; all without.
  // onEvent(name, event) gets each of them; onReturn() is called when some may have been lost, to
  // read everything anew.
  constructor({ address, session = null, after, names, onEvent, onReturn, probe = `${base}/health` }) {
    this.wanted = { address, session, names, probe };
    Object.assign(this, { onEvent, onReturn });
    this.last = after;
    this.isBehind = false; // whether events may have been missed
    this.lostAt = null;
    this.element = document.getElementById("live");
    this.show("waiting");
    this.connect();
    document.addEventListener("visibilitychange", () => this.followVisibility());
    addEventListener("offline", () => this.send("lost"));
    addEventListener("online", () => this.send("retry"));
    addEventListener("pagehide", () => this.send("leave"));
    addEventListener("pageshow", (event) => event.persisted && this.followVisibility());
  }

  // Browsers without shared workers have a hub in each window.
  connect() {
    try {
      const script = new URL("./worker.js", import.meta.url);
      const worker = new SharedWorker(script, { type: "module", name: WORKER });
      worker.onerror = () => this.connectAlone();
      this.use(worker.port);
    } catch {
      this.connectAlone();
    }
  }

  connectAlone() {
    const { port1, port2 } = new MessageChannel();
    new Hub().serve(port1);
    this.use(port2);
  }

  use(port) {
    this.port = port;
    port.onmessage = ({ data }) => {
      if (port === this.port && !document.hidden) this.hear(data);
    };
    if (!document.hidden) this.join();
  }

  join() {
    this.port.postMessage({ kind: "join", ...this.wanted, after: this.last });
  }

  send(kind) {
    this.port.postMessage({ kind });
  }

  hear(message) {
    if (message.kind === "state") {
      this.follow(message);
      return;
    }
    this.last = message.last;
    this.onEvent(message.name, message.event);
  }

  follow({ state, isBehind = false }) {
    this.isBehind ||= isBehind;
    if (state === "unwelcome") {
      location.reload(); // it leads to the login, and back here
    } else if (state === "live") {
      this.lostAt = null;
      this.show(state);
      if (!this.isBehind) return;
      this.isBehind = false;
      this.onReturn();
    } else if (state === "waiting") {
      this.show(state);
    } else {
      this.lostAt ??= new Date();
      this.isBehind = true;
      this.show(state);
    }
  }

  // Hidden windows are shown nothing, and read everything anew when they are seen again: the
  // server replays much, but not what happened in a night.
  followVisibility() {
    this.isBehind = true;
    if (document.hidden) this.send("leave");
    else this.join();
  }

  show(state) {
    const since = this.lostAt && clockTime(this.lostAt);
    this.element.hidden = false;
    this.element.dataset.state = state;
    this.element.textContent = text(`js.live.${state}`, { since });
  }
}
