// Says while somebody types whether the parameters are a JSON object.

import { text } from "/static/texts.js";

const field = document.getElementById("parameters");

function fault(written) {
  if (!written.trim()) return "";
  try {
    const value = JSON.parse(written);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? "" : text("js.json", { reason: text("js.json.shape") });
  } catch (error) {
    return text("js.json", { reason: error.message });
  }
}

field?.addEventListener("input", () => field.setCustomValidity(fault(field.value)));
