// One event, or one dead letter, to be read in full.

import { at, element, say } from "./dom.js";

/** Opens with a title, facts by their terms, and a text; JSON is indented. */
export function open(title, facts, text) {
  say(at("details-title"), title);
  const rows = Object.entries(facts).filter(([, value]) => value !== "" && value != null);
  at("details-facts").replaceChildren(
    ...rows.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, String(value)))),
  );
  say(at("details-text"), indented(text));
  at("details").showModal();
}

function indented(text) {
  try {
    // Numbers beyond what JavaScript holds exactly must not change by being shown.
    if (/\d{16,}/.test(text)) return text;
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

at("details").addEventListener("click", (event) => {
  if (event.target === at("details")) at("details").close();
});
