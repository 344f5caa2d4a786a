// Renews the parts of a page that the server has changed, without losing what a person types.

import { showTimes } from "./times.js";

const PAUSE_MS = 1000; // between two looks, however much happens
const RARELY_MS = 15000; // between two looks that nobody waits for: many pages may be open

export class Parts {
  constructor() {
    this.shown = new Map();
    this.lookedAt = 0;
    this.remember(document);
  }

  remember(root) {
    for (const part of root.querySelectorAll("[data-part]")) {
      if (!this.shown.has(part.dataset.part)) this.shown.set(part.dataset.part, part.innerHTML);
    }
  }

  renew(pause) {
    this.timer = setTimeout(async () => {
      this.isLooking = true;
      this.lookedAt = Date.now();
      try {
        await this.renewNow();
      } finally {
        this.timer = null;
        this.isLooking = false;
        if (this.isWanted) {
          this.isWanted = false;
          this.renew(PAUSE_MS);
        }
      }
    }, pause);
  }

  // Asks for a renewal; many wishes become one, at the earliest of their times.
  want(pause = PAUSE_MS) {
    const due = Date.now() + pause;
    if (this.isLooking) this.isWanted = true;
    else if (!this.timer || due < this.due) {
      clearTimeout(this.timer);
      this.due = due;
      this.renew(pause);
    }
  }

  // Asks for a renewal soon, or long after the last one.
  wantRarely() {
    this.want(Math.max(PAUSE_MS, this.lookedAt + RARELY_MS - Date.now()));
  }

  async renewNow() {
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (answer === null) return; // the connection is lost, and the page says so
    if (answer.redirected || answer.status === 404) {
      location.reload();
      return;
    }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) this.exchange(part);
  }

  exchange(part) {
    const name = part.dataset.part;
    const old = document.querySelector(`[data-part="${name}"]`);
    if (!old || this.shown.get(name) === part.innerHTML) return;
    const isTypedIn = old.contains(document.activeElement) && part.querySelector("input, textarea");
    if (isTypedIn && old.dataset.about === part.dataset.about) return;
    this.shown.set(name, part.innerHTML);
    const opened = [...old.querySelectorAll("details")].map((each) => each.open);
    old.replaceChildren(...part.childNodes);
    old.dataset.about = part.dataset.about ?? "";
    old.querySelectorAll("details").forEach((each, index) => (each.open = opened[index] ?? false));
    showTimes(old);
  }
}
