// Every pool with its backends, and what can be done with them.

import { $, el, Rows, say, set, show, stateWord } from "./dom.js";
import { act, buttons, cancel, open } from "./dialog.js";
import { backendState, propose, strategy, weight } from "./change.js";
import { bits, brief, bytes, count, plural, rate, span } from "./format.js";

const STRATEGIES = ["round-robin", "least-conn", "two-choices", "random", "maglev"];
const COLUMNS = [
  ["Backend"], ["State"], ["Check"], ["Weight", "n"], ["Sessions", "n"], ["New/s", "n"], ["From", "n"], ["To", "n"],
  ["Connect p50", "n"], ["p99", "n"], ["First byte p50", "n"], ["p99", "n"], ["Failed", "n"], ["Address"],
];

function backendRow({ name }) {
  const short = name.split("/")[1];
  const cell = (kind) => el("td", { class: kind });
  const state = stateWord();
  const cells = {
    check: cell(), sessions: cell("n"), rate: cell("n"), from: cell("n"), to: cell("n"),
    p50: cell("n"), p99: cell("n"), first50: cell("n"), first99: cell("n"), failed: cell("n"), address: cell("dim"),
  };
  const heavy = act("1", () => askWeight(name, heavy.textContent), `change the weight of ${name}`, { "aria-label": `Weight of ${name}` });
  const acts = ["drain", "ready", "maint"].map((to) =>
    act(to, () => propose(backendState(name, to)), `${to} ${name}`, { "data-to": to, "aria-label": `${to} ${name}` }));
  const node = el("tr", { "data-backend": name }, el("th", { scope: "row" }, short), el("td", {}, state.node), cells.check,
    el("td", { class: "n" }, heavy), cells.sessions, cells.rate, cells.from, cells.to, cells.p50, cells.p99,
    cells.first50, cells.first99, cells.failed, cells.address,
    el("td", {}, el("div", { class: "acts" }, acts)));
  return { node, state, cells, heavy, acts };
}

/** The button for a state that a backend has already is off. */
const AS_WISHED = { drain: ["draining"], maint: ["maint"], ready: ["up", "down"] };

function updateBackend(row, it) {
  row.state.put(it.state);
  const { result, since_s, hold_s } = it.check;
  const check = it.force ? `forced ${it.force} (${result})` : hold_s > 0 ? `${result}, held ${span(hold_s)}` : result === "off" ? "off" : `${result} for ${span(since_s)}`;
  say(row.cells.check, it.agent?.says ? `${check}; agent: ${it.agent.says}` : check);
  set(row.cells.check, "title", it.agent?.failure ? `its agent does not answer: ${it.agent.failure}` : "");
  say(row.heavy, it.weight);
  row.heavy.setAttribute("aria-label", `Weight of ${it.name}: ${it.weight}; change it`);
  say(row.cells.sessions, count(it.sessions));
  say(row.cells.rate, rate(it.sessions_per_s));
  say(row.cells.from, bits(it.received_bytes_per_s === null ? null : it.received_bytes_per_s * 8));
  say(row.cells.to, bits(it.sent_bytes_per_s === null ? null : it.sent_bytes_per_s * 8));
  set(row.cells.from, "title", `${bytes(it.received_bytes_total)} in all`);
  set(row.cells.to, "title", `${bytes(it.sent_bytes_total)} in all`);
  say(row.cells.p50, brief(it.connect_s?.p50));
  say(row.cells.p99, brief(it.connect_s?.p99));
  say(row.cells.first50, brief(it.first_byte_s?.p50));
  say(row.cells.first99, brief(it.first_byte_s?.p99));
  say(row.cells.failed, count(it.connect_failures_total));
  say(row.cells.address, it.address);
  for (const button of row.acts) {
    const off = it.removed || AS_WISHED[button.dataset.to].includes(it.state);
    if (button.disabled !== off) button.disabled = off;
  }
  if (row.heavy.disabled !== it.removed) row.heavy.disabled = it.removed;
}

function askWeight(name, now) {
  const field = el("input", { type: "number", min: "1", max: "256", value: now, autofocus: true, required: true, id: "weight" });
  const form = el("form", {
    onsubmit: (event) => {
      event.preventDefault();
      propose(weight(name, Number(field.value)));
    },
  }, el("label", {}, "Weight, 1 to 256", field), el("button", { class: "primary" }, "See what it would do"));
  open(`Weight of ${name}`, el("p", {}, `It is ${now}. A backend gets new sessions by its share of the pool's weights.`), form, buttons(cancel()));
}

function poolCard({ name }) {
  const head = { up: el("b"), sessions: el("b"), rate: el("b"), from: el("b"), to: el("b"), connect: el("b"), note: stateWord() };
  const choice = el("select", {
    "aria-label": `Strategy of pool ${name}`, "data-pool": name,
    onchange: () => {
      const wanted = choice.value;
      choice.value = choice.dataset.now;
      propose(strategy(name, wanted));
    },
  }, STRATEGIES.map((word) => el("option", { value: word }, word)));
  const body = el("tbody");
  const table = el("table", {}, el("caption", { class: "unseen" }, `Backends of pool ${name}`),
    el("thead", {}, el("tr", {}, COLUMNS.map(([label, kind]) => el("th", { scope: "col", class: kind }, label)),
      el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")))), body);
  const node = el("article", { class: "pool", "data-pool": name }, el("header", {}, el("h3", {}, name), head.note.node,
    el("label", {}, "Strategy ", choice),
    el("p", {}, head.sessions, " sessions, ", head.rate, " new/s"), el("p", {}, head.from, " from, ", head.to, " to the backends"),
    el("p", {}, "connect p50 / p99 ", head.connect)),
    el("div", { class: "box", tabindex: "0", role: "group", "aria-label": `Backends of pool ${name}` }, table));
  return { node, head, choice, rows: new Rows(body, (it) => it.name + it.address + it.removed, backendRow, updateBackend) };
}

function updatePool(card, { pool, backends }) {
  const { head, choice } = card;
  const state = pool.backends_up === 0 ? "down" : pool.panic || pool.backends_up < pool.backends ? "draining" : "up";
  head.note.put(state);
  const up = pool.panic ? "panic: health is ignored" : `${count(pool.backends_up)} of ${count(pool.backends)} up`;
  const taking = pool.groups.filter((group) => group.share > 0);
  const groups = taking.map((group) => `priority ${group.priority}: ${Math.round(group.share * 100)} %`);
  say(head.note.node, [up, ...groups].join(", "));
  say(head.sessions, count(pool.sessions));
  say(head.rate, rate(pool.sessions_per_s));
  say(head.from, bits(pool.received_bytes_per_s === null ? null : pool.received_bytes_per_s * 8));
  say(head.to, bits(pool.sent_bytes_per_s === null ? null : pool.sent_bytes_per_s * 8));
  say(head.connect, `${brief(pool.connect_s?.p50)} / ${brief(pool.connect_s?.p99)}`);
  if (choice.dataset.now !== pool.strategy) {
    choice.dataset.now = pool.strategy;
    choice.value = pool.strategy;
  }
  card.rows.draw(backends);
}

let list = null;
let last = null;

export function draw(figures) {
  last = figures;
  const wanted = $("pool-find").value.trim().toLowerCase();
  const of = new Map(figures.pools.map((pool) => [pool.name, { pool, backends: [] }]));
  for (const row of figures.backends) of.get(row.name.split("/")[0])?.backends.push(row);
  let cards = [...of.values()];
  if (wanted) {
    for (const card of cards) {
      const is = (text) => text.toLowerCase().includes(wanted);
      if (!is(card.pool.name)) card.backends = card.backends.filter((row) => is(row.name) || is(row.address) || row.state === wanted);
    }
    cards = cards.filter((card) => card.backends.length || card.pool.name.toLowerCase().includes(wanted));
  }
  list.draw(cards);
  const present = figures.backends.filter((row) => !row.removed).length;
  const hidden = figures.backends_total - present;
  say($("pools-words"), hidden > 0
    ? `${count(present)} of ${plural(figures.backends_total, "backend")} are shown; weirctl backend list has all`
    : wanted && !cards.length ? "nothing has that name" : "");
}

export function wire() {
  list = new Rows($("pool-list"), ({ pool }) => pool.name, ({ pool }) => poolCard(pool), updatePool);
  $("pool-find").addEventListener("input", () => last && draw(last));
  show($("pools-words"), true);
}
