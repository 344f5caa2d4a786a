// Server-sent events with replay, and a sign on the page when it does not hear them.
//
// The browser itself reconnects only after some failures, gives up after others, and does not
// notice a peer that fell silent: so a connection that looks dead is replaced here. The server
// replays what came after the last event that was heard.

import { base } from "./base.js";
import { text } from "./texts.js";
import { clockTime } from "./times.js";

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 15000;
// The server is asked whether it still lives after so much silence.
const SILENCE_MS = 20000;
const PATIENCE_MS = 8000;

export class Live {
  // after: number of the event that the page shows already. onEvent(name, event) gets each event;
  // onReturn() is called when events may have been lost, to read everything anew.
  constructor({ address, after, names, onEvent, onReturn, probe = `${base}/health` }) {
    Object.assign(this, { address, names, onEvent, onReturn, probe });
    this.last = after;
    this.delay = FIRST_DELAY_MS;
    this.isBehind = false; // whether events may have been missed
    this.lostAt = null;
    this.element = document.getElementById("live");
    this.show("waiting");
    this.open();
    setInterval(() => this.lookForSilence(), SILENCE_MS / 4);
    // Browsers allow six connections to one server: hidden pages give theirs back.
    document.addEventListener("visibilitychange", () => this.followVisibility());
    addEventListener("offline", () => this.fail());
    addEventListener("online", () => this.reopen());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => event.persisted && this.reopen());
  }

  open() {
    this.close();
    if (document.hidden) return;
    const address = new URL(this.address, location.href);
    if (this.last) address.searchParams.set("lastEventId", this.last);
    const source = new EventSource(address);
    this.source = source;
    this.heardAt = Date.now();
    source.addEventListener("connected", (event) => this.connected(event));
    source.onerror = () => source === this.source && this.refused(source);
    for (const name of this.names) {
      source.addEventListener(name, (event) => {
        this.heardAt = Date.now();
        this.last = event.lastEventId;
        this.onEvent(name, JSON.parse(event.data));
      });
    }
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  connected(event) {
    this.heardAt = Date.now();
    this.delay = FIRST_DELAY_MS;
    this.last = event.lastEventId || this.last; // a server with other data begins anew
    this.lostAt = null;
    this.show("live");
    if (this.isBehind) {
      this.isBehind = false;
      this.onReturn();
    }
  }

  // Only the answer to a request of our own says why there is no stream.
  async refused(source) {
    const asked = { method: "HEAD", signal: AbortSignal.timeout(PATIENCE_MS) };
    const isAnswered = source.readyState === EventSource.CLOSED;
    const answer = isAnswered ? await fetch(this.address, asked).catch(() => null) : null;
    if (source !== this.source) return;
    if (answer?.status === 401) location.reload(); // it leads to the login, and back here
    this.fail(answer?.status === 503 ? "full" : "lost");
  }

  fail(state = "lost") {
    this.close();
    this.lostAt ??= new Date();
    this.isBehind = true;
    this.show(state);
    this.timer = setTimeout(() => this.open(), this.delay);
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS);
  }

  reopen() {
    this.delay = FIRST_DELAY_MS;
    this.open();
  }

  followVisibility() {
    // The server replays much, but not what happened in a night.
    this.isBehind = true;
    if (document.hidden) this.close();
    else this.reopen();
  }

  async lookForSilence() {
    if (!this.source || Date.now() - this.heardAt < SILENCE_MS) return;
    const source = this.source;
    try {
      const answer = await fetch(this.probe, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error(answer.statusText);
      this.heardAt = Date.now();
    } catch {
      if (source === this.source) this.fail();
    }
  }

  show(state) {
    const since = this.lostAt && clockTime(this.lostAt);
    this.element.hidden = false;
    this.element.dataset.state = state;
    this.element.textContent = text(`js.live.${state}`, { since });
  }
}
