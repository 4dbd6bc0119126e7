// The page: its parts get the figures, its keys and buttons get their meaning.

import { $, el, say } from "./dom.js";
import * as charts from "./charts.js";
import * as config from "./config.js";
import * as events from "./events.js";
import * as flow from "./flow.js";
import * as health from "./health.js";
import * as heat from "./heat.js";
import * as pools from "./pools.js";
import * as sessions from "./sessions.js";
import * as work from "./work.js";
import { buttons, cancel, isOpen, open, wireUnlock } from "./dialog.js";
import { Live } from "./live.js";

const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function figures(frame) {
  // weir sends them by load, which changes each second: rows that jump cannot be read.
  for (const rows of [frame.pools, frame.listeners, frame.backends]) rows.sort(byName);
  health.draw(frame);
  charts.add(frame);
  flow.draw(frame);
  pools.draw(frame);
  heat.add(frame);
  work.draw(frame);
  events.update(frame);
  config.update(frame);
}

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function recolour() {
  say($("theme"), isDark() ? "Light" : "Dark");
  charts.recolour();
  heat.draw();
}

function theme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("weir-theme", next);
  } catch {
    // It holds until the page is closed.
  }
  recolour();
}

const SECTIONS = ["overview", "flow", "pools", "latency", "sessions", "events", "config"];

function help() {
  const keys = [
    ["1 … 7", "to a section: overview, flow, pools, latency, sessions, events, configuration"],
    ["/", "find a pool or a backend"], ["s", "search live sessions"], ["u", "enter the token, or forget it"],
    ["p", "hold the figures, or go on"], ["t", "dark or light"], ["?", "this help"], ["Esc", "close a dialog; nothing is changed by that"],
  ];
  open("Keys", el("dl", { class: "keys" }, keys.flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)])),
    el("p", { class: "hint" }, "A button that changes something first shows what it would do. Widths in the flow are shares of all load. p50 and p99: half of the connects, and 99 of 100, took no longer."),
    buttons(cancel("Close")));
}

function goTo(id) {
  const section = $(id);
  section.scrollIntoView();
  section.tabIndex = -1;
  section.focus({ preventScroll: true });
}

function keys(live) {
  const hold = () => {
    live.hold(!live.held);
    say($("pause"), live.held ? "Go on" : "Pause");
    $("pause").setAttribute("aria-pressed", String(live.held));
  };
  const meanings = {
    "?": help, t: theme, p: hold, u: () => $("unlock").click(), s: sessions.focus,
    "/": () => {
      goTo("pools");
      $("pool-find").focus();
    },
  };
  $("pause").addEventListener("click", hold);
  $("theme").addEventListener("click", theme);
  $("help").addEventListener("click", help);
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (typing && event.key === "Escape") typing.blur();
    if (typing || isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
    const meaning = meanings[event.key] ?? (SECTIONS[Number(event.key) - 1] && (() => goTo(SECTIONS[Number(event.key) - 1])));
    if (!meaning) return;
    event.preventDefault();
    meaning();
  });
}

for (const part of [health, flow, pools, heat, work, events, config, sessions]) part.wire();
wireUnlock();
charts.make();
recolour();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
keys(new Live({ history: charts.history, figures }));
