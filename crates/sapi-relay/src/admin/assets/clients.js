// The websocket sinks: how many clients are connected, and why others left.

import { at, element, facts, Parts, show, state } from "./dom.js";
import { count, rate } from "./format.js";
import { rateOf } from "./sinks.js";

const parts = new Parts(at("clients"), ({ sink }) => {
  const pill = element("span", { className: "state" });
  const list = element("dl", { className: "facts" });
  const set = facts(list, { clients: "Connected", rate: "Events sent a second", listen: "Listens on", left: "Have left" });
  const head = element("div", { className: "head" }, element("h3", {}, sink.name), element("span", { className: "kind" }, sink.type), pill);
  const node = element("li", { data: { listener: sink.name } }, head, list);
  const fill = ({ sink, left }) => {
    state(pill, "serving", "good");
    const reasons = Object.entries(left).filter(([, number]) => number > 0);
    set({
      clients: count(sink.clients ?? 0),
      rate: rate(rateOf(sink.name)),
      listen: sink.listen ?? "–",
      left: reasons.map(([reason, number]) => `${count(number)} ${reason.replaceAll("_", " ")}`).join(", ") || "nobody",
    });
  };
  return { node, fill };
});

/** Fills them from an overview. */
export function fill({ status, left }) {
  const listeners = status.sinks.filter((sink) => sink.type === "websocket");
  parts.fill(listeners.map((sink) => ({ sink, left: left[sink.name] ?? {} })), ({ sink }) => sink.name);
  show(at("clients-empty"), listeners.length === 0);
}
