// Figures from the plain endpoints, once a second, in the form of the live ones.

import { get } from "./api.js";

export function poll(heard, failed) {
  let before = null;
  let stopped = false;
  let timer = null;

  async function once() {
    const [status, stats, backends, tasks, events] = await Promise.all(
      ["status", "stats", "backends", "tasks", `events?after=${before?.last_event ?? 0}`].map(get));
    const now = performance.now() / 1000;
    const span = before ? now - before.now : 0;
    const per = (rows, old, key) => (span > 0 && old ? Math.max(0, (rows[key] - old[key]) / span) : null);
    const recent = stats.connect_duration_recent_s;
    const point = {
      sessions: stats.sessions, sessions_per_s: stats.session_rate_per_s,
      received_bits_per_s: stats.received_bytes_per_s * 8, sent_bits_per_s: stats.sent_bytes_per_s * 8,
      connect_p50_s: recent?.count ? recent.p50 : null, connect_p99_s: recent?.count ? recent.p99 : null,
    };
    const rowsOf = (list, key, more) => list.map((row) => {
      const old = before?.[key].get(row.name);
      return { ...row, ...more(row, old) };
    });
    const pools = stats.pools.map((row) => ({ ...row, ...status.pools.find((pool) => pool.name === row.name) }));
    const flows = (row, old) => ({
      sessions_per_s: per(row, old, "sessions_total"), received_bytes_per_s: per(row, old, "received_bytes_total"),
      sent_bytes_per_s: per(row, old, "sent_bytes_total"),
    });
    const last = events.events.at(-1)?.id ?? before?.last_event ?? 0;
    const figures = {
      at: Date.now() / 1000, point, status,
      pools: rowsOf(pools, "pools", (row, old) => ({ ...flows(row, old), connect_s: row.connect_duration_s?.count ? row.connect_duration_s : null })),
      listeners: rowsOf(status.listeners, "listeners", (row, old) => ({ sessions_per_s: per(row, old, "sessions_total") })),
      backends: rowsOf(backends.backends.slice(0, 512), "backends", (row, old) => ({ ...flows(row, old), connect_s: null, first_byte_s: null })),
      backends_total: backends.backends.length, tasks: tasks.tasks, unconfirmed: status.unconfirmed, last_event: last,
    };
    const named = (rows) => new Map(rows.map((row) => [row.name, row]));
    before = { now, last_event: last, pools: named(pools), listeners: named(status.listeners), backends: named(backends.backends) };
    return figures;
  }

  async function turn() {
    try {
      const figures = await once();
      if (stopped) return;
      heard("figures", figures);
    } catch (refused) {
      if (!stopped) failed(refused);
    }
    if (!stopped) timer = setTimeout(turn, 1000);
  }
  turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
