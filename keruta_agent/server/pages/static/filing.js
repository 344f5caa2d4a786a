// Says while somebody types whether the parameters are a JSON object.

import { text } from "../texts.js";

// Browsers say in English what is wrong, but most of them also where.
const PLACE = /line (\d+) column (\d+)/;
const field = document.getElementById("parameters");

function fault(written) {
  if (!written.trim()) return "";
  try {
    const value = JSON.parse(written);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? "" : text("js.json", { reason: text("js.json.shape") });
  } catch (error) {
    const [, line, column] = PLACE.exec(error.message) ?? [];
    const reason = line ? text("js.json.place", { line, column }) : error.message;
    return text("js.json", { reason });
  }
}

field?.addEventListener("input", () => field.setCustomValidity(fault(field.value)));
