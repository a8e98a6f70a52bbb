// The curves of the last minute.

const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 92;
/** Seconds that are shown. */
export const SPAN = 60;

/** From 10 µs to 10 s in six decades. */
const lagHeight = (seconds) => Math.min(1, Math.max(0, (Math.log10(Math.max(seconds, 1e-9)) + 5) / 6));

const LAG_RULES = [[1e-4, "0.1 ms"], [1e-2, "10 ms"], [1, "1 s"]];

export function drawBusy(svg, history, now) {
  const points = history.map(({ at, busy }) => [at - now, busy]);
  draw(svg, [["curve", points]], [[0.5, "50 %"], [1, "100 %"]], "area");
}

/** The worst lag of each time, and how late half of all was. */
export function drawLag(svg, history, now) {
  const worst = history.map(({ at, worst }) => [at - now, lagHeight(worst)]);
  const median = history.map(({ at, median }) => [at - now, lagHeight(median)]);
  const rules = LAG_RULES.map(([seconds, label]) => [lagHeight(seconds), label]);
  draw(svg, [["curve faint", median], ["curve", worst]], rules, "area");
  for (const { at, worst } of history) {
    if (worst < 0.1) continue;
    const [x, y] = spot([at - now, lagHeight(worst)]);
    if (x >= 0) svg.append(shape("circle", { class: "peak", cx: x, cy: y, r: 2.5 }));
  }
}

/** Points are seconds before now and heights from 0 to 1. */
function draw(svg, curves, rules, area) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren();
  for (const [height, label] of rules) {
    const y = HEIGHT * (1 - height);
    svg.append(shape("line", { class: "rule", x1: 0, x2: WIDTH, y1: y, y2: y }));
    svg.append(caption(label, y));
  }
  for (const [name, points] of curves) {
    if (points.length < 2) continue;
    const path = points.map(spot).filter(([x]) => x >= -10).map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
    if (path.length < 2) continue;
    if (area && name === "curve") {
      const [first, last] = [path[0].split(",")[0], path[path.length - 1].split(",")[0]];
      const closed = `M${first},${HEIGHT} L${path.join(" L")} L${last},${HEIGHT} Z`;
      svg.append(shape("path", { class: area, d: closed }));
    }
    svg.append(shape("path", { class: name, d: `M${path.join(" L")}` }));
  }
}

const spot = ([seconds, height]) => [WIDTH * (1 + seconds / SPAN), HEIGHT * (1 - height)];

function caption(label, y) {
  const text = shape("text", { x: 2, y: Math.max(9, y - 3) });
  text.textContent = label;
  return text;
}

function shape(tag, attributes) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
