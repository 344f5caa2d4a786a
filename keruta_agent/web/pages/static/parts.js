// Renews the parts of a page that the server has changed, without losing what a person types.

import { showTimes } from "./times.js";

const PAUSE_MS = 700; // between two looks, however much happens

export class Parts {
  constructor() {
    this.shown = new Map();
    this.remember(document);
  }

  remember(root) {
    for (const part of root.querySelectorAll("[data-part]")) {
      if (!this.shown.has(part.dataset.part)) this.shown.set(part.dataset.part, part.innerHTML);
    }
  }

  // Asks for a renewal soon; many wishes become one.
  renew() {
    if (this.timer) return;
    this.timer = setTimeout(async () => {
      try {
        await this.renewNow();
      } finally {
        this.timer = null;
        if (this.isWanted) {
          this.isWanted = false;
          this.renew();
        }
      }
    }, PAUSE_MS);
  }

  want() {
    if (this.timer) this.isWanted = true;
    else this.renew();
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
