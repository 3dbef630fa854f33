// What could not be parsed and what sinks refused, oldest first; the latter can be retried.

import { open } from "./details.js";
import { at, element, Parts, say, show } from "./dom.js";
import { bytes, count, counted, moment } from "./format.js";
import * as relay from "./relay.js";

const PAGE = 20;
const UPSTREAM = "upstream";
let counts = "";
let letters = [];
let next = null;
let loading = false;
let again = false;

const rows = new Parts(at("letters"), (letter) => {
  const owner = letter.sink ?? letter.subscription ?? letter.origin;
  const look = element("button", { type: "button" }, "Show");
  look.addEventListener("click", () => details(letter));
  const actions = element("td", { className: "actions" }, look);
  if (letter.sink) actions.append(retryButton({ id: letter.id }, "Retry"));
  const cells = [moment(letter.at), owner, letter.reason, bytes(letter.size)];
  const node = element("tr", { data: { letter: letter.id } }, ...cells.map((text) => element("td", {}, text)), actions);
  node.children[2].className = "reason";
  return { node, fill: () => {} };
});

const sinks = new Parts(at("letters-bar"), ([name]) => {
  const text = element("span");
  const node = element("span", { className: "kept" }, text);
  if (name !== UPSTREAM) node.append(retryButton({ sink: name }, `Retry all of ${name}`));
  return { node, fill: ([, kept]) => say(text, `${name === UPSTREAM ? "not parsed" : name}: ${count(kept)}`) };
});

function details(letter) {
  const raw = Uint8Array.from(atob(letter.bytes_base64), (char) => char.charCodeAt(0));
  const facts = { Kept: letter.at, Sink: letter.sink, Subscription: letter.subscription, "Event id": letter.event_id, Cursor: letter.cursor, Reason: letter.reason, Size: bytes(letter.size) + (letter.truncated ? ", cut" : "") };
  open(`Dead letter ${letter.id}`, facts, new TextDecoder().decode(raw));
}

function retryButton(wish, text) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    say(at("letters-note"), "Delivering again…");
    try {
      say(at("letters-note"), told(await retryAll(wish)));
    } catch (error) {
      say(at("letters-note"), error.message);
    } finally {
      made.disabled = false;
      await load();
      dispatchEvent(new Event("refresh"));
    }
  });
  return made;
}

/** The relay answers after some seconds at most; it is asked until all have been tried. */
async function retryAll(wish) {
  const sum = { delivered: 0, refused: 0, unconfirmed: 0, unfit: 0, text: null };
  for (let place = {}; ; ) {
    const answer = await relay.retry({ ...wish, ...place });
    for (const name of ["delivered", "refused", "unconfirmed", "unfit"]) sum[name] += answer[name];
    sum.text = answer.text ?? sum.text;
    if (answer.next === null) return sum;
    place = { sink: answer.sink, after: answer.next, upto: answer.upto };
  }
}

function told({ delivered, refused, unconfirmed, unfit, text }) {
  const parts = [delivered && `${counted(delivered, "event")} delivered, out of order`, refused && `${count(refused)} refused again`, unconfirmed && `${count(unconfirmed)} not confirmed`, unfit && `${count(unfit)} kept without their event`];
  const said = parts.filter(Boolean).join("; ") || "Nothing to retry";
  return text ? `${said}. ${text}` : `${said}.`;
}

async function load(more = false) {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  try {
    const after = more && next !== null ? { after: next } : {};
    // What has been opened stays open.
    const limit = more ? PAGE : Math.max(PAGE, Math.min(1000, letters.length));
    const page = await relay.deadLetters({ limit, ...after });
    letters = more ? [...letters, ...page.items] : page.items;
    next = page.next;
    rows.fill(letters, (letter) => letter.id);
    show(at("letters-box"), letters.length > 0);
    show(at("letters-empty"), letters.length === 0);
    show(at("letters-more"), next !== null);
  } finally {
    loading = false;
  }
  if (again) {
    again = false;
    await load();
  }
}

at("letters-more").addEventListener("click", () => load(true));

/** Takes the numbers; the letters are asked for where those have changed. */
export async function fill({ dead_letters: kept }) {
  const some = Object.entries(kept).filter(([, number]) => number > 0);
  sinks.fill(some, ([name]) => name);
  show(at("letters-bar"), some.length > 0);
  if (counts === JSON.stringify(kept)) return;
  counts = JSON.stringify(kept);
  await load();
}
