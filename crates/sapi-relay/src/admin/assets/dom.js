// Elements: made, found, and kept in step with a list. Texts go in as text, never as markup.

export const at = (id) => document.getElementById(id);

/** An element with properties, `data-*` by `data`, and children: elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { data, ...rest } = properties;
  for (const [name, value] of Object.entries(rest)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  Object.assign(made.dataset, data ?? {});
  made.append(...children);
  return made;
}

/** Sets a text, where it is another one. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows or hides. */
export function show(node, yes) {
  if (node.hidden === yes) node.hidden = !yes;
}

/** A list's part of the page: a node an item, in their order, made once and filled each time. */
export class Parts {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.parts = new Map();
  }

  fill(items, key) {
    const wanted = new Set(items.map(key));
    for (const [name, part] of this.parts) {
      if (wanted.has(name)) continue;
      part.node.remove();
      part.gone?.();
      this.parts.delete(name);
    }
    items.forEach((item, index) => {
      const name = key(item);
      if (!this.parts.has(name)) this.parts.set(name, this.make(item));
      const part = this.parts.get(name);
      const place = this.parent.children[index];
      if (place !== part.node) this.parent.insertBefore(part.node, place ?? null);
      part.fill(item);
    });
  }
}

/** A list of facts: a term and what is said of it, made once. */
export function facts(list, terms) {
  const values = {};
  for (const [name, term] of Object.entries(terms)) {
    values[name] = element("dd");
    list.append(element("div", {}, element("dt", {}, term), values[name]));
  }
  return (texts) => {
    for (const [name, text] of Object.entries(texts)) say(values[name], text);
  };
}

/** A state with its tone. */
export function state(node, text, tone) {
  say(node, text);
  if (node.dataset.tone !== tone) node.dataset.tone = tone;
}
