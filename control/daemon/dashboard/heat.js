// Connect times of each backend, as one strip of colour: five seconds a cell, collected in the page.

import { $, colour, el, Rows, say, set, show } from "./dom.js";
import { brief, clock, count } from "./format.js";

const CELL_S = 5;
const CELLS = 180;
const LANES_MAX = 64;
/** Below each of these seconds begins the next colour. */
const STEPS = [0.001, 0.01, 0.1, 1];
const NAMES = ["below 1 ms", "to 10 ms", "to 100 ms", "to 1 s", "1 s and more"];

/** By backend: cell number → the worst p50 and p99 in it. */
const kept = new Map();
let lanes = null;
let newest = 0;
let drawnCell = -1;

const by = () => $("heat-by").value;
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
  say($("heat-words"), it ? `${name} at ${at}: p50 ${brief(it.p50)}, p99 ${brief(it.p99)}` : `${name} at ${at}: no connects`);
}

const words = () => "the worst of each 5 s, collected since this page was opened";

function paint({ canvas, now }, { name, connect_s: latest }) {
  const cells = kept.get(name);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const colours = STEPS.concat(0).map((_, index) => colour(`heat-${index}`));
  for (const [cell, it] of cells) {
    context.fillStyle = colours[step(it[by()])];
    context.fillRect((cell - newest + CELLS - 1) * 4, 0, 4, canvas.height);
  }
  say(now, latest ? `${brief(latest.p50)} / ${brief(latest.p99)}` : "no connects");
  const worst = Math.max(...[...cells.values()].map((it) => it[by()]), 0);
  set(canvas, "aria-label", cells.size ? `${name}: worst ${by()} ${brief(worst)} in ${count(cells.size * CELL_S)} s` : `${name}: no connects yet`);
}

export function add(figures) {
  newest = Math.floor(figures.at / CELL_S);
  const present = new Set();
  for (const { name, connect_s: it } of figures.backends) {
    present.add(name);
    const cells = kept.get(name) ?? new Map();
    kept.set(name, cells);
    if (it) {
      const old = cells.get(newest);
      cells.set(newest, { p50: Math.max(it.p50, old?.p50 ?? 0), p99: Math.max(it.p99, old?.p99 ?? 0) });
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
  say($("heat-words"), isCounted ? words() : "none yet: weir counts connect times by pool, and by backend where it says so");
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
  say($("heat-words"), words());
  $("heat-by").addEventListener("change", () => draw());
}
