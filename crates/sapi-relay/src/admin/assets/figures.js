// The first line: what an operator looks for first.

import { at, element, Parts, say } from "./dom.js";
import { bytes, count, counted, milliseconds, rate, span } from "./format.js";

const parts = new Parts(at("figures"), () => {
  const [value, name, note] = [element("p", { className: "value" }), element("p", { className: "name" }), element("p", { className: "note" })];
  const node = element("div", { className: "figure" }, name, value, note);
  const fill = (figure) => {
    say(value, figure.value);
    say(name, figure.name);
    say(note, figure.note);
    node.dataset.tone = figure.tone ?? "";
  };
  return { node, fill };
});

/** Fills them from an overview and the rates. */
export function fill({ status, rates, latency }) {
  const streaming = status.subscriptions.filter((one) => one.state === "streaming").length;
  const behind = status.sinks.reduce((most, sink) => (sink.lag_seconds > (most?.lag_seconds ?? 0) ? sink : most), null);
  const troubled = status.sinks.filter((sink) => sink.state !== "running" && sink.state !== "paused");
  const gaps = status.subscriptions.reduce((sum, one) => sum + one.gaps, 0);
  const reconnects = status.subscriptions.reduce((sum, one) => sum + one.reconnects, 0);
  const figures = [
    { name: "Events a second", value: rate(rates.committed), note: "committed" },
    {
      name: "Subscriptions",
      value: `${streaming}/${status.subscriptions.length}`,
      note: streaming ? "streaming" : "nothing is received",
      tone: streaming === status.subscriptions.length ? "good" : streaming ? "warn" : "bad",
    },
    {
      name: "Greatest lag",
      value: behind ? span(behind.lag_seconds) : "none",
      note: behind ? `${behind.name}: ${counted(behind.lag_events, "event")}` : "every sink is level",
      tone: troubled.length ? "bad" : "",
    },
    { name: "Journal", value: bytes(status.journal.bytes), note: `commit ${milliseconds(latency ?? status.journal.commit_ms)}`, tone: status.journal.writable ? "" : "bad" },
    { name: "Clients", value: count(status.clients.connected), note: "connected" },
    { name: "Sequence holes", value: count(gaps), note: counted(reconnects, "reconnect"), tone: gaps ? "warn" : "" },
  ];
  parts.fill(figures, (figure) => figure.name);
}
