// The dashboard: asks every two seconds while somebody looks, and never otherwise.

import * as clients from "./clients.js";
import * as letters from "./dead_letters.js";
import { at, say, show, state } from "./dom.js";
import * as rates from "./event_rates.js";
import * as figures from "./figures.js";
import { span } from "./format.js";
import * as gaps from "./gaps.js";
import { Rates } from "./history.js";
import * as journal from "./journal.js";
import { login, offerLogout } from "./login.js";
import { Locked, overview } from "./relay.js";
import * as sinks from "./sinks.js";
import * as subscriptions from "./subscriptions.js";
import * as tail from "./tail.js";

const PERIOD_MS = 2000;
const TICK_MS = 1000;
const totals = new Rates();
/** The last answer, and how far the relay's clock is ahead of this one. */
let last = null;
let ahead = 0;
let timer = null;
let asking = false;
let open = false;

const now = () => Date.now() + ahead;

async function look() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  try {
    take(await overview(gaps.seen()));
    timer = setTimeout(look, PERIOD_MS);
  } catch (error) {
    if (error instanceof Locked) {
      askToken();
    } else {
      state(at("health"), "The relay does not answer", "bad");
      at("board").classList.add("stale");
      timer = setTimeout(look, PERIOD_MS);
    }
  } finally {
    asking = false;
  }
}

function take(answer) {
  last = answer;
  ahead = Date.parse(answer.now) - Date.now();
  const seconds = Date.parse(answer.now) / 1000;
  at("board").classList.remove("stale");
  // Shown first: a plot takes the width of its box.
  show(at("board"), true);
  rates.fill(seconds, answer.received);
  sinks.sample(seconds, answer);
  const latency = journal.sample(seconds, answer);
  figures.fill({ status: answer.status, rates: totals.of(seconds, { committed: answer.committed }), latency });
  clients.fill(answer);
  gaps.fill(answer);
  letters.fill(answer).catch(() => {});
  tick(true);
  if (!open) {
    open = true;
    tail.start(askToken);
  }
}

/** What changes by itself: ages and countdowns. */
function tick(drawn = false) {
  if (!last || document.hidden) return;
  const { status, checks } = last;
  subscriptions.fill(last, now());
  journal.fill(last, now());
  sinks.fill(last, now(), drawn);
  if (drawn) {
    const bad = checks.filter((check) => !check.ok);
    state(at("health"), bad.length ? `Not ready: ${bad.map((check) => check.text).join("; ")}` : "Ready", bad.length ? "bad" : "good");
  }
  say(at("tenant"), status.tenant);
  say(at("about"), `version ${status.version}, up ${span((now() - Date.parse(status.started_at)) / 1000)}`);
}

async function askToken() {
  if (!at("login").hidden) return;
  clearTimeout(timer);
  tail.stop();
  open = false;
  state(at("health"), "A token is needed", "idle");
  await login();
  look();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    tail.stop();
  } else if (at("login").hidden) {
    if (open) tail.start();
    look();
  }
});
addEventListener("refresh", look);
setInterval(() => tick(), TICK_MS);
offerLogout();
look();
