// The curves of the last minute.

const NAMESPACE = "http://www.w3.org/2000/svg";
/** Seconds that are shown. */
export const SPAN = 60;

/** From 10 µs to 10 s in six decades. */
const lagHeight = (seconds) => Math.min(1, Math.max(0, (Math.log10(Math.max(seconds, 1e-9)) + 5) / 6));

const LAG_RULES = [[1e-4, "0.1 ms"], [1e-2, "10 ms"], [1, "1 s"]];

export function drawBusy(svg, history, now) {
  const points = history.map(({ at, busy }) => [at - now, busy]);
  new Chart(svg, [[0.5, "50 %"], [1, "100 %"]]).curve("curve", points);
}

/** The worst lag of each time, and how late half of all was. */
export function drawLag(svg, history, now) {
  const worst = history.map(({ at, worst }) => [at - now, lagHeight(worst)]);
  const median = history.map(({ at, median }) => [at - now, lagHeight(median)]);
  const rules = LAG_RULES.map(([seconds, label]) => [lagHeight(seconds), label]);
  const chart = new Chart(svg, rules);
  chart.curve("curve faint", median);
  chart.curve("curve", worst);
  history.forEach((point, index) => point.worst >= 0.1 && chart.peak(worst[index]));
}

/** A chart that is drawn anew. Points are seconds before now and heights from 0 to 1. */
class Chart {
  constructor(svg, rules) {
    this.svg = svg;
    this.width = svg.clientWidth || 300;
    this.height = svg.clientHeight || 90;
    svg.replaceChildren();
    for (const [height, label] of rules) {
      const y = this.height * (1 - height);
      svg.append(shape("line", { class: "rule", x1: 0, x2: this.width, y1: y, y2: y }), caption(label, y));
    }
  }

  curve(name, points) {
    const spots = points.map((point) => this.spot(point)).filter(([x]) => x >= 0);
    if (spots.length < 2) return;
    const line = spots.map((spot) => spot.map((number) => number.toFixed(1)).join(",")).join(" L");
    if (name === "curve") {
      const [first, last] = [spots[0][0], spots.at(-1)[0]];
      const d = `M${first.toFixed(1)},${this.height} L${line} L${last.toFixed(1)},${this.height} Z`;
      this.svg.append(shape("path", { class: "area", d }));
    }
    this.svg.append(shape("path", { class: name, d: `M${line}` }));
  }

  peak(point) {
    const [cx, cy] = this.spot(point);
    if (cx >= 0) this.svg.append(shape("circle", { class: "peak", cx, cy, r: 2.5 }));
  }

  spot([seconds, height]) {
    return [this.width * (1 + seconds / SPAN), this.height * (1 - height)];
  }
}

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
