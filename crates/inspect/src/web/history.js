// What was seen in the last minute, made from one answer after the other.

import { SPAN } from "./charts.js";

/** Of one loop: what happened between two looks. */
export class History {
  constructor() {
    this.points = [];
    this.rates = {};
    this.last = null;
  }

  /** Takes in the metrics of a loop. */
  add(metrics, at) {
    const last = this.last;
    if (last && at <= last.at) return;
    this.last = { metrics, at };
    if (!last) return;
    const seconds = at - last.at;
    const lag = newLag(last.metrics.lag, metrics.lag);
    const busy = (metrics.busy - last.metrics.busy) / seconds;
    this.points.push({
      at,
      busy: Math.min(1, Math.max(0, busy)),
      worst: Math.max(lag.worst, metrics.lag_now),
      median: lag.median,
    });
    this.points = this.points.filter((point) => point.at > at - SPAN - 5);
    const rate = (name) => (metrics[name] - last.metrics[name]) / seconds;
    for (const name of ["turns", "bytes_received", "bytes_sent", "accepts"]) this.rates[name] = rate(name);
  }

  /** The worst lag that is still shown. */
  worst() {
    return this.points.reduce((worst, point) => Math.max(worst, point.worst), 0);
  }
}

/** Of the busy stretches between two looks: the longest and the middle one, by their buckets. */
function newLag(before, now) {
  const seen = new Map(before.buckets.map((bucket) => [bucket.below, bucket.count]));
  const fresh = now.buckets
    .map((bucket) => [bucket.below ?? now.longest, bucket.count - (seen.get(bucket.below) ?? 0)])
    .filter(([, count]) => count > 0);
  const total = fresh.reduce((sum, [, count]) => sum + count, 0);
  let passed = 0;
  let median = 0;
  for (const [below, count] of fresh) {
    passed += count;
    if (passed * 2 >= total) {
      median = below;
      break;
    }
  }
  return { worst: fresh.length ? fresh[fresh.length - 1][0] : 0, median };
}
