// Numbers and places in words.

/** A duration in seconds, to two or three digits. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0005) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A large number to about three digits: 1234567 is "1.23M". */
export function short(number) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= size) return (number / size).toPrecision(3) + unit;
  }
  return String(number < 10 ? Math.round(number * 10) / 10 : Math.round(number));
}

export const bytes = (number) => short(number).replace(/[kMG]?$/, (unit) => ` ${unit}B`);

export const percent = (share) => `${Math.round(share * 100)} %`;

/** "app.py:42"; the whole path is for a title. */
export function place(site) {
  return site ? `${site.file.split("/").pop()}:${site.line}` : "";
}

export const wholePlace = (site) => (site ? `${site.file}:${site.line}` : "");

const LIBRARY = /\/(asyncio|ferrio)\/[^/]+\.py$|\/python3[^/]*\/(?!site-packages|dist-packages)[^/]+\.py$/;

/** The innermost line of a task that is the program's and not a library's of asyncio. */
export function ownSite(task) {
  return task.stack.findLast((site) => !LIBRARY.test(site.file)) ?? task.wait?.site ?? task.stack.at(-1);
}

/** A command line without the folders. */
export const shortCommand = (words) => words.map((word) => (word.startsWith("/") ? word.split("/").pop() : word)).join(" ");

/** The lane in which a task is shown, by what it is at. */
export function laneOf(task) {
  if (task.state !== "waiting" || !task.wait) return task.state === "running" ? "running" : "ready";
  return LANES_BY_WAIT[task.wait.kind] ?? "other";
}

const LANES_BY_WAIT = {
  read: "sockets", write: "sockets", connection: "sockets", lookup: "sockets",
  sleep: "timers", timeout: "timers",
  lock: "locks", semaphore: "locks", condition: "locks", event: "locks", barrier: "locks",
  "queue-get": "queues", "queue-put": "queues", "queue-join": "queues",
  executor: "threads", subprocess: "threads",
  task: "tasks", tasks: "tasks", "task-group": "tasks",
};

/** What a task waits for, in a few words. */
export function waitWords(wait) {
  return WAITS[wait.kind] ?? wait.kind;
}

const WAITS = {
  lock: "for a lock", semaphore: "for a semaphore", condition: "for a condition",
  event: "for an event", barrier: "at a barrier",
  "queue-get": "for something in a queue", "queue-put": "for room in a queue",
  "queue-join": "for a queue to be done", sleep: "asleep", timeout: "within a timeout",
  task: "for a task", tasks: "for tasks", "task-group": "for a task group", read: "to read",
  write: "to write", connection: "for a connection", lookup: "for a name", executor: "for a thread",
  subprocess: "for a subprocess", future: "for a future",
};
