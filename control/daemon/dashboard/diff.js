// Two texts, line by line: the longest common subsequence, and three lines around each change.

const AROUND = 3;
/** A table of so many cells is made; beyond it all lines of one side stand before the other's. */
const CELLS_MAX = 4_000_000;

/** Lines as [kind, text]: plus, minus, same, gap. Empty if the texts are the same. */
export function diff(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  if (start === endA && start === endB) return [];
  const changed = between(a.slice(start, endA), b.slice(start, endB));
  const all = [...a.slice(0, start).map(same), ...changed, ...a.slice(endA).map(same)];
  return folded(all);
}

const same = (line) => ["same", `  ${line}`];
const minus = (line) => ["minus", `- ${line}`];
const plus = (line) => ["plus", `+ ${line}`];

function between(a, b) {
  if (a.length * b.length > CELLS_MAX) return [...a.map(minus), ...b.map(plus)];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(same(a[i]));
      [i, j] = [i + 1, j + 1];
    } else if (j >= b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      lines.push(minus(a[i]));
      i += 1;
    } else {
      lines.push(plus(b[j]));
      j += 1;
    }
  }
  return lines;
}

/** Leaves out what is far from every change. */
function folded(lines) {
  const near = new Uint8Array(lines.length);
  lines.forEach(([kind], at) => {
    if (kind === "same") return;
    near.fill(1, Math.max(0, at - AROUND), at + AROUND + 1);
  });
  const shown = [];
  let left = 0;
  lines.forEach((line, at) => {
    if (!near[at]) {
      left += 1;
      return;
    }
    if (left) shown.push(["gap", `… ${left} ${left === 1 ? "line" : "lines"}`]);
    left = 0;
    shown.push(line);
  });
  return shown;
}
