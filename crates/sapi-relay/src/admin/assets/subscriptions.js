// The subscriptions: where each stands, and when its cut is due.

import { at, element, facts, Parts, say, show, state } from "./dom.js";
import { ago, count, span } from "./format.js";

const TONES = { streaming: "good", rotating: "warn", connecting: "warn", stopped: "idle" };

const parts = new Parts(at("subscriptions"), ({ row: one }) => {
  const pill = element("span", { className: "state" });
  const bar = element("progress", { max: 1, ariaLabel: "Session, from its start to the expected cut" });
  const due = element("p", { className: "note" });
  const list = element("dl", { className: "facts" });
  const trouble = element("p", { className: "trouble" });
  const set = facts(list, { age: "Connected for", byte: "Last byte", event: "Last event", gaps: "Sequence holes", missing: "Numbers missing", reconnects: "Reconnects" });
  const head = element("div", { className: "head" }, element("h3", {}, one.id), pill);
  const node = element("li", { data: { subscription: one.id } }, head, bar, due, list, trouble);
  return { node, fill: (row) => fillOne(row, { pill, bar, due, set, trouble }) };
});

function fillOne({ row, missing, now }, { pill, bar, due, set, trouble }) {
  const tone = TONES[row.state] ?? "bad";
  state(pill, row.state.replace("_", " ").replace("(", ": ").replace(")", ""), tone);
  const up = row.state === "streaming" && row.connected_at;
  const [from, until] = [Date.parse(row.connected_at), Date.parse(row.expected_cut_at)];
  bar.value = up && until > from ? Math.min(1, (now - from) / (until - from)) : 0;
  say(due, whenDue(row, up, until, now));
  set({
    age: up ? span((now - from) / 1000) : `not connected, for ${span((now - Date.parse(row.since)) / 1000)}`,
    byte: ago(row.last_byte_at, now),
    event: ago(row.last_event_at, now),
    gaps: count(row.gaps),
    missing: count(missing),
    reconnects: count(row.reconnects),
  });
  say(trouble, row.last_error ? `Last trouble: ${row.last_error}` : "");
  trouble.dataset.tone = tone === "good" ? "idle" : tone;
  show(trouble, Boolean(row.last_error));
}

function whenDue(row, up, until, now) {
  if (!up) return "No session.";
  if (!until) return "When it will be cut is not known.";
  const seconds = (until - now) / 1000;
  return seconds > 0 ? `Expected cut in ${span(seconds)}` : `Cut expected ${span(-seconds)} ago`;
}

/** Fills them; `now` is the relay's clock. */
export function fill({ status, missing }, now) {
  const rows = status.subscriptions.map((row) => ({ row, missing: missing[row.id] ?? 0, now }));
  parts.fill(rows, ({ row }) => row.id);
}
