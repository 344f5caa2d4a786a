// Turns the colour sequences that programs print into styled text. Nothing is ever read as HTML.

const SEQUENCE =
  // eslint-disable-next-line no-control-regex
  /\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b./g;
// The sixteen colours as terminals have them; all others become the nearest one, because these
// are legible on light and on dark.
const PALETTE = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0],
  [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0],
  [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
];
const CUBE = [0, 95, 135, 175, 215, 255];
const STYLES = { 1: "bold", 2: "faint", 3: "italic", 4: "underline", 7: "inverse", 9: "struck" };
const ENDS = {
  22: ["bold", "faint"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["struck"],
};

export function plain(text) {
  return text.includes("\x1b") ? text.replace(SEQUENCE, "") : text;
}

// Returns pieces, each with its text and the names of its classes.
export function parse(text) {
  if (!text.includes("\x1b")) return [{ text, classes: [] }];
  const pieces = [];
  const state = { styles: new Set(), front: null, back: null };
  let last = 0;
  const add = (end) => {
    if (end > last) pieces.push({ text: text.slice(last, end), classes: classesOf(state) });
  };
  for (const found of text.matchAll(SEQUENCE)) {
    add(found.index);
    last = found.index + found[0].length;
    if (found[1] !== undefined) apply(state, found[1]);
  }
  add(text.length);
  return pieces;
}

function classesOf(state) {
  const classes = [...state.styles].map((name) => `ansi-${name}`);
  if (state.front !== null) classes.push(`ansi-front-${state.front}`);
  if (state.back !== null) classes.push(`ansi-back-${state.back}`);
  return classes;
}

function apply(state, parameters) {
  const codes = parameters.split(/[;:]/).map((part) => Number(part || 0));
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index];
    if (code === 0) {
      state.styles.clear();
      state.front = state.back = null;
    } else if (STYLES[code]) state.styles.add(STYLES[code]);
    else if (ENDS[code]) ENDS[code].forEach((name) => state.styles.delete(name));
    else if (code >= 30 && code <= 37) state.front = code - 30;
    else if (code >= 90 && code <= 97) state.front = code - 90 + 8;
    else if (code >= 40 && code <= 47) state.back = code - 40;
    else if (code >= 100 && code <= 107) state.back = code - 100 + 8;
    else if (code === 39) state.front = null;
    else if (code === 49) state.back = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(index + 1));
      index += used;
      if (colour === null) continue;
      if (code === 38) state.front = colour;
      else state.back = colour;
    }
  }
}

function extended(rest) {
  if (rest[0] === 5) return [indexed(rest[1]), 2];
  if (rest[0] === 2) return [nearest(rest.slice(1, 4)), 4];
  return [null, 0];
}

function indexed(number) {
  if (!(number >= 0 && number <= 255)) return null;
  if (number < 16) return number;
  if (number >= 232) return nearest(Array(3).fill(8 + 10 * (number - 232)));
  const cube = number - 16;
  return nearest([CUBE[Math.floor(cube / 36)], CUBE[Math.floor(cube / 6) % 6], CUBE[cube % 6]]);
}

function nearest(colour) {
  if (colour.length < 3) return null;
  const far = PALETTE.map((known) =>
    known.reduce((sum, part, index) => sum + (part - colour[index]) ** 2, 0));
  return far.indexOf(Math.min(...far));
}
