// Makes visible what a text hides, as visible.py does: characters that turn or blank their line.

const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function visible(text) {
  return text.replace(HIDDEN, (mark) =>
    `⟨U+${mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
