"""A random asyncio program, made from a seed, that writes down everything it can observe.

Two loops that run the same seed must write the same log: all randomness comes from one generator,
drawn from in the order of execution, so that the first difference in order changes all that
follows. Time stands still within a turn and moves by a fixed step between turns.

What an implementation may do in any order is kept out of it. Deadlines are all different, for
the standard library's heap is not stable. Sets of tasks are only looked at sorted, and a
TaskGroup has one child, for it cancels its children in the order of a set.
"""

import asyncio
import contextvars
import random
import sys
from collections.abc import Callable
from typing import Any

from turns import run_turn, run_until_idle

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=0)


class Failure(Exception):
    """What the program raises on purpose."""


class Program:
    """The program's state: its tasks, futures, handles and primitives, and the log."""

    def __init__(
        self,
        loop: Any,
        seed: int,
        make_task: Callable[..., Any],
        make_future: Callable[..., Any],
        *,
        size: int = 60,
    ) -> None:
        self.loop = loop
        self.chosen = random.Random(seed)
        self.make_task = make_task
        self.make_future = make_future
        # How many tasks are made at most.
        self.size = size
        self.log: list[Any] = []
        # Everything is held to the end: when garbage is found is no part of the comparison.
        self.tasks: list[Any] = []
        self.futures: list[Any] = []
        self.handles: list[Any] = []
        self.callbacks: list[Any] = []
        self.lock = asyncio.Lock()
        self.event = asyncio.Event()
        self.queue: asyncio.Queue[Any] = asyncio.Queue(2)
        self.semaphore = asyncio.Semaphore(2)
        self.condition = asyncio.Condition()
        self.counter = 0

    def note(self, *what: Any) -> None:
        task = asyncio.current_task(self.loop)
        self.log.append((task.get_name() if task else None, *what))

    def number(self) -> int:
        self.counter += 1
        return self.counter

    def delay(self) -> float:
        """Different for every call, so that no two deadlines are equal."""
        return self.chosen.randrange(0, 5) + self.number() * 2.0**-20

    # What a step of a task or a callback may do at once.

    def new_task(self) -> Any:
        if len(self.tasks) >= self.size:
            return None
        name = f"t{len(self.tasks)}"
        self.tasks.append(None)
        index = len(self.tasks) - 1
        eager = sys.version_info >= (3, 12) and self.chosen.random() < 0.2
        context = contextvars.copy_context() if self.chosen.random() < 0.2 else None
        self.note("new task", name, eager)
        task = self.make_task(self.chosen, self.loop, self.body(), name, context, eager)
        self.tasks[index] = task
        return task

    def new_future(self) -> Any:
        future = self.make_future(self.chosen, self.loop)
        self.futures.append(future)
        return future

    def any_future(self) -> Any:
        return self.chosen.choice(self.futures) if self.futures else self.new_future()

    def any_task(self) -> Any:
        task = self.chosen.choice(self.tasks)
        return task if task is not None else self.chosen.choice(self.tasks[:1])

    def settle(self) -> None:
        future = self.any_future()
        how = self.chosen.randrange(4)
        number = self.number()
        if how == 0:
            self.note("cancel future", future.cancel(f"m{number}"))
        elif future.done():
            self.note("is settled", future.cancelled())
        elif how == 1:
            self.note("fail future", number)
            future.set_exception(Failure(number))
        else:
            self.note("finish future", number)
            future.set_result(number)

    def cancel_task(self) -> None:
        task = self.any_task()
        message = f"m{self.number()}" if self.chosen.random() < 0.7 else None
        cancelled = task.cancel(message)
        self.note("cancel", task.get_name(), cancelled, task.cancelling())

    def uncancel(self) -> None:
        task = self.any_task()
        self.note("uncancel", task.get_name(), task.uncancel(), task._must_cancel)

    def look(self) -> None:
        task = self.any_task()
        outcome: Any = None
        if task.done() and not task.cancelled():
            outcome = repr(task.exception())
        self.note(
            "look",
            task.get_name(),
            task.done(),
            task.cancelled(),
            task.cancelling(),
            task._state,
            task._must_cancel,
            task._fut_waiter is None,
            outcome,
        )

    def look_at_all(self) -> None:
        # Before 3.12 wait_for() makes tasks of its own, whose numbers differ from run to run.
        names = [task.get_name().partition("-")[0] for task in asyncio.all_tasks(self.loop)]
        self.note("all", *sorted(names))

    def add_callback(self) -> None:
        target = self.any_future() if self.chosen.random() < 0.5 else self.any_task()
        number = self.number()

        def callback(done: Any) -> None:
            self.note("done callback", number, done.cancelled(), variable.get())
            self.act()

        self.callbacks.append((target, callback))
        target.add_done_callback(callback)
        self.note("add callback", number)

    def remove_callback(self) -> None:
        if self.callbacks:
            target, callback = self.chosen.choice(self.callbacks)
            self.note("remove callback", target.remove_done_callback(callback))

    def schedule(self) -> None:
        number = self.number()

        def callback() -> None:
            self.note("called", number, variable.get())
            self.act()

        how = self.chosen.randrange(4)
        if how == 0:
            handle = self.loop.call_later(self.delay(), callback)
        elif how == 1:
            handle = self.loop.call_at(self.loop.time() + self.delay(), callback)
        elif how == 2:
            handle = self.loop.call_soon(callback)
        else:
            handle = self.loop.call_soon_threadsafe(callback)
        self.handles.append(handle)
        self.note("schedule", number, how)

    def cancel_handle(self) -> None:
        if self.handles:
            handle = self.chosen.choice(self.handles)
            handle.cancel()
            self.note("cancel handle", handle.cancelled())

    def use_primitives(self) -> None:
        how = self.chosen.randrange(4)
        if how == 0:
            self.event.set()
        elif how == 1:
            self.event.clear()
        elif how == 2:
            try:
                self.queue.put_nowait(self.number())
            except asyncio.QueueFull:
                self.note("queue is full")
        else:
            try:
                self.note("from queue", self.queue.get_nowait())
            except asyncio.QueueEmpty:
                self.note("queue is empty")

    def set_variable(self) -> None:
        variable.set(self.number())

    def fail(self) -> None:
        raise Failure(self.number())

    def act(self) -> None:
        """One random action, in a task or in a callback."""
        actions = [
            self.new_task,
            self.new_task,
            self.new_future,
            self.settle,
            self.settle,
            self.cancel_task,
            self.uncancel,
            self.look,
            self.look_at_all,
            self.add_callback,
            self.add_callback,
            self.remove_callback,
            self.schedule,
            self.schedule,
            self.cancel_handle,
            self.use_primitives,
            self.set_variable,
        ]
        if self.chosen.random() < 0.02:
            self.fail()
        self.chosen.choice(actions)()

    # What a task may wait for.

    async def wait_somehow(self) -> Any:
        waits = [
            self.yield_once,
            self.yield_once,
            self.sleep,
            self.wait_for_future,
            self.wait_for_future,
            self.wait_for_task,
            self.wait_shielded,
            self.wait_with_timeout,
            self.gather,
            self.wait_for_first,
            self.use_group,
            self.use_lock,
            self.use_queue,
            self.use_event,
            self.use_semaphore,
            self.use_condition,
        ]
        return await self.chosen.choice(waits)()

    async def yield_once(self) -> None:
        await asyncio.sleep(0)

    async def sleep(self) -> Any:
        return await asyncio.sleep(self.delay(), self.number())

    async def wait_for_future(self) -> Any:
        return await self.any_future()

    async def wait_for_task(self) -> Any:
        """Wait for a younger task, so that none wait for each other."""
        current = asyncio.current_task()
        younger = self.tasks[self.tasks.index(current) + 1 :] if current in self.tasks else []
        younger = [task for task in younger if task is not None]
        return await self.chosen.choice(younger) if younger else None

    async def wait_shielded(self) -> Any:
        return await asyncio.shield(self.any_future())

    async def wait_with_timeout(self) -> Any:
        if self.chosen.random() < 0.5:
            return await asyncio.wait_for(self.any_future(), self.delay())
        async with asyncio.timeout(self.delay()):
            return await self.any_future()

    async def gather(self) -> Any:
        things = [self.any_future() for _ in range(self.chosen.randrange(4))]
        if (task := self.new_task()) is not None:
            things.append(task)
        keep_going = self.chosen.random() < 0.5
        return repr(await asyncio.gather(*things, return_exceptions=keep_going))

    async def wait_for_first(self) -> Any:
        things = {self.any_future() for _ in range(3)}
        done, pending = await asyncio.wait(
            things, timeout=self.delay(), return_when=asyncio.FIRST_COMPLETED
        )
        return len(done), len(pending)

    async def use_group(self) -> Any:
        if len(self.tasks) >= self.size:
            return None
        name = f"t{len(self.tasks)}"
        self.tasks.append(None)
        index = len(self.tasks) - 1
        async with asyncio.TaskGroup() as group:
            self.tasks[index] = group.create_task(self.body(), name=name)
            self.act()
            await asyncio.sleep(0)

    async def use_lock(self) -> None:
        async with self.lock:
            self.note("has the lock")
            await asyncio.sleep(0)

    async def use_queue(self) -> Any:
        if self.chosen.random() < 0.5:
            return await asyncio.wait_for(self.queue.get(), self.delay())
        return await asyncio.wait_for(self.queue.put(self.number()), self.delay())

    async def use_event(self) -> Any:
        return await asyncio.wait_for(self.event.wait(), self.delay())

    async def use_semaphore(self) -> None:
        async with self.semaphore:
            self.note("has the semaphore")
            await asyncio.sleep(self.delay())

    async def use_condition(self) -> None:
        async with self.condition:
            if self.chosen.random() < 0.5:
                self.condition.notify(self.chosen.randrange(3))
            else:
                await asyncio.wait_for(self.condition.wait(), self.delay())

    async def body(self) -> Any:
        """What every task runs."""
        self.note("begins")
        try:
            for _ in range(self.chosen.randrange(3, 20)):
                try:
                    for _ in range(self.chosen.randrange(5)):
                        self.act()
                    self.note("waited", repr(await self.wait_somehow()))
                except asyncio.CancelledError as error:
                    self.note("cancelled error", error.args)
                    if self.chosen.random() < 0.6:
                        raise
                    task = asyncio.current_task()
                    assert task is not None
                    if self.chosen.random() < 0.5:
                        self.note("uncancel myself", task.uncancel())
                except Failure as error:
                    self.note("failure", error.args)
                    if self.chosen.random() < 0.3:
                        raise
                except TimeoutError:
                    self.note("timeout")
                except RuntimeError as error:
                    # Waiting for oneself, for what another already waits on, and the like.
                    self.note("runtime error", str(error).split(":")[0].split("<")[0])
                except BaseExceptionGroup as group:
                    self.note("group", len(group.exceptions))
        finally:
            self.note("ends")
        return self.number()

    # The run.

    def run(self, turns: int = 120) -> list[Any]:
        """Run the program, cancel what is left of it, and return the log."""
        reports: list[str] = []
        self.loop.set_exception_handler(lambda loop, context: reports.append(report_of(context)))
        for _ in range(10):
            self.new_task()
            self.new_future()
        for turn in range(turns):
            self.log.append(("turn", turn))
            run_turn(self.loop)
            self.loop.now += 0.25
        self.log.append("cancel what is left")
        self.size = 0
        for _ in range(100):
            for handle in self.handles:
                handle.cancel()
            pending = [task for task in self.tasks if task is not None and not task.done()]
            if not pending:
                break
            for task in pending:
                task.cancel("at the end")
            for future in self.futures:
                future.cancel()
            run_turn(self.loop)
            self.loop.now += 100
        run_until_idle(self.loop)
        self.log += [outcome_of(task) for task in self.tasks]
        self.log += [outcome_of(future) for future in self.futures]
        self.log.append(("reports", *sorted(reports)))
        for handle in self.handles:
            handle.cancel()
        return self.log


def report_of(context: dict[str, Any]) -> str:
    message = context["message"].split("(")[0].split(" at ")[0].split("<")[0]
    return f"{message}: {context.get('exception')!r}"


def outcome_of(future: Any) -> Any:
    if future is None or not future.done():
        return "not done"
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    return repr(error) if error is not None else ("result", repr(future.result()))
