// Events a second by type.

import { Chart, COLOURS } from "./charts.js";
import { at, element, Parts, say, show } from "./dom.js";
import { clock, rate } from "./format.js";
import { History, Rates } from "./history.js";

const history = new History();
const totals = new Rates();
const chart = new Chart(at("rates-plot"), { write: rate, height: 220, pointed });
/** A type keeps its colour while it is drawn. */
const colours = new Map();
const HEARTBEAT = "ClientCheck";
/** Types, the most frequent first, and the sample that is pointed at. */
let names = [];
let sample = null;

const legend = new Parts(at("rates"), (type) => {
  const value = element("b");
  const swatch = element("i");
  const node = element("li", {}, swatch, element("span", {}, type.name), value);
  const fill = ({ now, colour }) => {
    say(value, rate(now));
    // The rest is listed, not drawn.
    swatch.style.background = colour ? `var(${colour})` : "none";
  };
  return { node, fill };
});

/** Takes counts by subscription and type. */
export function fill(seconds, received) {
  const values = byType(totals.of(seconds, flat(received)));
  history.add(seconds, values);
  names = [...history.series.keys()].filter((name) => history.most(name) > 0);
  names.sort((one, other) => history.most(other) - history.most(one));
  const shown = names.slice(0, COLOURS - 1);
  for (const name of colours.keys()) if (!shown.includes(name)) colours.delete(name);
  shown.forEach(colourOf);
  const drawn = shown.map((name) => ({ name, colour: colourOf(name), fill: name === shown[0] }));
  drawn.sort((one, other) => (one.colour < other.colour ? -1 : 1));
  show(at("rates-empty"), names.length === 0);
  show(at("rates-plot"), names.length > 0);
  if (drawn.length) chart.draw(drawn, history.columns(drawn.map((one) => one.name)));
  fillLegend();
}

/** What each type had at the sample that is pointed at, or has now. */
function fillLegend() {
  const index = sample ?? -1;
  const rows = names.map((name, place) => ({ name, now: history.last(name, index), colour: place < COLOURS - 1 ? colourOf(name) : null }));
  legend.fill(rows, (row) => row.name);
  say(at("rates-note"), sample === null ? "received a second, since this page is open" : `received a second, at ${clock(history.times[sample] * 1000)}`);
}

function pointed(index) {
  if (index === sample) return;
  sample = index;
  fillLegend();
}

function flat(received) {
  const counts = {};
  for (const [subscription, types] of Object.entries(received)) {
    for (const [type, value] of Object.entries(types)) {
      if (type !== HEARTBEAT) counts[JSON.stringify([subscription, type])] = value;
    }
  }
  return counts;
}

/** Every subscription hears the same events: what the one that hears most has, is the rate. */
function byType(rates) {
  const values = {};
  for (const [name, value] of Object.entries(rates)) {
    const [, type] = JSON.parse(name);
    if (value !== null) values[type] = Math.max(values[type] ?? 0, value);
  }
  return values;
}

function colourOf(name) {
  if (!colours.has(name)) {
    const used = new Set(colours.values());
    colours.set(name, [...Array(COLOURS - 1).keys()].map((n) => `--c${n}`).find((one) => !used.has(one)));
  }
  return colours.get(name);
}
