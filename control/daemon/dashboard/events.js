// What happened: fetched when the figures say that there is something new.

import { $, el, say } from "./dom.js";
import { get } from "./api.js";
import { day } from "./format.js";

const KEPT_MAX = 400;
let events = [];
let newest = 0;
let lastUp = 0;
let asked = false;
const kinds = new Set();

function row(event) {
  return el("li", { "data-kind": event.kind },
    el("time", { datetime: event.at, title: event.at }, day(new Date(event.at))), el("span", { class: "kind" }, event.kind),
    el("span", { class: "text" }, el("b", {}, event.subject), " ", event.text));
}

function words() {
  const chosen = $("event-kind").value;
  const shown = chosen ? events.filter((event) => event.kind === chosen).length : events.length;
  say($("event-words"), events.length ? `the last ${shown}` : "nothing has happened yet");
}

function draw() {
  const chosen = $("event-kind").value;
  $("event-list").replaceChildren(...events.filter((event) => !chosen || event.kind === chosen).map(row).reverse());
  words();
}

export async function update({ last_event: last, status: { uptime_s: up } }) {
  // weir was restarted and counts from the start again.
  if (up < lastUp || last < newest) [events, newest] = [[], 0];
  lastUp = up;
  if (last <= newest || asked) return;
  asked = true;
  try {
    const more = (await get(`events?after=${newest}`)).events;
    if (more.length) newest = more.at(-1).id;
    events = events.concat(more).slice(-KEPT_MAX);
    for (const { kind } of more) {
      if (kinds.has(kind)) continue;
      kinds.add(kind);
      $("event-kind").append(el("option", { value: kind }, kind));
    }
    const chosen = $("event-kind").value;
    const list = $("event-list");
    if (list.children.length + more.length > KEPT_MAX || events.length === more.length) draw();
    else list.prepend(...more.filter((event) => !chosen || event.kind === chosen).map(row).reverse());
    words();
  } catch {
    // The line about the connection says it.
  } finally {
    asked = false;
  }
}

export function wire() {
  $("event-kind").addEventListener("change", draw);
}
