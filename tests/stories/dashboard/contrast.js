// Every text that is seen, with the contrast to its ground (WCAG 2.2, 1.4.3): their number, and those
// below 4.5.
const parse = (text) => text.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((it) => it / 255).map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const faint = [];
let seen = 0;
for (const node of document.querySelectorAll('body *')) {
  const own = [...node.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
  if (!own || node.matches(':disabled, option') || !node.getClientRects().length) continue;
  const style = getComputedStyle(node);
  const front = parse(node instanceof SVGElement ? style.fill : style.color);
  const back = node instanceof SVGElement ? parse(getComputedStyle(document.querySelector('rect.node')).fill) : ground(node);
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  seen += 1;
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) faint.push(`${node.tagName} ${node.className} ${node.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return [seen, faint];
