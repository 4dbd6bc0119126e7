// The one dialog of the page, the line about the last change, and the field for the token.

import { $, button, command, el, say, show } from "./dom.js";
import * as api from "./api.js";

const box = () => $("dialog");

/** Opens the dialog with these nodes; its buttons come last. */
export function open(title, ...nodes) {
  const dialog = box();
  dialog.replaceChildren(el("h2", { id: "dialog-title" }, title), ...nodes.filter(Boolean));
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? dialog.querySelector(".buttons button:last-child"))?.focus();
  return dialog;
}

export const close = () => box().close();
export const isOpen = () => box().open;

export const buttons = (...all) => el("div", { class: "buttons" }, ...all.filter(Boolean));
export const cancel = (label = "Cancel") => button(label, close);

export function problem(refused) {
  return el("p", { class: "failed", role: "alert" }, refused.message, refused.hint ? ` (${refused.hint})` : "");
}

/** Says at the bottom of the page what was done, with nodes behind it. */
export function toast(text, ...nodes) {
  const line = $("toast");
  line.replaceChildren(el("p", {}, text), ...nodes.filter(Boolean),
    button("Close", () => show(line, false), { class: "small", "aria-label": "Close this message" }));
  show(line, true);
}

/** Asks for the token, then goes on with `next`. `other` is the command that needs none. */
export function askToken(next, other) {
  const field = el("input", { type: "password", autocomplete: "off", size: "40", autofocus: true, id: "token" });
  const form = el("form", {
    onsubmit: (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      api.setToken(field.value.trim());
      close();
      next?.();
    },
  }, el("label", {}, "Token", field), el("button", { class: "primary" }, "Unlock"));
  const closed = api.isClosed();
  open("Changes need a token",
    closed ? el("p", { class: "failed" }, `weir takes no changes over HTTP: ${closed}`) : null,
    el("p", {}, "It stands in the file that [weir] admin-token-file names. This page keeps it in memory until it is closed or reloaded, and sends it with changes only."),
    form,
    other ? el("p", { class: "hint" }, "On the host itself no token is needed:") : null,
    other ? command(other) : null,
    buttons(cancel()));
}

export function wireUnlock() {
  const unlock = $("unlock");
  unlock.addEventListener("click", () => {
    if (!api.hasToken()) return askToken();
    api.setToken(null);
    toast("The token is forgotten: this page only reads again.");
  });
  const draw = () => {
    say(unlock, api.hasToken() ? "Lock changes" : "Unlock changes");
    document.documentElement.dataset.locked = String(!api.hasToken());
    for (const it of document.querySelectorAll("[data-act]")) it.title = titled(it.dataset.act);
  };
  api.onToken(draw);
  draw();
}

function titled(does) {
  if (api.hasToken()) return does;
  return `${does} (${api.isClosed() ? "weir takes no changes over HTTP: it has no token file" : "needs the token: press u to enter it"})`;
}

/** A button that changes something: it says what, and what it needs for that. */
export function act(label, onclick, does, attributes) {
  return button(label, onclick, { class: "small", "data-act": does, title: titled(does), ...attributes });
}
