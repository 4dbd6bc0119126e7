// Live sessions: searched, looked at from both sides, ended.

import { $, button, command, el, say, show, stateWord } from "./dom.js";
import { get } from "./api.js";
import { act, buttons, cancel, open, problem } from "./dialog.js";
import { end } from "./change.js";
import { brief, bytes, count, plural, span } from "./format.js";

const FIELDS = [
  ["pool", "Pool", 8, "web"], ["backend", "Backend", 10, "web/b1"], ["listener", "Listener", 8, "web"], ["client", "Client", 13, "10.0.0.0/8"],
  ["older", "Older than", 6, "10m"], ["idle", "Idle for", 6, "30s"], ["version", "Version", 5, "12"],
];
const COLUMNS = [["Session"], ["Client"], ["Listener"], ["Backend"], ["State"], ["Age", "n"], ["Idle", "n"], ["From backend", "n"], ["To backend", "n"], ["Rate", "n"]];
const AGAIN_MS = 2000;
let timer = null;

/** What the form says of the sessions that are meant. */
function filter() {
  const form = $("session-form");
  const pairs = FIELDS.map(([name]) => [name, form.elements[name].value.trim()]).filter(([, value]) => value);
  return form.elements.stalled.checked ? [...pairs, ["stalled", "true"]] : pairs;
}

function query() {
  const { sort, limit } = $("session-form").elements;
  return [...filter(), ["sort", sort.value], ["limit", limit.value || "50"]];
}

function row(it) {
  const state = stateWord();
  state.put(it.state);
  state.node.dataset.tone = it.blocked_on ? "warn" : it.state === "relaying" ? "ok" : "off";
  if (it.blocked_on) say(state.node, `${it.state}, waits for the ${it.blocked_on === "both" ? "other on both sides" : it.blocked_on}`);
  const to = `${it.client ?? "a client that is gone"} on ${it.backend ?? "no backend yet"}`;
  const cells = [span(it.age_s), span(it.idle_s), bytes(it.received_bytes), bytes(it.sent_bytes), `${bytes(it.rate_bytes_per_s)}/s`];
  return el("tr", { "data-session": it.id }, el("th", { scope: "row" }, it.id), el("td", {}, it.client ?? "–"), el("td", {}, it.listener), el("td", {}, it.backend ?? "–"),
    el("td", {}, state.node), cells.map((text) => el("td", { class: "n" }, text)),
    el("td", {}, el("div", { class: "acts" },
      button("Look", () => look(it.id), { class: "small", "aria-label": `Look at session ${it.id}` }),
      act("Kill", () => kill(it.id, to), `end session ${it.id} with a reset`, { "aria-label": `Kill session ${it.id}` }))));
}

const kill = (id, to) => end({
  title: `Kill session ${id}`, verb: "Reset it", path: `sessions/${id}`, command: `weirctl session kill ${id}`,
  details: el("p", {}, to),
  describe: ({ matched }) => `${plural(matched, "session")} would be reset now: both sides see a connection that was cut.`,
  done: ({ killed }) => {
    search();
    return killed ? `Session ${id} was reset.` : `Session ${id} had ended before.`;
  },
});

/** Ends all that the form means: how many is asked of weir first, and a rate makes it a task. */
function killFound() {
  const chosen = filter();
  const rate = el("input", { type: "number", min: "1", max: "100000", size: "6", placeholder: "at once", id: "kill-rate" });
  const words = chosen.map(([name, value]) => name === "stalled" ? "--stalled" : `--${name} ${value}`).join(" ");
  end({
    title: "Kill the sessions that fit", verb: "Reset them", path: "sessions",
    query: () => rate.value ? [...chosen, ["rate", rate.value]] : chosen,
    command: () => `weirctl session kill ${words}${rate.value ? ` --rate ${rate.value}/s` : ""}`,
    details: el("p", {}, el("label", {}, "At most this many a second, as a task: ", rate)),
    describe: ({ matched, missing_shards: missing }) => `${plural(matched, "session")} with ${words} would be reset: both sides see a connection that was cut.${missing.length ? ` Shard ${missing.join(", ")} did not answer.` : ""}`,
    isNone: ({ matched }) => matched === 0,
    done: ({ killed, id, total }) => {
      search();
      return id ? `Task ${id} ends ${plural(total, "session")}.` : `${plural(killed, "session")} reset.`;
    },
  });
}

async function search() {
  try {
    const pairs = query();
    const found = await get(`sessions?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`);
    const missing = found.missing_shards.length ? `; shard ${found.missing_shards.join(", ")} did not answer` : "";
    say($("session-words"), `${count(found.shown)} of ${plural(found.matched, "session")} that fit${missing}`);
    show($("session-kill"), found.matched > 0 && filter().length > 0);
    const table = $("session-table");
    if (!table.tHead) {
      table.append(el("thead", {}, el("tr", {}, COLUMNS.map(([label, kind]) => el("th", { scope: "col", class: kind }, label)),
        el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")))), el("tbody"));
    }
    // A button that has the focus would lose it.
    if (!table.contains(document.activeElement) || timer === null) table.tBodies[0].replaceChildren(...found.sessions.map(row));
    show(table, found.sessions.length > 0);
  } catch (refused) {
    say($("session-words"), `${refused.message}${refused.hint ? ` (${refused.hint})` : ""}`);
  }
}

const shownValue = (key, value) => value === null ? "–" : typeof value !== "number" ? String(value)
  : key.endsWith("_s") && !key.endsWith("per_s") ? brief(value) : key.includes("bytes") ? `${bytes(value)}${key.endsWith("per_s") ? "/s" : ""}` : count(value);

async function look(id) {
  const title = `Session ${id}`;
  let [detail, why] = [null, null];
  try {
    detail = await get(`sessions/${id}`);
    why = await get(`why?session=${id}`);
  } catch (refused) {
    if (!detail) return open(title, problem(refused), buttons(cancel("Close")));
  }
  const { client, backend } = detail.legs;
  const keys = Object.keys(client ?? backend ?? {});
  const legs = keys.length ? el("div", { class: "box", tabindex: "0", role: "group", "aria-label": "Both sides" }, el("table", {},
    el("thead", {}, el("tr", {}, ["", "Client", "Backend"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key.replace(/_(bytes_per_s|bytes_total|bytes|total|segments|s)$/, "").replaceAll("_", " ")),
      el("td", {}, client ? shownValue(key, client[key]) : "–"), el("td", {}, backend ? shownValue(key, backend[key]) : "–")))))) : null;
  open(title,
    el("p", {}, `${detail.client ?? "A client that is gone"} → listener ${detail.listener} → ${detail.backend ?? "no backend yet"}: ${detail.state} for ${span(detail.age_s)}, idle ${span(detail.idle_s)}, version ${detail.version}, shard ${detail.shard}.`),
    el("p", {}, `weir waited ${brief(detail.blocked_s.client)} for the client and ${brief(detail.blocked_s.backend)} for the backend to take bytes.`),
    why ? el("p", {}, `Why this backend: ${why.because}.`) : null,
    legs, command(`weirctl session show ${id}`),
    buttons(act("Kill", () => kill(id, detail.client ?? id), `end session ${id} with a reset`, { class: "danger" }), cancel("Close")));
}

export function focus() {
  $("sessions").scrollIntoView();
  $("session-form").elements.client.focus();
}

export function wire() {
  const form = $("session-form");
  for (const [name, label, size, placeholder] of FIELDS) {
    form.append(el("label", {}, label, el("input", { name, type: "text", size, placeholder, spellcheck: "false", autocapitalize: "off" })));
  }
  form.append(
    el("label", {}, "Sort", el("select", { name: "sort" }, ["age", "idle", "bytes", "rate"].map((word) => el("option", {}, word)))),
    el("label", {}, "Rows", el("input", { name: "limit", type: "number", min: "1", max: "1000", value: "50" })),
    el("label", { class: "tick" }, el("input", { name: "stalled", type: "checkbox" }), "stalled only"),
    el("label", { class: "tick" }, el("input", { name: "again", type: "checkbox" }), "every 2 s"),
    el("button", { class: "primary" }, "Search"),
    act("Kill all that fit", killFound, "end all sessions that fit with a reset", { class: "", id: "session-kill", hidden: true }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form.elements.again.addEventListener("change", () => {
    clearInterval(timer);
    timer = form.elements.again.checked ? setInterval(() => document.hidden || search(), AGAIN_MS) : null;
    if (timer) search();
  });
}
