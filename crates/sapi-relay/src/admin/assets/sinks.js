// The sinks that the relay delivers to: state, lag and its plot, trouble with its remedy, and the
// two buttons that are safe to press.

import { Chart } from "./charts.js";
import { at, element, facts, Parts, say, show, state } from "./dom.js";
import { ago, count, rate, span } from "./format.js";
import { History, Rates } from "./history.js";
import { steer } from "./relay.js";

const TONES = { running: "good", retrying: "warn", paused: "idle" };
const history = new History();
const rates = new Rates();

const parts = new Parts(at("sinks"), ({ sink }) => {
  const pill = element("span", { className: "state" });
  const list = element("dl", { className: "facts" });
  const set = facts(list, { events: "Lag", seconds: "Oldest waits", rate: "Delivered a second", retries: "Retries in a row", letters: "Dead letters" });
  const box = element("div", { className: "plot", role: "img", ariaLabel: `Lag of ${sink.name} in events, over time` });
  const trouble = element("div", { className: "trouble" }, element("p"), element("p", { className: "remedy" }));
  const answer = element("p", { className: "note", role: "status" });
  const [pause, resume] = ["pause", "resume"].map((verb) => button(sink.name, verb, answer));
  const head = element("div", { className: "head" }, element("h3", {}, sink.name), element("span", { className: "kind" }, sink.type), pill);
  const node = element("li", { data: { sink: sink.name } }, head, list, element("p", { className: "caption" }, "Lag, events"), box, trouble, element("div", { className: "bar" }, pause, resume, answer));
  const chart = new Chart(box, { write: count, height: 90, ticks: false, whole: true });
  return { node, gone: () => chart.gone(), fill: (row) => fillOne(row, { pill, set, chart, trouble, pause, resume }) };
});

function button(sink, verb, answer) {
  const made = element("button", { type: "button", ariaLabel: `${verb} ${sink}` }, verb === "pause" ? "Pause" : "Resume");
  made.addEventListener("click", async () => {
    made.disabled = true;
    say(answer, "");
    try {
      await steer(sink, verb);
      dispatchEvent(new Event("refresh"));
    } catch (error) {
      say(answer, error.message);
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

function fillOne({ sink, letters, drawn, now }, { pill, set, chart, trouble, pause, resume }) {
  const tone = TONES[sink.state] ?? "bad";
  state(pill, sink.state, tone);
  set({
    events: sink.lag_events === 1 ? "1 event" : `${count(sink.lag_events)} events`,
    seconds: sink.lag_events ? span(sink.lag_seconds) : "–",
    rate: rate(history.last(`rate ${sink.name}`)),
    retries: count(sink.retries),
    letters: count(letters),
  });
  if (drawn) {
    const name = `lag ${sink.name}`;
    chart.draw([{ name, colour: tone === "bad" ? "--bad" : "--c0", fill: true }], history.columns([name]));
  }
  const error = sink.last_error;
  show(trouble, Boolean(error));
  if (error) {
    say(trouble.firstChild, `${ago(error.at, now)}: ${error.text}`);
    say(trouble.lastChild, error.remedy);
    trouble.dataset.tone = tone === "good" ? "idle" : tone;
  }
  const runs = ["running", "retrying", "blocked"].includes(sink.state);
  show(pause, runs);
  show(resume, !runs);
}

/** Takes a sample of lag and deliveries. */
export function sample(seconds, { status, delivered }) {
  const values = {};
  for (const [name, value] of Object.entries(rates.of(seconds, delivered))) values[`rate ${name}`] = value;
  for (const sink of status.sinks) values[`lag ${sink.name}`] = sink.lag_events;
  history.add(seconds, values);
}

/** What a sink has delivered a second of late. */
export const rateOf = (name) => history.last(`rate ${name}`);

/** Fills them; plots only where there is a new sample. */
export function fill({ status, dead_letters: kept }, now, drawn) {
  const workers = status.sinks.filter((sink) => sink.type !== "websocket");
  parts.fill(workers.map((sink) => ({ sink, letters: kept[sink.name] ?? 0, drawn, now })), ({ sink }) => sink.name);
  show(at("sinks-empty"), workers.length === 0);
}
