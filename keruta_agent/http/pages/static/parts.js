// Renews the parts of a page that the server has changed, without losing what a person types.

import { showTimes } from "./times.js";

const PAUSE_MS = 1000; // between two looks, however much happens
const FOCUSABLE = "a[href], button, input, textarea, summary, [tabindex]";
const RARELY_MS = 15000; // between two looks that nobody waits for: many pages may be open

export class Parts {
  // onRenewed() is called after each look.
  constructor(onRenewed = () => undefined) {
    this.onRenewed = onRenewed;
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
    this.onRenewed();
  }

  exchange(part) {
    const name = part.dataset.part;
    const old = document.querySelector(`[data-part="${name}"]`);
    if (!old || this.shown.get(name) === part.innerHTML) return;
    const isTypedIn = document.activeElement?.matches("input, textarea")
      && old.contains(document.activeElement);
    if (isTypedIn && old.dataset.about === part.dataset.about) return;
    this.shown.set(name, part.innerHTML);
    const opened = [...old.querySelectorAll("details")].map((each) => each.open);
    const scrolled = [...old.querySelectorAll("[tabindex]")].map((each) => each.scrollTop);
    const focused = old.contains(document.activeElement) ? signOf(document.activeElement) : null;
    old.replaceChildren(...part.childNodes);
    old.dataset.about = part.dataset.about ?? "";
    old.querySelectorAll("details").forEach((each, index) => (each.open = opened[index] ?? false));
    old.querySelectorAll("[tabindex]").forEach((each, index) => (each.scrollTop = scrolled[index] ?? 0));
    const again = [...old.querySelectorAll(FOCUSABLE)].find((each) => signOf(each) === focused);
    if (focused !== null) (again ?? document.getElementById("main")).focus({ preventScroll: true });
    showTimes(old);
  }
}

// What tells a button from the others of a list, also when it stands in another place now.
function signOf(element) {
  return [element.form?.action, element.href, element.name, element.textContent].join(" ");
}
