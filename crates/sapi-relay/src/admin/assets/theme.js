// Light or dark: as the system has it, until somebody chooses.

import { at } from "./dom.js";

const KEY = "sapi-relay-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function isDark() {
  return chosen() ? chosen() === "dark" : system.matches;
}

function apply() {
  const dark = isDark();
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const button = at("theme");
  button.textContent = dark ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to the ${dark ? "light" : "dark"} theme`);
  dispatchEvent(new Event("themechange"));
}

at("theme").addEventListener("click", () => {
  try {
    localStorage.setItem(KEY, isDark() ? "light" : "dark");
  } catch {
    // A browser that keeps nothing: the choice is not kept either.
  }
  apply();
});
system.addEventListener("change", apply);
apply();

/** A colour of the style sheet as it is now, for a canvas. */
export function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
