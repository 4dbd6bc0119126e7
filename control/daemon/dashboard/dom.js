// Makes elements, and changes as little of them as it can: most figures stay the same for a second.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

export const $ = (id) => document.getElementById(id);

/** Sets the text of a node that has nothing else in it. */
export function say(node, text) {
  const next = String(text);
  if (node.textContent !== next) node.textContent = next;
}

export function set(node, name, value) {
  const next = String(value);
  if (node.getAttribute(name) !== next) node.setAttribute(name, next);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** One child of `parent` for each item, in their order, kept from one call to the next. */
export class Rows {
  constructor(parent, key, make, update) {
    Object.assign(this, { parent, key, make, update, kept: new Map() });
  }

  draw(items) {
    const left = new Set(this.kept.keys());
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      let row = this.kept.get(key);
      if (!row) {
        row = this.make(item);
        this.kept.set(key, row);
      }
      left.delete(key);
      if (row.node === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.node, place);
      this.update(row, item);
    }
    for (const key of left) {
      this.kept.get(key).node.remove();
      this.kept.delete(key);
    }
  }
}

/** A colour of the style sheet. */
export const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function button(label, onclick, attributes) {
  return el("button", { type: "button", onclick, ...attributes }, label);
}

/** A command that can be copied. */
export function command(text) {
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(copy, "Copied");
    } catch {
      // Without a clipboard the text is at least marked.
      getSelection().selectAllChildren(code);
      say(copy, "Marked");
    }
  });
  const code = el("code", { tabindex: "0" }, text);
  return el("p", { class: "command" }, code, copy);
}

/** A word with a sign of its colour. */
export const STATES = {
  up: "ok", open: "ok", serving: "ok", down: "bad", unbound: "bad", draining: "warn",
  maint: "off", removed: "off", running: "warn", done: "ok", cancelled: "off",
};

export function stateWord() {
  const node = el("span", { class: "state" });
  return {
    node,
    put(state) {
      say(node, state);
      set(node, "data-tone", STATES[state] ?? "off");
    },
  };
}
