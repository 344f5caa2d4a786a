// The texts of this page's language; the server puts them into the page.

const texts = JSON.parse(document.body.dataset.texts ?? "{}");

export function text(key, values = {}) {
  const found = texts[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

export const language = document.documentElement.lang || "en";
