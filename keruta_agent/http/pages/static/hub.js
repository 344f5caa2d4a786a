// The event streams of one browser. All its windows share them: browsers open no more than six
// connections to a server, and a stream keeps one of them.
//
// The browser itself reconnects only after some failures, gives up after others, and does not
// notice a peer that fell silent: so a connection that looks dead is replaced here. The server
// replays what came after the last event that was heard.

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 15000;
// The server is asked whether it still lives after so much silence.
const SILENCE_MS = 20000;
const PATIENCE_MS = 8000;
// Windows on more sessions than these hear of all, and keep what is theirs.
const MOST_SESSIONS = 20;

export class Hub {
  constructor() {
    this.streams = new Map();
  }

  // Lets the window at the other end of a port join and leave streams.
  serve(port) {
    let stream = null;
    port.onmessage = ({ data }) => {
      if (data.kind === "join") {
        stream = this.streamOf(data);
        stream.join(port, data);
      } else if (data.kind === "leave") stream?.leave(port);
      else if (data.kind === "lost") stream?.fail("lost");
      else if (data.kind === "retry") stream?.reopen();
    };
    // Told only by newer browsers, of windows that crashed.
    port.onclose = () => stream?.leave(port);
  }

  streamOf({ address, probe }) {
    if (!this.streams.has(address)) this.streams.set(address, new Stream(address, probe));
    return this.streams.get(address);
  }
}

class Stream {
  constructor(address, probe) {
    Object.assign(this, { address, probe });
    this.listeners = new Map(); // what each window wants, by its port
    this.sessions = new Set(); // what the source is about; empty: everything
    this.state = "waiting";
    this.last = "";
    this.delay = FIRST_DELAY_MS;
    this.source = null;
    setInterval(() => this.lookForSilence(), SILENCE_MS / 4);
  }

  // after: number of the event that the window shows already. session: null for all of them.
  join(port, { session, names, after }) {
    if (this.listeners.size === 0) this.last = after;
    this.listeners.set(port, { session, names });
    const isCovered = this.sessions.size === 0 || this.sessions.has(session);
    port.postMessage({ kind: "state", state: this.state, isBehind: hasMissed(after, this.last) });
    if (this.source === null || !isCovered) this.reopen();
    else names.forEach((name) => this.hear(name));
  }

  leave(port) {
    this.listeners.delete(port);
    if (this.listeners.size > 0) return;
    this.close();
    this.state = "waiting";
  }

  wantedSessions() {
    const wanted = new Set([...this.listeners.values()].map((each) => each.session));
    return wanted.has(null) || wanted.size > MOST_SESSIONS ? new Set() : wanted;
  }

  open() {
    this.close();
    if (this.listeners.size === 0) return;
    this.sessions = this.wantedSessions();
    const address = new URL(this.address, location.href);
    for (const session of this.sessions) address.searchParams.append("sessionId", session);
    if (this.last) address.searchParams.set("lastEventId", this.last);
    const source = new EventSource(address);
    this.source = source;
    this.heard = new Set();
    this.heardAt = Date.now();
    source.addEventListener("connected", (event) => this.connected(event));
    source.onerror = () => source === this.source && this.refused(source);
    for (const { names } of this.listeners.values()) names.forEach((name) => this.hear(name));
  }

  hear(name) {
    if (this.heard.has(name)) return;
    this.heard.add(name);
    this.source.addEventListener(name, (event) => this.deliver(name, event));
  }

  deliver(name, { data, lastEventId }) {
    this.heardAt = Date.now();
    this.last = lastEventId;
    const event = JSON.parse(data);
    for (const [port, { session, names }] of this.listeners) {
      const isWanted = names.includes(name) && (session === null || session === event.sessionId);
      if (isWanted) port.postMessage({ kind: "event", name, event, last: lastEventId });
    }
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  reopen() {
    this.delay = FIRST_DELAY_MS;
    this.open();
  }

  connected(event) {
    this.heardAt = Date.now();
    this.delay = FIRST_DELAY_MS;
    this.last = event.lastEventId || this.last; // a server with other data begins anew
    this.tell("live");
  }

  // Only the answer to a request of our own says why there is no stream.
  async refused(source) {
    const asked = { method: "HEAD", signal: AbortSignal.timeout(PATIENCE_MS) };
    const isAnswered = source.readyState === EventSource.CLOSED;
    const answer = isAnswered ? await fetch(this.address, asked).catch(() => null) : null;
    if (source !== this.source) return;
    if (answer?.status === 401) this.tell("unwelcome");
    this.fail(answer?.status === 503 ? "full" : "lost");
  }

  fail(state) {
    this.close();
    if (this.listeners.size === 0) return;
    this.tell(state);
    this.timer = setTimeout(() => this.open(), this.delay);
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS);
  }

  async lookForSilence() {
    if (!this.source || Date.now() - this.heardAt < SILENCE_MS) return;
    const source = this.source;
    try {
      const answer = await fetch(this.probe, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error(answer.statusText);
      this.heardAt = Date.now();
    } catch {
      if (source === this.source) this.fail("lost");
    }
  }

  tell(state) {
    this.state = state;
    for (const port of this.listeners.keys()) port.postMessage({ kind: "state", state });
  }
}

// Whether a window that shows all up to an event may lack some of those that were heard since.
function hasMissed(after, last) {
  const isNumbered = /^\d+$/.test(after) && /^\d+$/.test(last);
  return isNumbered ? Number(after) < Number(last) : after !== last;
}
