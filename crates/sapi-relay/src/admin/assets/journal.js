// The journal: how much it holds, and how long a commit takes.

import { Chart } from "./charts.js";
import { at, facts } from "./dom.js";
import { bytes, count, milliseconds, span } from "./format.js";
import { History } from "./history.js";

const history = new History();
const chart = new Chart(at("journal-plot"), { write: milliseconds, height: 110, ticks: false });
const set = facts(at("journal"), { writable: "Writable", bytes: "On disk", age: "Reaches back", records: "Records", memory: "Tail in memory", latency: "Commit" });
let before = null;
let latency = null;

const offset = (cursor) => Number(cursor.slice(cursor.indexOf(".") + 1));

/** Takes a sample of the commits' number and time: the mean of what came since the last. */
export function sample(seconds, { commits, commit_seconds: spent }) {
  const fresh = before && commits > before.commits;
  latency = fresh ? ((spent - before.spent) / (commits - before.commits)) * 1000 : null;
  before = { commits, spent };
  history.add(seconds, { latency });
  chart.draw([{ name: "latency", colour: "--c0", fill: true }], history.columns(["latency"]));
  return latency;
}

/** Fills in the facts. */
export function fill({ status: { journal, bus } }, now) {
  set({
    writable: journal.writable ? "yes" : "no: the disk is full, or fails",
    bytes: bytes(journal.bytes),
    age: journal.oldest_at ? span((now - Date.parse(journal.oldest_at)) / 1000) : "–",
    records: count(Math.max(0, offset(journal.last) - offset(journal.first) + 1)),
    memory: bytes(bus.bytes),
    latency: milliseconds(latency ?? journal.commit_ms),
  });
}
