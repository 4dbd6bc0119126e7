// The strip at the top, and the alerts: what an operator should know first, in words.

import { $, el, Rows, say, set, show } from "./dom.js";
import { confirmVersion, propose, rollback } from "./change.js";
import { act } from "./dialog.js";
import { count, plural, share, span } from "./format.js";

/** Failed connects are an alert while the last one is no older. */
const FAILED_S = 60;
const failures = new Map();
const strip = new Map();
let rows = null;

/** Counts failed connects of the last minute, by backend. */
function failing(figures) {
  const found = [];
  for (const { name, connect_failures_total: total, state } of figures.backends) {
    const seen = failures.get(name) ?? [];
    failures.set(name, seen);
    seen.push([figures.at, total]);
    while (seen.length > 1 && seen[0][0] < figures.at - FAILED_S) seen.shift();
    const more = total - seen[0][1];
    if (more > 0 && state === "up") found.push(["warn", name, `${plural(more, "connect")} failed in the last minute`]);
  }
  return found;
}

export function alerts(figures) {
  const { status } = figures;
  const found = [];
  const add = (tone, subject, text) => found.push([tone, subject, text]);
  for (const text of status.warnings) add("bad", "weir", text);
  if (status.state !== "serving") add("warn", "weir", `${status.state}: it takes no new sessions`);
  for (const pool of figures.pools) {
    if (pool.backends_up === 0) add("bad", `pool ${pool.name}`, "no backend can take a session");
    else if (pool.panic) add("bad", `pool ${pool.name}`, "so few backends are up that health is ignored");
  }
  for (const row of figures.backends) {
    if (row.state === "down") add("bad", row.name, `down for ${span(row.check.since_s)}: ${row.check.result}`);
  }
  found.push(...failing(figures));
  for (const listener of figures.listeners) {
    for (const it of listener.unbound) add("bad", `listener ${listener.name}`, `${it.address} cannot be bound for ${span(it.since_s)}: ${it.why}`);
    if (listener.state === "draining" && status.state === "serving") add("warn", `listener ${listener.name}`, "draining: it takes no new sessions");
  }
  for (const shard of status.shards) {
    if (shard.version !== status.version) add("warn", `shard ${shard.id}`, `goes by version ${shard.version}, not ${status.version}`);
    if (shard.sessions_max > 0 && shard.sessions >= shard.sessions_max * 0.9) add("warn", `shard ${shard.id}`, `${count(shard.sessions)} of ${count(shard.sessions_max)} sessions: nearly full`);
  }
  const out = figures.backends.filter((row) => ["draining", "maint"].includes(row.state)).map((row) => row.name);
  if (out.length) add("info", "by hand", `${out.slice(0, 6).join(", ")}${out.length > 6 ? ` and ${out.length - 6} more` : ""} ${out.length === 1 ? "takes" : "take"} no new sessions`);
  if (status.drift_keys) add("info", "drift", `${plural(status.drift_keys, "key")} in force ${status.drift_keys === 1 ? "differs" : "differ"} from the file as it was last applied: weirctl config diff`);
  const order = { bad: 0, warn: 1, info: 2 };
  return found.sort((a, b) => order[a[0]] - order[b[0]]);
}

const WORDS = { bad: "Alert", warn: "Warning", info: "Note" };

function item(name, value, tone) {
  let node = strip.get(name);
  if (!node) {
    node = el("dd");
    strip.set(name, node);
    $("strip").append(el("div", {}, el("dt", {}, name), node));
  }
  say(node, value);
  set(node, "data-tone", tone ?? "");
}

export function draw(figures) {
  const { status } = figures;
  const sessions = status.shards.reduce((sum, shard) => sum + shard.sessions, 0);
  const busiest = Math.max(0, ...status.shards.map((shard) => shard.busy));
  item("version", status.version);
  item("drift", status.drift_keys ? plural(status.drift_keys, "key") : "none", status.drift_keys ? "warn" : "");
  item("up", span(status.uptime_s));
  item("sessions", `${count(sessions)} of ${count(status.sessions_max)}`);
  item("shards", `${status.shards.length}, busiest ${share(busiest)}`);
  item("weir", status.program);
  const found = alerts(figures);
  const grave = found.filter(([tone]) => tone === "bad").length;
  const mild = found.filter(([tone]) => tone === "warn").length;
  const chip = $("health");
  const text = grave ? plural(grave, "alert") : mild ? plural(mild, "warning") : status.state;
  say(chip, text);
  set(chip, "data-tone", grave ? "bad" : mild ? "warn" : "ok");
  document.title = grave ? `${text} · weir` : `${count(sessions)} sessions · weir`;
  show($("alerts"), found.length > 0);
  set($("alerts"), "data-tone", grave ? "bad" : "warn");
  const shown = found.slice(0, 12).map(([tone, subject, text]) => ({ tone, subject, text }));
  if (found.length > 12) shown.push({ tone: "info", subject: "and", text: plural(found.length - 12, "more line") });
  rows.draw(shown);
  unconfirmed(status.unconfirmed ?? figures.unconfirmed);
}

let waiting = null;

/** The countdown of a version that goes back by itself unless it is confirmed. */
function unconfirmed(row) {
  const box = $("unconfirmed");
  show(box, Boolean(row));
  if (!row) {
    waiting = null;
    return;
  }
  if (waiting?.version !== row.version) {
    const left = el("b");
    const guards = row.guards.length ? ` It goes back at once if one of its guards trips: ${row.guards.join(", ")}.` : "";
    box.replaceChildren(
      el("p", {}, `Version ${row.version} is not confirmed: weir rolls back to ${row.rolls_back_to} in `, left, `.${guards}`),
      act("Confirm", () => propose(confirmVersion(row.version)), `keep version ${row.version}`, { class: "" }),
      act("Roll back now", () => propose(rollback(row.rolls_back_to)), `go back to version ${row.rolls_back_to}`, { class: "" }));
    waiting = { version: row.version, left };
  }
  say(waiting.left, span(row.left_s));
}

export function wire() {
  rows = new Rows($("alerts").firstElementChild, (it) => it.subject + it.text.replace(/[0-9]+ [dhms]/g, ""), ({ tone, subject }) => {
    const text = el("span");
    return { node: el("li", { "data-tone": tone }, el("b", {}, WORDS[tone]), el("span", {}, el("strong", {}, subject), " ", text)), text };
  }, (row, { text }) => say(row.text, text));
}
