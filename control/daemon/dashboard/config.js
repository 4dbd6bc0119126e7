// Versions: who made them, what they changed, and the way back.

import { $, button, command, el, say, show } from "./dom.js";
import { get } from "./api.js";
import { act, buttons, cancel, open, problem } from "./dialog.js";
import { propose, rollback } from "./change.js";
import { diff } from "./diff.js";
import { day, plural } from "./format.js";

const PAGE = 30;
let version = null;
let oldest = null;

function author({ from, login, uid, pid, role }) {
  return from ? `http ${from}` : role || pid !== 0 ? `uid ${login ?? uid}` : "weir";
}

function row(it) {
  const said = it.message ?? it.claimed_command;
  return el("tr", {}, el("th", { scope: "row", class: "n" }, String(it.version)),
    el("td", {}, el("time", { datetime: it.at, title: it.at }, day(new Date(it.at)))), el("td", { class: "dim" }, author(it.by)),
    el("td", { class: "wrap", title: said ?? null }, it.summary, it.message ? el("span", { class: "dim" }, ` “${it.message}”`) : null),
    el("td", {}, el("div", { class: "acts" },
      it.parent ? button("Diff", () => showDiff(it.parent, it.version), { class: "small", "aria-label": `What version ${it.version} changed` }) : null,
      it.version === version ? null : button("To now", () => showDiff(it.version, version), { class: "small", "aria-label": `Version ${it.version} beside the one in force` }),
      it.version === version ? el("span", { class: "state", "data-tone": "ok" }, "in force")
        : act("Roll back", () => propose(rollback(it.version, version)), `roll back to version ${it.version}`, { "aria-label": `Roll back to version ${it.version}` }))));
}

async function page(before) {
  const list = await get(`config/history?limit=${PAGE}${before ? `&before=${before}` : ""}`);
  oldest = list.next_before;
  show($("older"), oldest !== null);
  return list.versions.map(row);
}

let asked = false;

export async function update({ status }) {
  say($("config-words"), status.drift_keys
    ? `${plural(status.drift_keys, "key")} unlike the file as it was last applied`
    : "as the file was last applied, or none was");
  if (status.version === version || asked) return;
  asked = true;
  try {
    version = status.version;
    $("history").replaceChildren(...(await page(null)));
  } catch {
    // The next figures ask again.
    version = null;
  } finally {
    asked = false;
  }
}

async function showDiff(from, to) {
  const title = `Version ${from} → ${to}`;
  try {
    const [before, after] = await Promise.all([from, to].map((number) => get(`config/versions/${number}`)));
    const lines = diff(before.toml, after.toml);
    const view = lines.length
      ? el("pre", { class: "diff", tabindex: "0" }, lines.map(([kind, text]) => el("span", { class: kind }, text)))
      : el("p", {}, "They are the same.");
    open(title, view, command(`weirctl config diff ${from} ${to}`), buttons(cancel("Close")));
  } catch (refused) {
    open(title, problem(refused), buttons(cancel("Close")));
  }
}

export function wire() {
  $("older").addEventListener("click", async () => {
    try {
      $("history").append(...(await page(oldest)));
    } catch (refused) {
      open("Older versions", problem(refused), buttons(cancel("Close")));
    }
  });
}
