// The picture: who runs, who is next, who waits for what.

import { byId, element, keep, setText } from "./dom.js";
import { duration, laneOf, ownSite, place, waitWords } from "./format.js";

const LANES = [
  ["running", "Running"],
  ["ready", "Ready to run"],
  ["sockets", "Waiting for sockets"],
  ["timers", "Waiting for time"],
  ["locks", "Waiting for locks and events"],
  ["queues", "Waiting for queues"],
  ["threads", "Waiting for threads and processes"],
  ["tasks", "Waiting for tasks"],
  ["other", "Waiting for something else"],
];

/** Lanes that have held somebody: they stay, so that the picture does not jump. */
const seen = new Set(["running", "ready"]);

/** So many tasks of one coroutine are shown by name; more are dots. */
const NAMED = 3;
/** So many dots of one coroutine are shown. */
const MOST_DOTS = 160;
/** Longer lists are not moved about, they appear. */
const MOST_MOVING = 250;

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Shows the tasks of a loop. `now` is the time of the tasks. */
export function drawLanes(loop, now, chosen, choose) {
  const root = byId("lanes");
  const places = whereTasksAre(root);
  const byLane = Map.groupBy(loop.tasks, laneOf);
  for (const name of byLane.keys()) seen.add(name);
  keep(
    root,
    LANES.filter(([name]) => seen.has(name)),
    ([name]) => name,
    ([name, title]) =>
      element("section", { class: `lane ${name}` }, element("h3", { text: title }, element("span")), element("div")),
    (lane, [name]) => {
      const tasks = byLane.get(name) ?? [];
      lane.classList.toggle("none", tasks.length === 0);
      setText(lane.querySelector("h3 span"), String(tasks.length));
      drawGroups(lane.lastElementChild, tasks, { now, chosen, choose });
      if (tasks.length === 0) lane.lastElementChild.replaceChildren(nobody(name, loop));
    },
  );
  const empty = LANES.filter(([name]) => name !== "other" && !seen.has(name)).map(([, title]) => title.replace("Waiting for ", ""));
  setText(byId("nobody"), empty.length ? `Nobody has waited for ${empty.join("; ")}.` : "");
  moveTasks(root, places);
}

function nobody(name, loop) {
  const words = {
    running: { waiting: "Nobody: the loop waits for events.", stopped: "Nobody: the loop is stopped." }[loop.running?.kind] ?? "No task.",
    ready: loop.ready ? `No task; the queue has ${loop.ready}.` : "Nobody: the queue is empty.",
  };
  return element("p", { class: "nobody", "data-key": "nobody", text: words[name] ?? "Nobody." });
}

function drawGroups(parent, tasks, context) {
  const groups = [...Map.groupBy(tasks, (task) => task.coroutine)].sort((a, b) => b[1].length - a[1].length);
  keep(
    parent,
    groups.slice(0, 8),
    ([coroutine]) => coroutine,
    () => element("div", { class: "group" }, element("p"), element("div", { class: "members" })),
    (group, [coroutine, members]) => {
      const named = members.length <= NAMED;
      const [caption, list] = group.children;
      caption.replaceChildren(element("b", { text: coroutine }), named ? "" : ` × ${members.length}`);
      caption.title = members[0].wait ? `${coroutine}, ${waitWords(members[0].wait)}` : coroutine;
      keep(
        list,
        members.slice(0, MOST_DOTS),
        (task) => `${named ? "name" : "dot"} ${task.id}`,
        (task) => element("button", { type: "button", "data-task": task.id, onclick: () => context.choose(task.id) }),
        (button, task) => drawTask(button, task, named, context),
      );
    },
  );
}

function drawTask(button, task, named, { now, chosen }) {
  const age = task.wait?.since ? now - task.wait.since : null;
  const words = `${task.name} (${task.coroutine})${task.wait ? `, ${waitWords(task.wait)} ${duration(age)}` : ""}`;
  button.className = named ? "task pill-like" : `task dot ${age === null || age < 1 ? "young" : age < 30 ? "mature" : ""}`;
  button.classList.toggle("chosen", task.id === chosen);
  button.title = words;
  button.setAttribute("aria-label", words);
  if (!named) return;
  if (!button.firstChild) button.append(element("span"), element("i"));
  setText(button.firstChild, task.name);
  setText(button.lastChild, age === null ? place(ownSite(task)) : duration(age));
}

function whereTasksAre(root) {
  const tasks = root.querySelectorAll(".task");
  if (calm.matches || tasks.length > MOST_MOVING) return new Map();
  return new Map([...tasks].map((task) => [task.dataset.task, { lane: laneAround(task), at: task.getBoundingClientRect() }]));
}

const laneAround = (task) => task.closest(".lane").dataset.key;

/** Tasks that are in another lane now are seen to go there. */
function moveTasks(root, places) {
  if (places.size === 0) return;
  for (const task of root.querySelectorAll(".task")) {
    const [from, to] = [places.get(task.dataset.task), task.getBoundingClientRect()];
    if (!from) {
      task.animate([{ opacity: 0 }, {}], 250);
    } else if (from.lane !== laneAround(task)) {
      const start = `translate(${from.at.x - to.x}px, ${from.at.y - to.y}px)`;
      task.animate([{ transform: start }, { transform: "none" }], { duration: 320, easing: "ease-out" });
    }
  }
}
