// Shards and tasks.

import { $, button, el, Rows, say, set, show, stateWord } from "./dom.js";
import { end } from "./change.js";
import { count, share, span } from "./format.js";

let shards = null;
let tasks = null;

const KINDS = { backend_drain: "Drain of backend", listener_drain: "Drain of listener", pool_rebalance: "Rebalance of pool",
  session_kill: "Kill of sessions" };

function taskRow(it) {
  const state = stateWord();
  const [figures, left] = [el("span"), el("span", { class: "dim" })];
  const bar = el("progress", { max: "1", "aria-label": `Progress of task ${it.id}` });
  const title = `${KINDS[it.kind] ?? it.kind} ${it.subject}`;
  const stop = button("Cancel", () => end({
    title: `Cancel task ${it.id}`, verb: "Cancel it", path: `tasks/${it.id}`, command: `weirctl task cancel ${it.id}`,
    describe: (task) => `${title}: ${count(task.done)} of ${count(task.total)} sessions have ended. What it has done stays; the rest run on.`,
    done: () => `Task ${it.id} is cancelled.`,
  }), { class: "small", "aria-label": `Cancel task ${it.id}` });
  const node = el("li", { "data-task": it.id }, el("div", {}, el("b", {}, title), state.node), el("div", {}, bar, figures, left, stop));
  return { node, state, figures, left, bar, stop };
}

function updateTask(row, it) {
  row.state.put(it.state);
  say(row.figures, `${count(it.done)} of ${count(it.total)}`);
  say(row.left, it.state === "running" ? `ends in ${span(it.eta_s)} at most` : `began ${span(it.since_s)} ago`);
  const part = it.total ? it.done / it.total : 1;
  if (row.bar.value !== part) row.bar.value = part;
  show(row.stop, it.state === "running");
}

export function draw({ status, tasks: all }) {
  shards.draw(status.shards);
  const order = [...all].sort((a, b) => (b.state === "running") - (a.state === "running") || b.id - a.id).slice(0, 5);
  tasks.draw(order);
  say($("tasks-none"), all.length ? "" : "nothing takes time now");
}

export function wire() {
  shards = new Rows($("shards").querySelector("tbody"), (row) => row.id, (row) => {
    const cells = ["share", "sessions", "version"].map(() => el("td", { class: "n" }));
    const bar = el("meter", { min: "0", max: "1", high: "0.9", "aria-label": `How busy shard ${row.id} is` });
    return { node: el("tr", {}, el("th", { scope: "row" }, String(row.id)), el("td", {}, bar), cells), cells, bar };
  }, ({ cells: [busy, sessions, version], bar }, row) => {
    say(busy, share(row.busy));
    say(sessions, count(row.sessions));
    say(version, row.version);
    set(bar, "value", row.busy.toFixed(3));
  });
  tasks = new Rows($("tasks").querySelector("ul"), (row) => row.id, taskRow, updateTask);
}
