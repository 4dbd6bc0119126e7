// The map of the flow: listener → pool → backends, as wide as the load.

import { $, say, set, STATES, svg } from "./dom.js";
import { bits, count, plural, rate } from "./format.js";

/** Backends on the map; the rest of a pool are one line. */
const SHOWN_MAX = 24;
const LINE = 36;
const GAP = 12;
const WIDEST = 22;

const MEASURES = {
  sessions: {
    of: (row) => row.sessions ?? 0, words: (value) => (isNarrow() ? count(value) : plural(value, "session")),
  },
  rate: {
    of: (row) => row.sessions_per_s ?? 0, words: (value) => `${rate(value)}${isNarrow() ? "/s" : " new/s"}`,
  },
  bits: {
    of: (row) => 8 * ((row.received_bytes_per_s ?? 0) + (row.sent_bytes_per_s ?? 0)),
    words: (value) => (isNarrow() ? bits(value).replace("bit/s", "") : bits(value)),
  },
};

/** There is room for a number and a unit, not for words. */
const isNarrow = () => $("flow-map").clientWidth < 560;

let last = null;
let shape = "";
let parts = null;

const measure = () => MEASURES[$("flow-by").value];

/** Backends by pool, the busiest and those with trouble first; each pool's rest as one row. */
function grouped(figures, of) {
  const groups = new Map(figures.pools.map((pool) => [pool.name, { pool, backends: [], rest: [] }]));
  for (const row of figures.backends) {
    if (row.removed) continue;
    const [pool, name] = row.name.split("/");
    groups.get(pool)?.backends.push({ ...row, short: name });
  }
  const all = [...groups.values()];
  const most = Math.max(1, Math.floor(SHOWN_MAX / Math.max(1, all.length)));
  for (const group of all) {
    if (group.backends.length <= most + 1) continue;
    const order = [...group.backends].sort((a, b) => (b.state === "up" ? of(b) : Infinity) - (a.state === "up" ? of(a) : Infinity) || 0);
    const kept = new Set(order.slice(0, most));
    group.rest = group.backends.filter((row) => !kept.has(row));
    group.backends = group.backends.filter((row) => kept.has(row));
  }
  return all.slice(0, SHOWN_MAX);
}

function node(parent, x, width, y) {
  const box = svg("rect", { class: "node", x, y: y - LINE / 2 + 1, width, height: LINE - 2, rx: 6 });
  const mark = svg("rect", { class: "mark", x, y: y - LINE / 2 + 1, width: 4, height: LINE - 2, rx: 2 });
  const name = svg("text", { class: "name", x: x + 11, y: y - 3 });
  const figure = svg("text", { class: "figure", x: x + 11, y: y + 12 });
  parent.append(box, mark, name, figure);
  return { name, figure, mark, x, width, y };
}

/** As much of a text as fits, by a letter's usual width. */
function fitted(text, width) {
  const letters = Math.floor((width - 16) / 6.4);
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}

function put(part, name, words, tone) {
  say(part.name, fitted(name, part.width));
  say(part.figure, fitted(words, part.width + 14));
  set(part.figure, "data-tone", tone === "ok" ? "" : tone);
  set(part.mark, "data-tone", tone);
}

/** Each ribbon beside its neighbours where they meet: at the left and at the right side of a pool. */
function bundle(ribbons, at) {
  const all = ribbons.reduce((sum, ribbon) => sum + ribbon.width, 0);
  let top = -all / 2;
  for (const ribbon of ribbons) {
    ribbon[at] = top + ribbon.width / 2;
    top += ribbon.width;
  }
}

function curve({ path, from, to, width, start = 0, end = 0 }) {
  const [a, b] = [from.x + from.width, to.x];
  const [middle, y1, y2] = [(a + b) / 2, (from.y + start).toFixed(1), (to.y + end).toFixed(1)];
  set(path, "d", `M${a} ${y1}C${middle} ${y1} ${middle} ${y2} ${b} ${y2}`);
  set(path, "stroke-width", width.toFixed(1));
}

/** Lays the map out again: something came, went, or the page has another width. */
function lay(groups, listeners, width) {
  const root = svg("svg", { role: "img", "aria-labelledby": "flow-words" });
  const ribbons = svg("g", {});
  const nodes = svg("g", {});
  root.append(ribbons, nodes);
  const column = Math.min(230, Math.floor(width * 0.27));
  const places = [0, Math.floor((width - column) / 2), width - column];
  parts = { root, listeners: new Map(), pools: new Map(), backends: new Map(), rests: new Map(), ribbons: new Map() };
  let y = LINE / 2 + 2;
  for (const { pool, backends, rest } of groups) {
    const first = y;
    for (const row of backends) {
      parts.backends.set(row.name, node(nodes, places[2], column, y));
      y += LINE + 4;
    }
    if (rest.length) {
      parts.rests.set(pool.name, node(nodes, places[2], column, y));
      y += LINE + 4;
    }
    const end = Math.max(first, y - LINE - 4);
    parts.pools.set(pool.name, node(nodes, places[1], column, (first + end) / 2));
    y = Math.max(y, first + LINE) + GAP;
  }
  // Each listener beside its pool; two of one pool above one another.
  const beside = (listener) => parts.pools.get(listener.pool)?.y ?? y;
  let free = LINE / 2 + 2;
  for (const listener of [...listeners].sort((a, b) => beside(a) - beside(b))) {
    const mates = listeners.filter((other) => other.pool === listener.pool).length;
    const at = Math.max(free, beside(listener) - ((mates - 1) * (LINE + 4)) / 2 * (free <= beside(listener) ? 1 : 0));
    parts.listeners.set(listener.name, node(nodes, places[0], column, at));
    free = at + LINE + 4;
  }
  const ribbon = (key, from, to) => {
    if (!from || !to) return;
    const path = svg("path", {});
    ribbons.append(path);
    parts.ribbons.set(key, { path, from, to, width: 1 });
  };
  for (const { name, pool } of listeners) ribbon(`l ${name}`, parts.listeners.get(name), parts.pools.get(pool));
  for (const { pool, backends, rest } of groups) {
    for (const row of backends) ribbon(`b ${row.name}`, parts.pools.get(pool.name), parts.backends.get(row.name));
    if (rest.length) ribbon(`r ${pool.name}`, parts.pools.get(pool.name), parts.rests.get(pool.name));
  }
  const height = Math.max(y - GAP, free - LINE / 2) + 2;
  set(root, "viewBox", `0 0 ${width} ${height}`);
  root.style.height = `${height}px`;
  $("flow-map").replaceChildren(root);
}

export function draw(figures) {
  last = figures;
  const { of, words } = measure();
  const groups = grouped(figures, of);
  const listeners = figures.listeners.slice(0, SHOWN_MAX);
  const width = Math.max(260, Math.floor($("flow-map").clientWidth));
  const next = JSON.stringify([width, listeners.map((it) => [it.name, it.pool]), groups.map(({ pool, backends, rest }) => [pool.name, backends.map((it) => it.name), rest.length])]);
  if (next !== shape) {
    lay(groups, listeners, width);
    shape = next;
  }
  const poolLoad = (name) => of(figures.pools.find((pool) => pool.name === name) ?? {});
  // A listener has no count of bytes: its pool's, by its share of the sessions.
  const listenerLoad = (row) => {
    if (measure() !== MEASURES.bits) return of(row);
    const all = listeners.filter((it) => it.pool === row.pool).reduce((sum, it) => sum + it.sessions, 0);
    return all ? poolLoad(row.pool) * (row.sessions / all) : 0;
  };
  const total = Math.max(1e-9, groups.reduce((sum, { pool }) => sum + of(pool), 0));
  const wide = (key, load, alive) => {
    const ribbon = parts.ribbons.get(key);
    if (!ribbon) return;
    ribbon.width = load > 0 ? 1.5 + (WIDEST - 1.5) * Math.min(1, load / total) : 1;
    set(ribbon.path, "data-tone", alive ? "" : "off");
  };
  for (const row of listeners) {
    const tone = STATES[row.state] ?? "off";
    const load = listenerLoad(row);
    put(parts.listeners.get(row.name), row.name, tone === "ok" ? words(load) : `${row.state} · ${words(load)}`, tone);
    wide(`l ${row.name}`, load, row.state === "open");
  }
  for (const { pool, backends, rest } of groups) {
    const tone = pool.backends_up === 0 ? "bad" : pool.panic || pool.backends_up < pool.backends ? "warn" : "ok";
    put(parts.pools.get(pool.name), pool.name, `${pool.backends_up}${isNarrow() ? "/" : " of "}${pool.backends} up · ${words(of(pool))}`, tone);
    for (const row of backends) {
      const tone = STATES[row.state] ?? "off";
      put(parts.backends.get(row.name), row.short, `${row.state} · ${words(of(row))}`, tone);
      wide(`b ${row.name}`, of(row), row.state === "up");
    }
    if (rest.length) {
      const load = rest.reduce((sum, row) => sum + of(row), 0);
      put(parts.rests.get(pool.name), `${count(rest.length)} more`, words(load), "ok");
      wide(`r ${pool.name}`, load, true);
    }
  }
  const all = [...parts.ribbons.values()];
  for (const pool of parts.pools.values()) {
    bundle(all.filter((ribbon) => ribbon.from === pool), "start");
    bundle(all.filter((ribbon) => ribbon.to === pool), "end");
  }
  all.forEach(curve);
  say($("flow-words"), `${plural(figures.listeners.length, "listener")}, ${plural(figures.pools.length, "pool")}, ${plural(figures.backends_total, "backend")}`);
}

export function wire() {
  const again = () => last && draw(last);
  $("flow-by").addEventListener("change", again);
  new ResizeObserver(again).observe($("flow-map"));
}
