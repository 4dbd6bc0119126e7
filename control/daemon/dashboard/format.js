// Numbers as people read them: four digits at most, a unit, and nothing for what was never counted.

const NONE = "–";
const PREFIXES = ["", "k", "M", "G", "T", "P"];

function scaled(value, unit) {
  let [number, step] = [Math.abs(value), 0];
  while (number >= 999.5 && step < PREFIXES.length - 1) [number, step] = [number / 1000, step + 1];
  const digits = number >= 99.95 || (step === 0 && Number.isInteger(number)) ? 0 : number >= 9.995 ? 1 : 2;
  const text = number.toFixed(digits);
  const name = PREFIXES[step] + unit;
  return (value < 0 ? "-" : "") + text + (name ? ` ${name}` : "");
}

const is = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (value) =>
  !is(value) ? NONE : value < 10_000 ? String(Math.round(value)) : scaled(value, "");

export const rate = (value) => (!is(value) ? NONE : value < 0.05 ? "0" : scaled(value, ""));

export const bits = (value) => (!is(value) ? NONE : value < 1 ? "0" : scaled(value, "bit/s"));

export const bytes = (value) => (!is(value) ? NONE : scaled(value, "B"));

export const share = (value) =>
  !is(value) ? NONE : `${(value * 100).toFixed(value > 0 && value < 0.0995 ? 1 : 0)} %`;

/** A duration for which the eye looks at its size: 0.18 ms, 12 ms, 1.5 s. */
export function brief(seconds) {
  if (!is(seconds)) return NONE;
  if (seconds >= 60) return span(seconds);
  if (seconds >= 1) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const millis = seconds * 1000;
  if (millis < 0.01) return millis === 0 ? "0 ms" : `${Math.max(1, Math.round(millis * 1000))} µs`;
  return `${millis.toFixed(millis >= 10 ? 0 : millis >= 1 ? 1 : 2)} ms`;
}

/** A duration on which somebody waits: 42 s, 3 m 05 s, 2 h 10 m, 5 d 3 h. */
export function span(seconds) {
  if (!is(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (value) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** The clock of the reader's place. */
export function clock(date) {
  return date.toLocaleTimeString("en-GB", { hour12: false });
}

export function day(date) {
  const today = date.toDateString() === new Date().toDateString();
  const two = (value) => String(value).padStart(2, "0");
  return today ? clock(date) : `${two(date.getDate())}.${two(date.getMonth() + 1)}. ${clock(date).slice(0, 5)}`;
}

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many ?? `${one}s`}`;
