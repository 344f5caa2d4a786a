// Shows a log of any length: only the lines in sight are in the page, and only the pages of the
// log around them are in memory.

import { parse, plain } from "./ansi.js";
import { visible } from "./visible.js";
import { language, text as say } from "./texts.js";
import { momentOf } from "./times.js";

const PAGE = 200; // lines that are fetched at once
const PAGES_KEPT = 100; // 20,000 lines are held, whatever the length of the log
const SEARCH_PAGE = 5000;
const MOST_NEW = 1000; // lines that are read behind the last known one; after more it is counted
const REFRESH_MS = 1500; // between two looks for more: many pages may be open
const MOST_HITS = 10000;
const ROW = 20; // height of a line in pixels, as in the style sheet
const MARGIN = 20; // lines drawn above and below what is seen
const LONGEST = 2000; // characters of a line; the rest is shown when asked for
const GROUP = /^\s*::group::(.*)$/;
const GROUP_END = /^\s*::endgroup::/;
const WARNINGS = ["WARN", "ERROR", "FATAL"];

function make(name, classes, text) {
  const node = document.createElement(name);
  if (classes) node.className = classes;
  if (text !== undefined) node.textContent = text;
  return node;
}

export class LogView {
  // source: count() and page(number, size), both of promises; a long log that is dear to count has
  // after(id, size) as well.
  constructor(root, source) {
    this.source = source;
    this.part = (name) => root.querySelector(`[data-log="${name}"]`);
    this.window = this.part("window");
    this.total = 0;
    this.pages = new Map();
    this.rows = new Map();
    this.folds = [];
    this.hits = [];
    this.hit = -1;
    this.needle = "";
    this.searches = 0;
    this.lookedAt = 0;
    this.last = null;
    this.isCounting = true;
    this.space = make("div", "log-space");
    this.window.replaceChildren(this.space);
    this.listen();
  }

  listen() {
    this.window.addEventListener("scroll", () => {
      if (this.part("follow").checked && !this.isAtEnd() && !this.isPlacing) {
        this.part("follow").checked = false;
      }
      this.isPlacing = false;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.window);
    this.part("follow").addEventListener("change", () => {
      if (this.part("follow").checked) this.toEnd();
    });
    this.part("end").addEventListener("click", () => this.toEnd());
    this.part("search").addEventListener("submit", (event) => {
      event.preventDefault();
      const needle = this.part("needle").value.toLowerCase();
      if (needle === this.needle && this.hits.length) this.step(1);
      else this.find(needle);
    });
    this.part("next").addEventListener("click", () => this.step(1));
    this.part("previous").addEventListener("click", () => this.step(-1));
  }

  // Looks whether there is more; a call during another one has it look once more.
  async refresh() {
    if (this.refreshing) {
      this.again = true;
      return;
    }
    this.refreshing = true;
    try {
      do {
        const early = this.lookedAt + REFRESH_MS - Date.now();
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        this.lookedAt = Date.now();
        this.again = false;
        const total = (await this.lengthBehindLast()) ?? (await this.source.count());
        if (total < this.total) {
          this.pages.clear(); // it was deleted and begun anew
          this.folds = [];
        }
        const isNew = total !== this.total;
        this.total = total;
        this.part("empty").hidden = total > 0;
        this.window.hidden = total === 0; // shown before it is scrolled
        this.part("count").textContent = say("js.log.lines", {
          count: total.toLocaleString(language),
        });
        if (isNew) {
          if (this.part("follow").checked) this.toEnd();
          this.draw();
        }
      } while (this.again);
    } finally {
      this.refreshing = false;
    }
  }

  // Reads what came behind the last known line, and returns how long the log is then; null if the
  // whole must be counted.
  async lengthBehindLast() {
    const end = this.total - 1;
    const known = this.pages.get(Math.floor(end / PAGE))?.entries?.[end % PAGE];
    const last = this.last?.number === end ? this.last.id : known?.id;
    const mustCount = this.isCounting || last === undefined || !this.source.after;
    this.isCounting = false;
    if (mustCount) return null;
    const more = await this.source.after(last, MOST_NEW);
    if (more.length === MOST_NEW) return null;
    more.forEach((entry, index) => this.keep(this.total + index, entry));
    return this.total + more.length;
  }

  keep(number, entry) {
    this.last = { number, id: entry.id };
    const page = Math.floor(number / PAGE);
    if (number % PAGE === 0) this.pages.set(page, { entries: [entry], asked: 0 });
    else if (this.pages.get(page)?.entries?.length === number % PAGE) {
      this.pages.get(page).entries.push(entry);
    }
  }

  // Has failed pages fetched again; what is shown stays until then.
  forget() {
    this.isCounting = true;
    for (const [number, page] of this.pages) if (!page.entries) this.pages.delete(number);
    this.draw();
  }

  get visible() {
    return this.total - this.folds.reduce((sum, fold) => sum + fold.end - fold.start - 1, 0);
  }

  // The line that stands in a row, and the row in which a line stands, if it is not folded away.
  entryAt(row) {
    let entry = row;
    for (const fold of this.folds) {
      if (entry <= fold.start) break;
      entry += fold.end - fold.start - 1;
    }
    return entry;
  }

  rowOf(entry) {
    let row = entry;
    for (const fold of this.folds) {
      if (entry <= fold.start) break;
      row -= fold.end - fold.start - 1;
    }
    return row;
  }

  isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.window;
    return scrollTop + clientHeight >= scrollHeight - 2 * ROW;
  }

  toEnd() {
    this.place(this.visible * ROW);
  }

  place(top) {
    this.space.style.height = `${this.visible * ROW}px`;
    const before = this.window.scrollTop;
    this.window.scrollTop = top;
    this.isPlacing = this.window.scrollTop !== before;
    this.draw();
  }

  page(number) {
    const known = this.pages.get(number);
    this.pages.delete(number); // the newest is last, the oldest goes first
    const length = Math.min(PAGE, this.total - number * PAGE);
    const has = Math.max(known?.asked ?? 0, known?.entries?.length ?? 0);
    // One that had room for more is fetched again; until it is there, the old one is shown.
    if (!known || has < length) return this.load(number, known?.entries ?? null, length);
    this.pages.set(number, known);
    return known;
  }

  load(number, entries, asked) {
    const page = { entries, asked };
    page.loaded = this.source.page(number, PAGE).then(
      (entries) => {
        page.entries = entries;
        this.draw();
        return entries;
      },
      () => {
        if (this.pages.get(number) === page) this.pages.delete(number);
        return [];
      },
    );
    this.pages.set(number, page);
    if (this.pages.size > PAGES_KEPT) this.pages.delete(this.pages.keys().next().value);
    return page;
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.drawNow();
    });
  }

  drawNow() {
    this.space.style.height = `${this.visible * ROW}px`;
    const first = Math.max(0, Math.floor(this.window.scrollTop / ROW) - MARGIN);
    const shown = Math.ceil(this.window.clientHeight / ROW) + 2 * MARGIN;
    const wanted = new Map();
    for (let row = first; row < Math.min(this.visible, first + shown); row += 1) {
      wanted.set(this.entryAt(row), row);
    }
    for (const [entry, node] of this.rows) {
      if (!wanted.has(entry)) {
        node.remove();
        this.rows.delete(entry);
      }
    }
    for (const [entry, row] of wanted) this.drawRow(entry, row);
  }

  drawRow(entry, row) {
    const found = this.page(Math.floor(entry / PAGE)).entries?.[entry % PAGE];
    const isHit = entry === this.hits[this.hit];
    const isFolded = this.folds.some((fold) => fold.start === entry);
    // What the row shows; a row that shows it already keeps its focus and selection.
    const shows = `${found?.id} ${isHit} ${isFolded} ${this.needle}`;
    let node = this.rows.get(entry);
    if (!node || node.shows !== shows) {
      const fresh = this.rowNode(entry, found, isHit, isFolded);
      fresh.shows = shows;
      if (node) node.replaceWith(fresh);
      else this.space.append(fresh);
      this.rows.set(entry, fresh);
      node = fresh;
    }
    node.style.top = `${row * ROW}px`;
  }

  rowNode(entry, found, isHit, isFolded) {
    const node = make("div", `log-row${isHit ? " log-hit" : ""}`);
    node.append(make("span", "log-number", String(entry + 1)));
    if (!found) return node;
    const group = found.metadata?.keruta?.group;
    const header = GROUP.exec(plain(found.message));
    const isWarning = WARNINGS.includes(found.level);
    node.classList.add(`log-${["stdout", "stderr"].includes(found.source) ? found.source : "agent"}`);
    if (isWarning) node.classList.add(`log-${found.level.toLowerCase()}`);
    const source = make("span", "log-source", visible(found.source));
    source.title = momentOf(found.timestamp);
    node.append(source);
    // All that goes to stderr is a warning, and is called stderr already.
    const isKnown = found.source === "stderr" && found.level === "WARN";
    if (isWarning && !isKnown) node.append(make("span", "log-level", found.level));
    if (header) {
      node.append(this.groupButton(entry, header[1].trim(), isFolded));
      return node;
    }
    const text = make("span", group === undefined ? "log-text" : "log-text log-grouped");
    if (GROUP_END.test(found.message)) text.classList.add("log-mark");
    if (group === "diff") text.classList.add(...differenceClass(found.message));
    this.paint(text, shortened(found.message));
    node.append(text);
    if (found.message.length > LONGEST || found.message.includes("\n")) {
      const more = make("button", "log-more", say("js.log.whole"));
      more.type = "button";
      more.addEventListener("click", () => this.showWhole(found));
      node.append(more);
    }
    return node;
  }

  groupButton(entry, name, isFolded) {
    const button = make("button", "log-group", `${isFolded ? "▸" : "▾"} ${visible(name)}`);
    button.type = "button";
    button.setAttribute("aria-expanded", String(!isFolded));
    button.addEventListener("click", async () => {
      await this.toggle(entry);
      this.rows.get(entry)?.querySelector("button")?.focus();
    });
    return button;
  }

  paint(node, message) {
    for (const piece of parse(message)) {
      const span = make("span", piece.classes.join(" "));
      let rest = visible(piece.text);
      for (;;) {
        const at = this.needle ? rest.toLowerCase().indexOf(this.needle) : -1;
        if (at < 0) break;
        span.append(rest.slice(0, at));
        span.append(make("mark", "", rest.slice(at, at + this.needle.length)));
        rest = rest.slice(at + this.needle.length);
      }
      span.append(rest);
      node.append(span);
    }
  }

  showWhole(found) {
    const dialog = this.part("whole");
    dialog.querySelector("pre").textContent = visible(plain(found.message));
    dialog.showModal();
  }

  async toggle(start) {
    const at = this.folds.findIndex((fold) => fold.start === start);
    if (at >= 0) this.folds.splice(at, 1);
    else {
      this.folds.push({ start, end: await this.groupEnd(start) });
      this.folds.sort((one, other) => one.start - other.start);
    }
    this.part("follow").checked = false;
    this.drawNow();
  }

  // Returns the number of the line behind the group that begins at a line.
  async groupEnd(start) {
    for (let entry = start + 1; entry < this.total; entry += 1) {
      const page = this.page(Math.floor(entry / PAGE));
      const entries = page.entries?.[entry % PAGE] ? page.entries : await page.loaded;
      if (!entries[entry % PAGE]) return entry; // it cannot be fetched now
      const message = plain(entries[entry % PAGE].message);
      if (GROUP.test(message)) return entry;
      if (GROUP_END.test(message)) return entry + 1;
    }
    return this.total;
  }

  async find(needle) {
    this.needle = needle;
    this.hits = [];
    this.hit = -1;
    this.searches += 1;
    const search = this.searches;
    this.tellHits(false);
    this.draw();
    if (!needle) return;
    for (let page = 0; page * SEARCH_PAGE < this.total; page += 1) {
      const entries = await this.source.page(page, SEARCH_PAGE);
      if (search !== this.searches) return;
      entries.forEach((entry, index) => {
        if (this.hits.length < MOST_HITS && plain(entry.message).toLowerCase().includes(needle)) {
          this.hits.push(page * SEARCH_PAGE + index);
        }
      });
      if (this.hit < 0 && this.hits.length) this.step(1);
      this.tellHits(true);
      if (this.hits.length >= MOST_HITS) break;
    }
    this.tellHits(false);
  }

  tellHits(isSearching) {
    const more = isSearching || this.hits.length >= MOST_HITS ? "+" : "";
    this.part("hits").textContent = this.needle
      ? `${this.hit + 1} / ${this.hits.length.toLocaleString(language)}${more}`
      : "";
    this.part("hits").dataset.searching = String(isSearching);
  }

  step(by) {
    if (!this.hits.length) return;
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    const entry = this.hits[this.hit];
    this.folds = this.folds.filter((fold) => entry <= fold.start || entry >= fold.end);
    this.part("follow").checked = false;
    this.place(Math.max(0, this.rowOf(entry) * ROW - this.window.clientHeight / 2));
    this.tellHits(this.part("hits").dataset.searching === "true");
  }
}

function shortened(message) {
  const line = message.replaceAll("\n", " ⏎ ");
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}

// Returns how a line of a unified diff is shown.
function differenceClass(line) {
  if (/^(diff |--- |\+\+\+ |index |new file|deleted file)/.test(line)) return ["diff-file"];
  if (line.startsWith("@@")) return ["diff-place"];
  if (line.startsWith("+")) return ["diff-added"];
  if (line.startsWith("-")) return ["diff-removed"];
  return ["diff-same"];
}
