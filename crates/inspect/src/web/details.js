// All that is known of one task.

import { byId, element } from "./dom.js";
import { duration, ownSite, place, waitWords, wholePlace } from "./format.js";

/** Shows a task in the drawer, or that it has ended. */
export function drawDetails(task, known, now, choose) {
  const drawer = byId("details");
  drawer.hidden = !task && !known;
  if (drawer.hidden) return;
  const shown = task ?? known;
  const position = drawer.scrollTop;
  drawer.replaceChildren(
    element("button", { class: "close", type: "button", text: "✕", "aria-label": "Close", onclick: () => choose(null) }),
    element("h2", { text: shown.name }),
    element("p", { class: "quiet", text: `${shown.coroutine} · task ${shown.id}${task ? "" : " · has ended"}` }),
    facts(shown, now, choose),
    ...frames(shown),
  );
  drawer.scrollTop = position;
}

function facts(task, now, choose) {
  const list = element("dl");
  const fact = (term, ...value) => list.append(element("dt", { text: term }), element("dd", {}, ...value));
  const { wait } = task;
  fact("State", task.state);
  if (wait) {
    fact("Waits", `${waitWords(wait)}${wait.since ? ` for ${duration(now - wait.since)}` : ""}`);
    if (wait.name) fact("Called", element("code", { text: wait.name }));
    // Of a sleep it is how long it will last, which is said below.
    if (wait.what && wait.kind !== "sleep") fact("For", element("code", { text: wait.what }));
    if (wait.until) fact("Until", `in ${duration(Math.max(0, wait.until - now))}`);
    if (ownSite(task)) fact("At", site(ownSite(task)));
    if (wait.tasks.length) fact("Held by", ...wait.tasks.map((id) => link(id, choose)));
  }
  if (task.created) fact("Created", site(task.created));
  if (task.created_at) fact("Age", duration(now - task.created_at));
  if (task.parent) fact("By", link(task.parent, choose));
  fact("Owner", ...owner(task.owner, choose));
  if (task.steps !== null) fact("Steps", task.steps.toLocaleString("en"));
  if (task.cpu !== null) fact("CPU", duration(task.cpu));
  if (task.longest_step !== null) fact("Longest step", duration(task.longest_step));
  if (task.cancelling) fact("Cancelled", `${task.cancelling} ×`);
  if (task.foreign) fact("Kind", "the standard library's own");
  return list;
}

const site = (where) => element("code", { text: `${place(where)} in ${where.function}`, title: wholePlace(where) });

const link = (id, choose) =>
  element("button", { class: "link", type: "button", text: `task ${id} `, onclick: () => choose(id) });

function owner(made, choose) {
  const words = { user: "the program", runner: "the runner", server: "a server", "task-group": "a task group", combinator: made.name };
  const text = words[made.kind] ?? made.kind;
  return made.task ? [`${text} of `, link(made.task, choose)] : [text];
}

function frames(task) {
  if (task.stack.length === 0) return [];
  const rows = task.stack.map((where) =>
    element("li", {}, element("b", { text: where.function }), element("code", { text: wholePlace(where) })),
  );
  return [element("h3", { text: "Stack, the innermost last" }), element("ol", { class: "frames" }, ...rows)];
}
