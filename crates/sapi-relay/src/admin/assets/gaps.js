// What may have been lost, the latest first, and how many notices of each kind there were.

import { at, element, Parts, say, show } from "./dom.js";
import { count, moment } from "./format.js";

const TONES = { certain_loss: "bad", sequence_gap: "bad", journal_failed: "bad", journal_damaged: "bad", disk_full: "bad", skipped: "bad", possible_loss: "warn", sequence_unverified: "warn", cursor_reset: "warn", recovered: "good", sequence_filled: "good" };
const words = (text) => text.replaceAll("_", " ");
let latest = [];

const parts = new Parts(at("gaps"), (gap) => {
  const kind = element("span", { className: "state", data: { tone: TONES[gap.kind] ?? "idle" } }, words(gap.kind));
  const about = [gap.subscription, gap.sink].filter(Boolean).join(", ");
  const head = element("p", { className: "head" }, element("time", { dateTime: gap.at }, moment(gap.at)), kind, element("span", { className: "note" }, about));
  return { node: element("li", {}, head, element("p", {}, gap.text)), fill: () => {} };
});

const kinds = new Parts(at("kinds"), ([kind]) => {
  const number = element("b");
  const node = element("li", {}, `${words(kind)} `, number);
  return { node, fill: ([, value]) => say(number, count(value)) };
});

/** The id of the latest gap that is shown. */
export const seen = () => latest.at(-1)?.id;

/** Takes newer gaps, where there are some. */
export function fill({ gaps, notices }) {
  kinds.fill(Object.entries(notices).filter(([, value]) => value > 0), ([kind]) => kind);
  if (!gaps) return;
  latest = gaps;
  parts.fill([...gaps].reverse(), (gap) => gap.id);
  show(at("gaps-empty"), gaps.length === 0);
  say(at("gaps-note"), gaps.length ? `the latest ${count(gaps.length)}` : "");
}
