// The tree of tasks: who was made by whom.

import { byId, element, keep, setText } from "./dom.js";
import { duration, laneOf, ownSite, place, waitWords } from "./format.js";

/** So many children of one coroutine are one row until it is opened. */
const TOO_MANY = 6;
const MOST_ROWS = 400;

/** What was opened and closed by hand, by key. */
const toggled = new Map();

export function drawTree(loop, total, now, chosen, choose) {
  const filter = byId("filter").value.trim().toLowerCase();
  const rows = filter ? matching(loop.tasks, filter) : unfolded(loop.tasks);
  const hidden = total - loop.tasks.length;
  setText(byId("task-count"), `${total}${hidden > 0 ? `, ${loop.tasks.length} of them shown` : ""}`);
  const list = byId("task-rows");
  const shown = rows.slice(0, MOST_ROWS);
  if (rows.length > MOST_ROWS) shown.push({ key: "more", depth: 0, words: `… and ${rows.length - MOST_ROWS} more` });
  if (rows.length === 0) shown.push({ key: "none", depth: 0, words: filter ? "No task matches." : "There are no tasks." });
  keep(list, shown, (row) => row.key, makeRow, (item, row) => updateRow(item, row, { now, chosen, choose }));
}

const matches = (task, filter) =>
  [task.name, task.coroutine, task.created?.file, ...task.stack.map((site) => site.function)].some((text) =>
    text?.toLowerCase().includes(filter),
  );

const matching = (tasks, filter) =>
  tasks.filter((task) => matches(task, filter)).map((task) => ({ key: `task ${task.id}`, depth: 0, task }));

/** The rows of the tree as far as it is open. */
function unfolded(tasks) {
  const known = new Set(tasks.map((task) => task.id));
  const children = Map.groupBy(tasks, (task) => (known.has(task.parent) ? task.parent : 0));
  const rows = [];
  const add = (parent, depth) => {
    for (const [coroutine, same] of Map.groupBy(children.get(parent) ?? [], (task) => task.coroutine)) {
      if (same.length <= TOO_MANY) {
        same.forEach((task) => addTask(task, depth));
        continue;
      }
      const key = `group ${parent} ${coroutine}`;
      const open = toggled.get(key) ?? false;
      rows.push({ key, depth, open, coroutine, same });
      if (open) same.forEach((task) => addTask(task, depth + 1));
    }
  };
  const addTask = (task, depth) => {
    const key = `task ${task.id}`;
    const open = children.has(task.id) ? (toggled.get(key) ?? true) : null;
    rows.push({ key, depth, open, task });
    if (open) add(task.id, depth + 1);
  };
  add(0, 0);
  return rows;
}

function makeRow() {
  const twisty = element("button", { class: "twisty", type: "button", text: "▶", "aria-label": "Children" });
  return element(
    "li",
    { class: "row" },
    element("div", { class: "name" }, twisty, element("i", { class: "mark" }), element("b"), element("span")),
    element("div", { class: "wait" }),
    element("div", { class: "age" }),
  );
}

function updateRow(item, row, { now, chosen, choose }) {
  const [name, wait, age] = item.children;
  const [twisty, mark, title, coroutine] = name.children;
  name.style.paddingLeft = `${row.depth * 18}px`;
  twisty.style.visibility = row.open === null || row.open === undefined ? "hidden" : "visible";
  twisty.setAttribute("aria-expanded", String(row.open ?? false));
  const toggle = (event) => {
    event.stopPropagation();
    toggled.set(row.key, !row.open);
    item.dispatchEvent(new CustomEvent("redraw", { bubbles: true }));
  };
  twisty.onclick = toggle;
  item.classList.toggle("chosen", row.task !== undefined && row.task.id === chosen);
  item.onclick = row.task ? () => choose(row.task.id) : row.same ? toggle : null;
  if (row.words) return show([title, coroutine, wait, age], [row.words, "", "", ""], mark, "none");
  if (row.same) {
    const lanes = Map.groupBy(row.same, laneOf);
    const words = [...lanes].map(([lane, tasks]) => `${tasks.length} ${LANE_WORDS[lane]}`).join(", ");
    return show([title, coroutine, wait, age], [`${row.coroutine} × ${row.same.length}`, "", words, ""], mark, [...lanes.keys()][0]);
  }
  const { task } = row;
  const words = task.wait ? `${waitWords(task.wait)} · ${place(ownSite(task))}` : task.state;
  const since = task.wait?.since ? duration(now - task.wait.since) : "";
  show([title, coroutine, wait, age], [task.name, task.coroutine, words, since], mark, laneOf(task));
}

const LANE_WORDS = {
  running: "running", ready: "ready", sockets: "at sockets", timers: "asleep", locks: "at locks",
  queues: "at queues", threads: "at threads", tasks: "at tasks", other: "at something else",
};

function show(targets, texts, mark, lane) {
  targets.forEach((target, index) => {
    setText(target, texts[index]);
    target.title = texts[index];
  });
  mark.className = `mark ${lane}`;
  mark.style.visibility = lane === "none" ? "hidden" : "visible";
}
