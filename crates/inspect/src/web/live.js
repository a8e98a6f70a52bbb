// The page's heart: asks for what there is, and has it shown.

import { drawBusy, drawLag } from "./charts.js";
import { drawDetails } from "./details.js";
import { byId, element, keep, numbers, setText } from "./dom.js";
import { bytes, duration, ownSite, percent, place, short, shortCommand, wholePlace } from "./format.js";
import { History } from "./history.js";
import { drawLanes } from "./lanes.js";
import { drawTree } from "./tree.js";

/** Milliseconds after which an answer is given up. */
const LONGEST_WAIT = 10_000;
/** Milliseconds from one question to the next, at least. */
const INTERVAL = 500;
/** Milliseconds more for each task: to look at one takes the loop some microseconds. */
const INTERVAL_OF_TASK = 0.1;
/** Seconds without a look at events that count as blocked. */
const BLOCKED = 0.25;
/** Seconds after which the tasks are called old. */
const OLD = 0.6;

const token = new URLSearchParams(location.search).get("token") ?? "";

/** The last answer, the one that is shown, and what the person at the page has chosen. */
const view = { last: null, answer: null, loop: null, task: null, knownTask: null, paused: false };
const histories = new Map();

async function ask() {
  try {
    const response = await fetch("live.json", {
      headers: { Authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(LONGEST_WAIT),
    });
    if (!response.ok) throw new Error(await response.text());
    take(await response.json());
  } catch (error) {
    showGone(error);
  }
  const tasks = Object.values(view.last?.tasks ?? {}).reduce((sum, count) => sum + count, 0);
  setTimeout(ask, Math.max(INTERVAL, INTERVAL_OF_TASK * tasks));
}

function take(answer) {
  view.last = answer;
  for (const metrics of answer.metrics.loops) {
    if (!histories.has(metrics.id)) histories.set(metrics.id, new History());
    histories.get(metrics.id).add(metrics, answer.metrics.taken_at);
  }
  if (!view.paused) {
    view.answer = answer;
    draw();
  }
}

function showGone(error) {
  const state = byId("state");
  state.className = "pill gone";
  state.title = String(error.message ?? error);
  setText(state, view.answer ? "the process does not answer" : "not connected");
}

/** The loop that was chosen, or the first, with its numbers. */
function chosenLoop() {
  const { snapshot, metrics, tasks } = view.answer;
  const found = snapshot.loops.find(({ id }) => id === view.loop) ?? snapshot.loops[0];
  if (!found) return null;
  const loop = { ...found, tasks: found.tasks.map((task) => asItIs(task, found.running)) };
  return {
    loop,
    metrics: metrics.loops.find(({ id }) => id === loop.id),
    history: histories.get(loop.id) ?? new History(),
    total: tasks[loop.id] ?? loop.tasks.length,
  };
}

/** What runs is known also when the tasks are old. */
const asItIs = (task, { kind, task: running }) =>
  kind === "step" && task.id === running ? { ...task, state: "running", wait: null } : task;

function draw() {
  const { snapshot } = view.answer;
  drawHeader(snapshot);
  const chosen = chosenLoop();
  document.body.classList.toggle("no-loop", !chosen);
  if (!chosen?.metrics) return drawNoLoop();
  const { loop, metrics, history, total } = chosen;
  const lag = drawState(snapshot, loop, metrics);
  drawNow(loop, metrics, history, lag);
  drawCharts(metrics, history);
  drawLanes(loop, snapshot.tasks_at, view.task, choose);
  drawTree(loop, total, snapshot.tasks_at, view.task, choose);
  drawBlocks(view.answer);
  drawTraffic(metrics, history);
  drawChosen(loop, snapshot.tasks_at);
}

function drawHeader({ process, command, python, loops }) {
  const line = byId("process");
  const words = command.length ? command.join(" ") : "";
  if (line.dataset.words !== words + process) {
    line.dataset.words = words + process;
    line.replaceChildren(element("code", { text: shortCommand(command), title: words }), ` pid ${process}${python ? ` · Python ${python}` : ""}`);
    document.title = `ferrio · ${shortCommand(command) || process}`;
  }
  const shown = view.loop ?? loops[0]?.id;
  keep(
    byId("loops"),
    loops.length > 1 ? loops : [],
    ({ id }) => id,
    ({ id }) => element("button", { type: "button", text: `Loop ${id}`, onclick: () => chooseLoop(id) }),
    (button, { id }) => button.setAttribute("aria-pressed", String(id === shown)),
  );
}

function drawNoLoop() {
  byId("blocked").hidden = true;
  byId("stale").hidden = true;
  const state = byId("state");
  state.className = "pill";
  setText(state, "no event loop");
  setText(byId("now-what"), "No event loop runs");
  setText(byId("now-where"), "This page shows one as soon as there is one.");
  const nothing = { id: 0, ready: 0, tasks: [] };
  drawLanes(nothing, 0, null, choose);
  drawTree(nothing, 0, 0, null, choose);
  drawBlocks(view.answer);
}

/** What the loop is at, in the pill and the banners; returns its lag while it is blocked. */
function drawState({ taken_at, tasks_at }, loop, metrics) {
  const lag = metrics.lag_now >= BLOCKED ? metrics.lag_now : 0;
  const kind = lag ? "blocked" : loop.running.kind;
  const state = byId("state");
  state.className = `pill ${{ step: "running", callback: "running" }[kind] ?? kind}`;
  state.title = "";
  setText(state, { blocked: "blocked", waiting: "waits for events", stopped: "stopped" }[kind] ?? "running");
  document.body.classList.toggle("blocked-now", lag > 0);

  byId("blocked").hidden = !lag;
  if (lag) drawCulprit(lag, loop);
  const age = taken_at - tasks_at;
  const stale = byId("stale");
  stale.hidden = age < OLD || loop.running.kind === "stopped";
  setText(stale, tasks_at
    ? `Tasks, waits and stacks are ${duration(age)} old: the interpreter cannot be had. Everything else is live.`
    : "Tasks, waits and stacks are not known: the interpreter could not be had yet.");
  return lag;
}

function drawCulprit(lag, loop) {
  const block = currentBlock(loop);
  const task = runningTask(loop);
  const where = culpritSite(loop);
  setText(byId("blocked-for"), `Blocked for ${duration(lag)}`);
  const by = [where ? `by ${where.function} at ${place(where)}` : "", task ? `in task ${task.name}` : ""];
  const words = by.filter(Boolean).join(", ");
  setText(byId("blocked-by"), words + (block?.cause ? ` (${block.cause})` : ""));
  byId("blocked-by").title = wholePlace(where);
  const line = byId("blocked-line");
  line.hidden = !block?.source;
  setText(line, block?.source?.trim() ?? "");
}

/** The line that runs: as the watchdog has it, which needs nobody's help, or as the task has it. */
function culpritSite(loop) {
  const task = runningTask(loop);
  return currentBlock(loop)?.site ?? (task && ownSite(task));
}

const currentBlock = (loop) => view.answer.blocks.findLast((block) => block.loop === loop.id && !block.over);

const runningTask = ({ running, tasks }) =>
  running.kind === "step" ? tasks.find(({ id }) => id === running.task) : undefined;

function drawNow(loop, metrics, history, lag) {
  const task = runningTask(loop);
  const kind = loop.running.kind;
  const what = task?.name ?? { waiting: "Waits for events", stopped: "Stopped" }[kind] ?? "A callback";
  setText(byId("now-what"), what);
  const where = culpritSite(loop);
  const since = lag ? `, for ${duration(lag)}` : "";
  const idle = kind === "waiting" ? "Nothing is ready to run." : "";
  setText(byId("now-where"), where ? `${where.function} at ${place(where)}${since}` : (loop.running.name ?? idle) + since);
  numbers(byId("now-numbers"), [
    ["Turns", `${short(history.rates.turns ?? 0)}/s`, `${metrics.turns} so far`],
    ["Ready", short(metrics.ready), "Entries in the batch of the turn that goes on"],
    ["Timers", short(metrics.timers)],
    ["Tasks", short(view.answer.tasks[loop.id] ?? 0)],
  ]);
}

function drawCharts(metrics, history) {
  const now = view.answer.metrics.taken_at;
  byId("busy-figure").replaceChildren(percent(metrics.busy_share), element("small", { text: "of the last second" }));
  drawBusy(byId("busy-chart"), history.points, now);
  const last = history.points.at(-1);
  const p99 = `p99 ${duration(metrics.lag.p99)} · worst ${duration(history.worst())}`;
  byId("lag-figure").replaceChildren(duration(last?.worst ?? 0), element("small", { text: p99 }));
  drawLag(byId("lag-chart"), history.points, now);
}

/** Where the loops were blocked, with the line as the last report of the place had it. */
function drawBlocks({ metrics, blocks }) {
  const worst = [...metrics.blocks].sort((a, b) => b.total - a.total).slice(0, 12);
  const lines = new Map(blocks.map((block) => [wholePlace(block.site), block.source]));
  const list = byId("block-rows");
  if (worst.length === 0) {
    list.replaceChildren(element("li", { class: "empty", "data-key": "none", text: "No block was noticed. The watchdog looks for them when it is on (FERRIO_WATCHDOG=100ms)." }));
    return;
  }
  keep(
    list,
    worst,
    (block) => `${wholePlace(block.site)} ${block.cause}`,
    () => element("li", {}, element("div", { class: "site" }, element("b"), element("span")), element("div", { class: "how" }), element("code")),
    (item, block) => {
      const [head, how, line] = item.children;
      setText(head.firstChild, block.site ? `${place(block.site)} ${block.site.function}` : "an unknown place");
      head.title = wholePlace(block.site);
      setText(head.lastChild, duration(block.longest));
      setText(how, `${block.count} ×, ${duration(block.total)} in all, ${block.cause}`);
      const source = lines.get(wholePlace(block.site));
      line.hidden = !source;
      setText(line, source?.trim() ?? "");
    },
  );
}

function drawTraffic(metrics, history) {
  const open = metrics.transports.filter(({ opened }) => opened > 0).map(({ kind, open }) => [TRANSPORTS[kind] ?? kind, short(open)]);
  const { executor, lookups } = metrics;
  const rows = [
    ...open,
    ["In", `${bytes(history.rates.bytes_received ?? 0)}/s`, `${bytes(metrics.bytes_received)} so far`],
    ["Out", `${bytes(history.rates.bytes_sent ?? 0)}/s`, `${bytes(metrics.bytes_sent)} so far`],
    ["Unsent", bytes(metrics.write_buffer), "Bytes that the kernel has no room for"],
    ["Accepted", short(metrics.accepts), `${metrics.accept_failures} failures`],
  ];
  if (executor.submitted) {
    rows.push(["Thread jobs", short(executor.submitted), `${executor.failed} raised`]);
    rows.push(["Job queue p99", duration(executor.wait.p99), "How long jobs wait for a thread"]);
    rows.push(["Job run p99", duration(executor.run.p99)]);
  }
  if (lookups.submitted) rows.push(["Lookups", short(lookups.submitted), `p99 ${duration(lookups.run.p99)}, ${lookups.failed} failed`]);
  numbers(byId("traffic-numbers"), rows);
}

const TRANSPORTS = { stream: "Streams", tls: "with TLS", datagram: "Datagrams", pipe: "Pipes" };

function drawChosen(loop, now) {
  const task = loop.tasks.find(({ id }) => id === view.task);
  if (task) view.knownTask = task;
  drawDetails(task, view.task === null ? null : view.knownTask, now, choose);
}

function choose(task) {
  if (task !== view.task) view.knownTask = null;
  view.task = task;
  draw();
}

function chooseLoop(id) {
  view.loop = id;
  view.task = null;
  draw();
}

byId("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  byId("pause").setAttribute("aria-pressed", String(view.paused));
  setText(byId("pause"), view.paused ? "Go on" : "Pause");
});
byId("filter").addEventListener("input", () => view.answer && draw());
byId("task-rows").addEventListener("redraw", draw);
document.addEventListener("keydown", (event) => event.key === "Escape" && view.answer && choose(null));

ask();
