// The path under which a proxy serves these pages; the server puts it into the page.

export const base = document.body.dataset.base ?? "";
