// The admin token, changed once for a cookie that no script can read.

import { at, say, show } from "./dom.js";
import * as relay from "./relay.js";

/** Asks for the token until it is right. */
export function login() {
  show(at("board"), false);
  show(at("login"), true);
  at("token").focus();
  return new Promise((resolve) => {
    at("login").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await relay.login(at("token").value);
        at("token").value = "";
        say(at("login-refusal"), "");
        show(at("login"), false);
        show(at("logout"), true);
        remember(true);
        resolve();
      } catch (error) {
        say(at("login-refusal"), error.message);
        at("token").select();
      }
    };
  });
}

/** Whether this browser has a session here: the cookie itself can't be seen. */
const KEY = "sapi-relay-session";

function remember(yes) {
  try {
    if (yes) localStorage.setItem(KEY, "open");
    else localStorage.removeItem(KEY);
  } catch {
    // Then there is no button to log out after a reload; the session ends by itself.
  }
}

export function offerLogout() {
  try {
    show(at("logout"), localStorage.getItem(KEY) !== null);
  } catch {
    show(at("logout"), false);
  }
}

at("logout").addEventListener("click", async () => {
  await relay.logout();
  remember(false);
  location.reload();
});
