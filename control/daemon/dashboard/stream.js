// Where the figures come from: the one stream of weir, else the plain endpoints once a second.

import { poll } from "./poll.js";

/** Whether this weir has live figures: the list of paths says so. */
async function hasLive() {
  try {
    const index = await fetch("/", { headers: { Accept: "text/plain" }, cache: "no-store" });
    return / \/api\/v1\/live\b/.test(await index.text());
  } catch {
    return false;
  }
}

function stream(heard, giveUp) {
  const source = new EventSource("/api/v1/live");
  const stop = () => source.close();
  const leave = () => {
    stop();
    giveUp();
  };
  for (const kind of ["history", "figures"]) {
    source.addEventListener(kind, (event) => {
      try {
        heard(kind, JSON.parse(event.data));
      } catch {
        leave(); // Figures of another weir than this page is of.
      }
    });
  }
  // A connection that was lost the browser makes again; one that was refused it does not: 16 are open.
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && leave());
  return stop;
}

export function figures(heard, failed) {
  let stopped = false;
  let stop = () => {};
  const plain = () => {
    if (!stopped) stop = poll(heard, failed);
  };
  hasLive().then((live) => {
    if (!stopped) stop = live ? stream(heard, plain) : poll(heard, failed);
  });
  return () => {
    stopped = true;
    stop();
  };
}
