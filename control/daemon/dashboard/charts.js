// The four charts of the last 15 minutes, with one cursor.

import { $, colour, el, say } from "./dom.js";
import { bits, brief, clock, count, rate, span } from "./format.js";

const WINDOW_S = 900;
const WINDOW_MIN_S = 120;
const SYNC = "weir";
const CHARTS = [
  { title: "Sessions", keys: ["sessions"], names: ["open now"], format: count },
  { title: "New sessions a second", keys: ["sessions_per_s"], names: ["accepted"], format: rate },
  { title: "Traffic", keys: ["received_bits_per_s", "sent_bits_per_s"], names: ["from backends", "to backends"], format: bits },
  { title: "Connect time", keys: ["connect_p50_s", "connect_p99_s"], names: ["p50", "p99"], format: brief },
];
const KEYS = CHARTS.flatMap((chart) => chart.keys);

const series = Object.fromEntries(["at", ...KEYS].map((key) => [key, []]));
const drawn = [];

function axis(more) {
  return {
    stroke: () => colour("muted"), font: "11px system-ui, sans-serif", ticks: { show: false },
    grid: { stroke: () => colour("line"), width: 1 }, ...more,
  };
}

/** As an axis has it: 30.0 Mbit/s is 30 M there. */
const short = (text) => text.replace(/(\.\d*?)0+(?= |$)/, "$1").replace(/\.(?= |$)/, "").replace("bit/s", "").trim();

function options(chart, width) {
  const stroke = (index) => () => colour(`series-${index + 1}`);
  const lines = chart.keys.map((key, index) => ({
    label: chart.names[index], stroke: stroke(index), width: 1.5, points: { show: false }, spanGaps: false,
    fill: index === 0 && chart.keys.length === 1 ? () => colour("fill-1") : undefined,
  }));
  return {
    width, height: 128, legend: { show: false }, padding: [8, 4, 0, 0],
    cursor: { sync: { key: SYNC, setSeries: false }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, chart.format === brief ? 0.0005 : 1) * 1.12] } },
    axes: [
      axis({ space: 60, size: 22, incrs: [60, 120, 300], values: (_, times) => times.map((at) => clock(new Date(at * 1000)).slice(0, 5)) }),
      axis({ size: 50, space: 28, values: (_, values) => values.map((value) => (value === 0 ? "0" : short(chart.format(value)))) }),
    ],
    series: [{}, ...lines],
    hooks: { setCursor: [() => readout(chart)] },
  };
}

/** The figures beside the title: those under the cursor, else the newest. */
function readout(chart) {
  const index = chart.plot?.cursor.idx;
  const at = index ?? series.at.length - 1;
  say(chart.when, index === null || index === undefined || !series.at.length ? "now" : clock(new Date(series.at[at] * 1000)));
  chart.keys.forEach((key, number) => say(chart.values[number], chart.format(series[key][at])));
}

export function make() {
  for (const chart of CHARTS) {
    chart.when = el("span", { class: "at" }, "now");
    chart.values = chart.keys.map(() => el("b", {}, "–"));
    const figures = chart.values.map((value, index) => el("div", {}, value,
      el("span", {}, el("i", { class: index ? "b" : "a" }), chart.names[index])));
    chart.place = el("div", { class: "plot", role: "img" });
    const card = el("article", { class: "chart" }, el("header", {}, el("h2", {}, chart.title), chart.when),
      el("div", { class: "now" }, figures), chart.place);
    $("charts").append(card);
    chart.plot = new uPlot(options(chart, Math.max(120, chart.place.clientWidth)), data(chart), chart.place);
    chart.plot.root.style.fontVariantNumeric = "tabular-nums";
    drawn.push(chart);
  }
  new ResizeObserver(() => {
    for (const { plot, place } of drawn) plot.setSize({ width: Math.max(120, place.clientWidth), height: 128 });
  }).observe($("charts"));
}

const data = (chart) => [series.at, ...chart.keys.map((key) => series[key])];

/** A page that was opened now shows the past. */
export function history(kept) {
  for (const key of ["at", ...KEYS]) series[key].splice(0, Infinity, ...kept[key].slice(-WINDOW_S));
  draw();
}

export function add({ at: now, point }) {
  // A process that has just begun has no second behind it.
  if (!point) return;
  const at = point.at ?? now;
  // What came with the history already, and a clock that was set back.
  if (series.at.length && at <= series.at.at(-1) + 0.3) return;
  // A pause is a gap, not a line across it.
  if (series.at.length && at - series.at.at(-1) > 5) push(series.at.at(-1) + 1, {});
  push(at, point);
  draw();
}

function push(at, point) {
  series.at.push(at);
  for (const key of KEYS) series[key].push(point[key] ?? null);
  while (series.at.length > WINDOW_S) for (const key of ["at", ...KEYS]) series[key].shift();
}

export function draw() {
  const end = series.at.at(-1) ?? Date.now() / 1000;
  // A weir that began a minute ago has no 15 to show.
  const shown = Math.min(WINDOW_S, Math.max(WINDOW_MIN_S, end - (series.at[0] ?? end)));
  for (const chart of drawn) {
    chart.plot.batch(() => {
      chart.plot.setData(data(chart), false);
      chart.plot.setScale("x", { min: end - shown, max: end });
    });
    readout(chart);
    const words = chart.keys.map((key, index) => `${chart.names[index]} ${chart.format(series[key].at(-1))}`).join(", ");
    chart.place.setAttribute("aria-label", `${chart.title} over the last ${span(shown)}; now: ${words}`);
  }
}

export function recolour() {
  for (const { plot } of drawn) plot.redraw(false, true);
}
