// The live tail. Events come in chunks, wait in a list that is bounded, and go to the page in a frame
// now and then; the page has so many rows and no more, and uses them again and again.

import { open } from "./details.js";
import { at, element, say } from "./dom.js";
import { bytes, clock, count, counted } from "./format.js";
import { Locked, refusal } from "./relay.js";

/** Rows of the page, and events that are kept for them. */
const MOST = 100;
/** What a row shows of an event. */
const SHOWN = 160;
/** Between two draws: the frames between are for whoever scrolls. */
const PACE_MS = 200;
/** After a refusal that time may cure. */
const AGAIN_MS = 5000;

const body = at("tail");
/** The events of late, newest last, whatever the filter. */
let kept = [];
/** Those that the page has not drawn. */
let fresh = [];
let arrived = 0;
let leftOut = 0;
let paused = false;
let stream = null;
let again = null;
let due = null;
let drawnAt = 0;
let trouble = "";
let locked = () => {};

const words = () => at("tail-text").value.toLowerCase().split(/\s+/).filter(Boolean);

function passes(row, wanted) {
  const text = `${row.type} ${row.class} ${row.key} ${row.text}`.toLowerCase();
  return wanted.every((word) => text.includes(word));
}

function take(rows) {
  arrived += rows.length;
  kept.push(...rows);
  fresh.push(...rows);
  // Beyond this a frame would only overwrite its own rows.
  if (kept.length > 2 * MOST) kept = kept.slice(-MOST);
  if (fresh.length > 2 * MOST) fresh = fresh.slice(-MOST);
  if (paused) note();
  else due ??= setTimeout(() => requestAnimationFrame(draw), Math.max(0, drawnAt + PACE_MS - performance.now()));
}

function draw() {
  due = null;
  if (paused) return;
  drawnAt = performance.now();
  const wanted = words();
  const rows = fresh.filter((row) => passes(row, wanted)).slice(-MOST);
  fresh = [];
  place(rows);
  note();
}

/** Puts rows on top, the newest first; what is too many at the end is used again. */
function place(rows) {
  const batch = document.createDocumentFragment();
  for (const row of rows.reverse()) {
    const spare = body.childElementCount + batch.childElementCount >= MOST ? body.lastElementChild : null;
    batch.append(written(spare ?? line(), row));
  }
  body.prepend(batch);
  while (body.childElementCount > MOST) body.lastElementChild.remove();
}

function line() {
  const look = element("button", { type: "button", className: "plain" });
  return element("tr", {}, element("td"), element("td", {}, look), element("td"), element("td", { className: "text" }));
}

function written(node, row) {
  node.event = row;
  const [time, type, key, text] = node.children;
  time.textContent = clock(row.at, true);
  type.firstChild.textContent = row.type.slice(0, SHOWN);
  key.textContent = row.key.slice(0, SHOWN);
  text.textContent = row.text.slice(0, SHOWN);
  node.className = row.notice ? "notice" : "";
  return node;
}

/** Draws what is kept anew: the filter has changed. */
function redraw() {
  body.replaceChildren();
  fresh = [];
  const wanted = words();
  place(kept.filter((row) => passes(row, wanted)).slice(-MOST));
  note();
}

function note() {
  const parts = [trouble || (paused ? `paused, ${counted(fresh.length, "event")} waiting` : counted(arrived, "event"))];
  if (leftOut) parts.push(`${count(leftOut)} left out, too many to show`);
  say(at("tail-note"), parts.join("; "));
}

function path() {
  const types = at("tail-types").value.trim();
  return types ? `/v1/events?${new URLSearchParams({ types })}` : "/v1/events";
}

/** Begins, where it has not begun. `onLocked` is called when a token is wanted. */
export function start(onLocked) {
  locked = onLocked ?? locked;
  clearTimeout(again);
  if (stream) return;
  stream = new EventSource(path());
  stream.onmessage = (message) => {
    trouble = "";
    take(JSON.parse(message.data));
  };
  stream.addEventListener("left_out", (message) => {
    leftOut += Number(message.data);
  });
  stream.onopen = () => {
    trouble = "";
    note();
  };
  stream.onerror = () => refused(stream);
}

/** A browser comes again by itself, save where the server refused. */
async function refused(asked) {
  if (asked !== stream || asked.readyState !== EventSource.CLOSED) return;
  stop();
  try {
    trouble = await refusal(path());
  } catch (error) {
    if (error instanceof Locked) return locked();
    trouble = "the relay does not answer";
  }
  note();
  again = setTimeout(start, AGAIN_MS);
}

/** Ends: a page that nobody sees costs nothing. */
export function stop() {
  clearTimeout(again);
  stream?.close();
  stream = null;
}

at("tail-text").addEventListener("input", () => {
  // While paused, what is shown is what was shown, filtered.
  const waiting = fresh;
  redraw();
  fresh = paused ? waiting : [];
});
at("tail-types").addEventListener("change", () => {
  stop();
  clear();
  start();
});
at("tail-types").addEventListener("keydown", ({ key, target }) => {
  if (key === "Enter") target.blur();
});
at("tail-form").addEventListener("submit", (event) => event.preventDefault());
at("tail-pause").addEventListener("click", () => {
  paused = !paused;
  at("tail-pause").setAttribute("aria-pressed", String(paused));
  say(at("tail-pause"), paused ? "Go on" : "Pause");
  if (paused) note();
  else draw();
});

function clear() {
  [kept, fresh, arrived, leftOut] = [[], [], 0, 0];
  redraw();
}
at("tail-clear").addEventListener("click", clear);

body.addEventListener("click", ({ target }) => {
  const row = target.closest("tr")?.event;
  if (!row) return;
  const facts = { Arrived: row.at, Class: row.class, Type: row.type, Key: row.key, Id: row.id, Cursor: row.cursor, Size: bytes(row.size) };
  const cut = new TextEncoder().encode(row.text).length < row.size ? "\n… cut here" : "";
  open(row.type, facts, row.text + cut);
});
