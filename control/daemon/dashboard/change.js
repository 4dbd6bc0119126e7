// A change in three steps: what it would do, doing it, taking it back.

import { button, command, el } from "./dom.js";
import * as api from "./api.js";
import { act, askToken, buttons, cancel, close, open, problem, toast } from "./dialog.js";
import { count, plural, share } from "./format.js";

/** Lines about what a dry run says, the worst first. */
function impact(tried) {
  const lines = tried.warnings.map((text) => ["bad", text]);
  const it = tried.impact;
  if (it) {
    const { stay, drain, cut } = it.sessions;
    if (cut) lines.push(["bad", `${plural(cut, "session")} cut: reset at once`]);
    if (drain) lines.push(["warn", `${plural(drain, "session")} run on until they end; no new ones come`]);
    lines.push(["", `${plural(stay, "session")} ${stay === 1 ? "stays" : "stay"} as ${stay === 1 ? "it is" : "they are"}`]);
    if (it.maglev_keys_moved !== null) {
      lines.push([it.maglev_keys_moved > 0 ? "warn" : "", `${share(it.maglev_keys_moved)} of client addresses move to another backend (maglev)`]);
    }
    for (const [names, words] of [
      [it.listeners.open, "begins to accept"], [it.listeners.close, "ceases to accept"], [it.listeners.rebind, "listens at other addresses"],
      [it.backends.added, "is new"], [it.backends.removed, "is removed"],
    ]) for (const name of names) lines.push(["", `${name} ${words}`]);
    lines.push(...it.warnings.map((text) => ["warn", text]));
  }
  return el("ul", { class: "impact" }, lines.map(([tone, text]) => el("li", { "data-tone": tone || null }, text)));
}

function changed(tried) {
  if (!tried.changes.length) return el("p", {}, "Nothing would change: it is so already.");
  const rows = tried.changes.slice(0, 50).map((row) => el("tr", {},
    el("th", { scope: "row" }, row.object), el("td", {}, row.key || row.kind), el("td", {}, row.before ?? "–"), el("td", {}, row.after ?? "–")));
  const rest = tried.changes.length - rows.length;
  return el("div", { class: "box", tabindex: "0", role: "group", "aria-label": "What changes" },
    el("table", {}, el("thead", {}, el("tr", {}, ["Object", "Key", "Before", "After"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows)), rest > 0 ? el("p", { class: "hint" }, `and ${count(rest)} more`) : null);
}

/**
 * Goes through a change. It has `title`, `request` (method, path, body), `command` (of weirctl), and
 * `undo(before)`: the same for the way back, or null. `said` is shown above the dry run.
 */
export async function propose(plan, said) {
  if (!api.hasToken()) return askToken(() => propose(plan, said), plan.command);
  let tried;
  try {
    tried = await api.change(plan.request, { "dry-run": true });
  } catch (refused) {
    if (!api.hasToken()) return refuseToken(plan, refused);
    return open(plan.title, problem(refused), command(plan.command), buttons(cancel("Close")));
  }
  const risky = tried.warnings.length > 0;
  const go = button(plan.verb ?? "Do it", () => make(plan, tried, risky), { class: risky ? "danger" : "primary", id: "confirm" });
  const sure = risky ? el("input", { type: "checkbox", onchange: () => { go.disabled = !sure.checked; } }) : null;
  go.disabled = risky || !tried.changes.length;
  open(plan.title,
    said ? el("p", { class: "failed", role: "alert" }, said) : null,
    el("p", { class: "hint" }, `A dry run against version ${tried.version}. Nothing has changed yet.`),
    changed(tried), tried.changes.length ? impact(tried) : null,
    el("p", { class: "hint" }, "The same on the command line:"), command(plan.command),
    sure ? el("label", { class: "sure" }, sure, "I have read this, and want it") : null,
    buttons(cancel(), go));
  (go.disabled ? sure : go)?.focus();
}

function refuseToken(plan, refused) {
  askToken(() => propose(plan), plan.command);
  document.querySelector("#dialog h2").after(problem(refused));
}

async function make(plan, tried, yes) {
  let done;
  try {
    done = await api.change(plan.request, { yes }, tried.version);
  } catch (refused) {
    if (!api.hasToken()) return refuseToken(plan, refused);
    // Another version, or something that a dry run could not see: look again before doing it.
    if (refused.status === 412) return propose(plan, `${refused.message}: somebody changed something meanwhile. Look again.`);
    return open(plan.title, problem(refused), command(plan.command), buttons(cancel("Close")));
  }
  close();
  tell(plan, done);
}

function tell(plan, done) {
  const back = done.before ? plan.undo?.(done.before) : null;
  const undo = back ? act("Undo", () => takeBack(back, done.version), `take version ${done.version} back`, { class: "", id: "undo" }) : null;
  toast(`Version ${done.version}: ${done.summary}.`, undo, done.undo ? command(done.undo) : null);
}

/** Takes the change back that made `version`, if that is still the newest. */
async function takeBack(plan, version) {
  if (!api.hasToken()) return propose(plan);
  let done;
  try {
    done = await api.change(plan.request, {}, version);
  } catch (refused) {
    return propose(plan, `It was not taken back: ${refused.message}`);
  }
  tell({ ...plan, undo: null }, done);
}

/**
 * A request that makes no version: a kill, a cancel. `query` and `command` may be functions of what
 * is typed into `details`; `isNone` says of the dry run that there is nothing to do.
 */
export async function end(plan) {
  const { title, path, verb, describe, done, details } = plan;
  const typed = () => typeof plan.command === "function" ? plan.command() : plan.command;
  if (!api.hasToken()) return askToken(() => end(plan), typed());
  const request = () => ({ method: "DELETE", path, query: plan.query?.() });
  let tried;
  try {
    tried = await api.change(request(), { "dry-run": true });
  } catch (refused) {
    return open(title, problem(refused), command(typed()), buttons(cancel("Close")));
  }
  const go = button(verb, async () => {
    try {
      const answer = await api.change(request(), {});
      close();
      toast(done(answer));
    } catch (refused) {
      open(title, problem(refused), command(typed()), buttons(cancel("Close")));
    }
  }, { class: "danger", id: "confirm" });
  go.disabled = plan.isNone?.(tried) ?? false;
  const shown = el("div", {}, command(typed()));
  details?.addEventListener("input", () => {
    shown.replaceChildren(command(typed()));
    go.disabled = !details.querySelector("input").checkValidity();
  });
  open(title, details ?? null, el("p", {}, describe(tried)), shown, buttons(cancel(), go));
  go.focus();
}

const TITLES = {
  drain: (name) => [`Drain ${name}`, "Drain"],
  ready: (name) => [`Make ${name} ready`, "Make ready"],
  maint: (name) => [`Put ${name} into maintenance`, "Put into maintenance"],
};

export function backendState(name, state) {
  const [title, verb] = TITLES[state](name);
  return {
    title, verb,
    request: { method: "POST", path: `backends/${name}/${state}` },
    command: `weirctl backend ${state} ${name}`,
    undo: (before) => backendState(name, before.state),
  };
}

export function weight(name, value) {
  return {
    title: `Weight of ${name}`, verb: `Set weight ${value}`,
    request: { method: "PATCH", path: `backends/${name}`, body: { weight: value } },
    command: `weirctl backend weight ${name} ${value}`,
    undo: (before) => weight(name, before.weight),
  };
}

export function strategy(pool, value) {
  return {
    title: `Strategy of pool ${pool}`, verb: `Use ${value}`,
    request: { method: "PATCH", path: `pools/${pool}`, body: { strategy: value } },
    command: `weirctl pool set ${pool} strategy=${value}`,
    undo: (before) => strategy(pool, before.strategy),
  };
}

export function rollback(to, from) {
  return {
    title: `Roll back to version ${to}`, verb: `Roll back to ${to}`,
    request: { method: "POST", path: "config/rollback", body: { version: to } },
    command: `weirctl config rollback ${to}`,
    undo: () => (from ? rollback(from) : null),
  };
}

export function confirmVersion(version) {
  return {
    title: `Confirm version ${version}`, verb: "Confirm",
    request: { method: "POST", path: "config/confirm" },
    command: "weirctl config confirm",
    undo: null,
  };
}
