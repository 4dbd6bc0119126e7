// Connect times and times to the first byte of each backend, as one strip of colour: five seconds a cell, collected in the page.

import { $, colour, el, Rows, say, set, show } from "./dom.js";
import { brief, clock, count } from "./format.js";

const CELL_S = 5;
const CELLS = 180;
const LANES_MAX = 64;
/** Below each of these seconds begins the next colour. */
const STEPS = [0.001, 0.01, 0.1, 1];
const NAMES = ["below 1 ms", "to 10 ms", "to 100 ms", "to 1 s", "1 s and more"];

/** By backend: cell number → the worst in it, by what the choice of figures says. */
const kept = new Map();
let lanes = null;
let newest = 0;
let drawnCell = -1;

/** Its words, its name in a cell, and where the figures of a second have it. */
const FIGURES = [
  ["first byte p99", "first_p99", (it) => it.first_byte_s?.p99], ["first byte p50", "first_p50", (it) => it.first_byte_s?.p50],
  ["connect p99", "connect_p99", (it) => it.connect_s?.p99], ["connect p50", "connect_p50", (it) => it.connect_s?.p50],
];

const by = () => $("heat-by").value;
const chosen = () => FIGURES.find(([, key]) => key === by());
const step = (seconds) => STEPS.filter((edge) => seconds >= edge).length;

function lane({ name }) {
  const canvas = el("canvas", { width: CELLS * 4, height: 16, role: "img" });
  const now = el("span", { class: "n" });
  const node = el("div", { class: "lane" }, el("span", { title: name }, name), canvas, now);
  canvas.addEventListener("pointermove", (event) => point(name, canvas, event));
  canvas.addEventListener("pointerleave", () => say($("heat-words"), words()));
  return { node, canvas, now };
}

function point(name, canvas, event) {
  const place = Math.floor((event.offsetX / canvas.clientWidth) * CELLS);
  const cell = newest - CELLS + 1 + place;
  const it = kept.get(name)?.get(cell);
  const at = clock(new Date(cell * CELL_S * 1000));
  const said = FIGURES.filter(([, key]) => it?.[key] !== undefined).map(([label, key]) => `${label} ${brief(it[key])}`);
  say($("heat-words"), `${name} at ${at}: ${said.join(", ") || "nothing"}`);
}

const words = () => "the worst of each 5 s, collected since this page was opened";

function paint({ canvas, now }, row) {
  const { name } = row;
  const [label, , of] = chosen();
  const cells = kept.get(name);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const colours = STEPS.concat(0).map((_, index) => colour(`heat-${index}`));
  for (const [cell, it] of cells) {
    if (it[by()] === undefined) continue;
    context.fillStyle = colours[step(it[by()])];
    context.fillRect((cell - newest + CELLS - 1) * 4, 0, 4, canvas.height);
  }
  say(now, of(row) === undefined ? "none now" : brief(of(row)));
  const all = [...cells.values()].map((it) => it[by()]).filter((it) => it !== undefined);
  const worst = `${name}: worst ${label} ${brief(Math.max(...all, 0))} in ${count(all.length * CELL_S)} s`;
  set(canvas, "aria-label", all.length ? worst : `${name}: no ${label} yet`);
}

export function add(figures) {
  newest = Math.floor(figures.at / CELL_S);
  const present = new Set();
  for (const row of figures.backends) {
    const { name } = row;
    present.add(name);
    const cells = kept.get(name) ?? new Map();
    kept.set(name, cells);
    for (const [, key, of] of FIGURES) {
      const value = of(row);
      if (value === undefined) continue;
      const cell = cells.get(newest) ?? {};
      cell[key] = Math.max(value, cell[key] ?? 0);
      cells.set(newest, cell);
    }
    for (const cell of cells.keys()) {
      if (cell > newest - CELLS) break;
      cells.delete(cell);
    }
  }
  for (const name of kept.keys()) if (!present.has(name)) kept.delete(name);
  // Half a second would be the eye's, five are the cell's.
  if (newest !== drawnCell || drawnCell === -1) draw(figures);
}

let last = null;

export function draw(figures = last) {
  if (!figures) return;
  last = figures;
  drawnCell = newest;
  const isCounted = [...kept.values()].some((cells) => cells.size);
  show($("heat"), isCounted);
  show($("heat-by").parentElement, isCounted);
  say($("heat-words"), isCounted ? words() : "no session has begun since this page was opened");
  if (!isCounted) return;
  const rows = figures.backends.filter((row) => !row.removed);
  lanes.draw(rows.slice(0, LANES_MAX));
  if (rows.length > LANES_MAX) say($("heat-words"), `the first ${LANES_MAX} of ${count(rows.length)} backends`);
}

export function wire() {
  const body = el("div");
  lanes = new Rows(body, (row) => row.name, lane, paint);
  const key = el("p", { class: "key" }, NAMES.map((name, index) => el("span", {}, el("i", { "data-step": index }), name)),
    el("span", {}, "15 minutes, now at the right"));
  $("heat").append(body, key);
  $("heat-by").replaceChildren(...FIGURES.map(([label, name]) => el("option", { value: name }, label)));
  say($("heat-words"), words());
  $("heat-by").addEventListener("change", () => draw());
}
