// Tells those who hear a page, and do not see it, what has become of a task.

const place = document.getElementById("said");

export function announce(sentence) {
  place.textContent = sentence;
}
