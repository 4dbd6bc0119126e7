// The one stream of the page. It closes while the page is hidden or held, and says when figures are
// old.

import { $, say, set } from "./dom.js";
import { clock, span } from "./format.js";
import { figures } from "./stream.js";

/** After so many seconds without a frame its figures are old. */
const OLD_S = 3.5;

export class Live {
  constructor({ history, figures }) {
    Object.assign(this, { history, figures, stop: null, heardAt: null, heard: null, held: false, why: null });
    document.addEventListener("visibilitychange", () => this.decide());
    addEventListener("pagehide", () => this.end());
    setInterval(() => this.tell(), 500);
    this.decide();
  }

  hold(held) {
    this.held = held;
    this.decide();
    this.tell();
  }

  decide() {
    if (document.hidden || this.held) this.end();
    else if (!this.stop) this.begin();
  }

  end() {
    this.stop?.();
    this.stop = null;
  }

  begin() {
    this.stop = figures((kind, data) => this.hear(kind, data), (refused) => this.fail(refused.message));
  }

  hear(kind, data) {
    if (kind === "history") return this.history(data);
    this.heardAt = performance.now();
    this.heard = new Date(data.at * 1000);
    this.why = null;
    this.figures(data);
    this.tell();
  }

  fail(why) {
    this.why = why;
    this.tell();
  }

  tell() {
    const node = $("link");
    const age = this.heardAt === null ? null : (performance.now() - this.heardAt) / 1000;
    const of = this.heard ? `figures of ${clock(this.heard)}, ${span(age)} old` : "no figures yet";
    let [tone, text] = ["ok", "live, once a second"];
    if (this.held) [tone, text] = ["", `held: ${of}`];
    else if (age === null) [tone, text] = [this.why ? "bad" : "", this.why ? `no connection: ${this.why}` : "connecting"];
    else if (age > OLD_S) [tone, text] = ["bad", `connection lost: ${of}`];
    say(node, text);
    set(node, "data-tone", tone);
    set(document.documentElement, "data-old", String(tone !== "ok"));
  }
}
