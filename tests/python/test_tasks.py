"""``Task``: from a coroutine to its outcome, names and contexts."""

import asyncio
import contextvars
import gc
import inspect
import sys
import types
import warnings
import weakref

import pytest

from turns import run_turn, run_turns, run_until_idle

variable = contextvars.ContextVar("variable", default="unset")


async def nothing():
    pass


async def give(value):
    return value


def test_a_task_runs_its_coroutine_to_the_end(loop):
    events = []

    async def coroutine():
        events.append("first step")
        await asyncio.sleep(0)
        events.append("second step")
        return "result"

    task = loop.create_task(coroutine())
    assert events == []
    assert not task.done()
    run_turn(loop)
    assert events == ["first step"]
    run_turn(loop)
    assert events == ["first step", "second step"]
    assert task.done()
    assert task.result() == "result"


def test_tasks_step_in_the_order_of_creation(loop):
    steps = []

    async def coroutine(name):
        for number in range(3):
            steps.append((number, name))
            await asyncio.sleep(0)

    for name in "abc":
        loop.create_task(coroutine(name))
    run_until_idle(loop)
    assert steps == [(number, name) for number in range(3) for name in "abc"]


def test_tasks_and_callbacks_share_one_queue(loop):
    events = []

    async def coroutine(name):
        events.append(name)

    loop.call_soon(events.append, "callback 1")
    loop.create_task(coroutine("task 1"))
    loop.call_soon(events.append, "callback 2")
    loop.create_task(coroutine("task 2"))
    run_turn(loop)
    assert events == ["callback 1", "task 1", "callback 2", "task 2"]


def test_an_exception_ends_the_task(loop):
    async def fails():
        raise ZeroDivisionError("on purpose")

    task = loop.create_task(fails())
    run_turn(loop)
    assert task.done()
    assert not task.cancelled()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        task.result()


def test_stop_iteration_cannot_leave_a_coroutine(loop):
    async def fails():
        raise StopIteration("value")

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        loop.run_until_complete(fails())


@pytest.mark.parametrize("value", [None, 0, (), (1, 2), StopIteration(1), KeyError(1)], ids=repr)
def test_the_very_result_is_kept(loop, value):
    assert loop.run_until_complete(give(value)) is value


def test_result_and_exception_cannot_be_set(loop):
    task = loop.create_task(nothing())
    with pytest.raises(RuntimeError, match="Task does not support set_result operation"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match="Task does not support set_exception operation"):
        task.set_exception(KeyError())
    loop.run_until_complete(task)


def test_is_asyncios(loop):
    task = loop.create_task(nothing())
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, asyncio.Future)
    assert asyncio.isfuture(task)
    assert inspect.isawaitable(task)
    assert task.get_loop() is loop
    loop.run_until_complete(task)


def test_coroutine_of_a_task(loop):
    coroutine = nothing()
    task = loop.create_task(coroutine)
    assert task.get_coro() is coroutine
    assert task._coro is coroutine
    loop.run_until_complete(task)
    # It survives the task's end: representations show it.
    assert task.get_coro() is coroutine


@pytest.mark.parametrize("wrong", [1, None, "text", nothing, object(), [nothing]], ids=repr)
def test_what_is_no_coroutine(loop, implementation, wrong):
    for make in (loop.create_task, lambda wrong: implementation.Task(wrong, loop=loop)):
        with pytest.raises(TypeError, match="a coroutine was expected"):
            make(wrong)


def test_a_coroutine_is_needed(loop, implementation):
    with pytest.raises(TypeError):
        loop.create_task()
    with pytest.raises(TypeError):
        implementation.Task()
    with pytest.raises(TypeError):
        implementation.Task(loop=loop)


def test_an_async_generator_is_no_coroutine(loop):
    async def generator():
        yield

    with pytest.raises(TypeError, match="a coroutine was expected"):
        loop.create_task(generator())


def test_a_generator_based_coroutine(loop):
    @types.coroutine
    def coroutine():
        yield
        future = loop.create_future()
        loop.call_soon(future.set_result, "result")
        return (yield from future)

    assert loop.run_until_complete(coroutine()) == "result"


@pytest.mark.keeps_something("asyncio remembers a hundred classes of coroutines")
def test_an_object_that_behaves_like_a_coroutine(loop):
    """collections.abc.Coroutine is enough: compilers like Cython make such objects."""
    events = []

    class Compiled:
        def __init__(self):
            self.future = None

        def send(self, value):
            events.append(("send", value))
            if self.future is None:
                self.future = loop.create_future()
                loop.call_soon(self.future.set_result, None)
                self.future._asyncio_future_blocking = True
                return self.future
            raise StopIteration("result")

        def throw(self, *error):
            events.append(("throw", error))
            raise error[0]

        def close(self):
            pass

        def __await__(self):
            return self

    task = loop.create_task(Compiled())
    assert loop.run_until_complete(task) == "result"
    assert events == [("send", None), ("send", None)]

    events.clear()
    task = loop.create_task(Compiled())
    task.cancel("message")
    run_turns(loop, 2)
    assert task.cancelled()
    ((what, (error, *_)),) = events
    assert what == "throw"
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ("message",)


def test_a_coroutine_that_was_awaited_already(loop):
    coroutine = give("result")
    assert loop.run_until_complete(coroutine) == "result"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        loop.run_until_complete(coroutine)


def test_one_coroutine_in_two_tasks(loop):
    """A bug of the user's, which must not be more than an exception."""

    async def waits():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "result"

    coroutine = waits()
    tasks = [loop.create_task(coroutine), loop.create_task(coroutine)]
    run_until_idle(loop)
    outcomes = {str(task.exception()) for task in tasks if task.exception()}
    assert all(task.done() for task in tasks)
    assert outcomes <= {
        "coroutine is being awaited already",
        "cannot reuse already awaited coroutine",
        "None",
    }
    for task in tasks:
        task.exception()


def test_a_coroutine_that_is_running_cannot_be_a_task(loop):
    tasks = []

    async def main():
        # The task's first step comes while this coroutine is suspended in its own task.
        tasks.append(loop.create_task(coroutine))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    coroutine = main()
    loop.run_until_complete(coroutine)
    run_until_idle(loop)
    (second,) = tasks
    assert second.done()
    second.exception()


class TestNames:
    def test_numbered_by_default(self, loop):
        first, second = loop.create_task(nothing()), loop.create_task(nothing())
        prefix, _, number = first.get_name().partition("-")
        assert prefix == "Task"
        assert second.get_name() == f"Task-{int(number) + 1}"
        assert first.get_name() == f"Task-{number}"
        run_until_idle(loop)

    @pytest.mark.parametrize("name", ["a name", "", "ünï"])
    def test_given(self, loop, name):
        task = loop.create_task(nothing(), name=name)
        assert task.get_name() == name
        run_until_idle(loop)

    def test_is_made_text(self, loop):
        task = loop.create_task(nothing(), name=42)
        assert task.get_name() == "42"
        task.set_name(None)
        assert task.get_name() == "None"
        task.set_name(["list"])
        assert task.get_name() == "['list']"
        run_until_idle(loop)

    def test_a_subclass_of_text_is_made_text(self, loop):
        class Name(str):
            __slots__ = ()

            def __str__(self):
                return "from __str__"

        task = loop.create_task(nothing(), name=Name("text"))
        assert task.get_name() == "from __str__"
        assert type(task.get_name()) is str
        run_until_idle(loop)

    def test_a_name_that_fails(self, loop, reports):
        class Name:
            def __str__(self):
                raise ZeroDivisionError

        coroutine = nothing()
        with pytest.raises(ZeroDivisionError):
            loop.create_task(coroutine, name=Name())
        coroutine.close()
        gc.collect()
        # asyncio's order: the task has its coroutine by then.
        assert set(reports.messages()) <= {"Task was destroyed but it is pending!"}
        task = loop.create_task(nothing())
        with pytest.raises(ZeroDivisionError):
            task.set_name(Name())
        run_until_idle(loop)

    def test_in_the_representation(self, loop):
        task = loop.create_task(nothing(), name="a name")
        assert "name='a name'" in repr(task)
        run_until_idle(loop)
        assert "name='a name'" in repr(task)


class TestRepresentation:
    def test_pending_waiting_done(self, loop):
        future = loop.create_future()

        async def waits():
            await future

        task = loop.create_task(waits(), name="T")
        text = repr(task)
        assert text.startswith("<Task pending name='T' coro=<")
        assert "waits() running at" in text
        assert "test_tasks.py" in text
        run_turn(loop)
        text = repr(task)
        assert "wait_for=<Future pending cb=[" in text
        assert "task_wakeup" in text or "Task" in text
        future.set_result(None)
        run_turn(loop)
        text = repr(task)
        assert text.startswith("<Task finished name='T' coro=<")
        assert "waits() done, defined at" in text
        assert text.endswith("result=None>")

    def test_failed(self, loop):
        async def fails():
            raise ZeroDivisionError("on purpose")

        task = loop.create_task(fails(), name="T")
        run_turn(loop)
        assert repr(task).endswith("exception=ZeroDivisionError('on purpose')>")
        task.exception()

    def test_cancelled(self, loop):
        task = loop.create_task(asyncio.sleep(1000), name="T")
        task.cancel()
        if sys.version_info >= (3, 12):
            assert "<Task cancelling name='T'" in repr(task)
        run_turn(loop)
        assert "<Task cancelled name='T'" in repr(task)

    def test_callbacks(self, loop):
        task = loop.create_task(nothing(), name="T")
        task.add_done_callback(print)
        assert "cb=[" in repr(task)
        run_until_idle(loop)

    @pytest.mark.keeps_something("asyncio remembers a hundred classes of coroutines")
    def test_of_a_coroutine_without_names(self, loop):
        class Compiled:
            def send(self, value):
                raise StopIteration

            def throw(self, *error):
                raise error[0]

            def close(self):
                pass

            def __await__(self):
                return self

        task = loop.create_task(Compiled())
        assert "Compiled" in repr(task)
        run_turn(loop)
        assert "Compiled" in repr(task)


class TestContexts:
    def test_a_copy_of_the_creators(self, loop):
        seen = []

        async def coroutine():
            seen.append(variable.get())
            variable.set("changed in the task")
            await asyncio.sleep(0)
            seen.append(variable.get())

        token = variable.set("at creation")
        loop.create_task(coroutine())
        variable.reset(token)
        run_until_idle(loop)
        assert seen == ["at creation", "changed in the task"]
        assert variable.get() == "unset"

    def test_given(self, loop):
        context = contextvars.Context()

        async def coroutine():
            variable.set("set by the task")

        task = loop.create_task(coroutine(), context=context)
        run_until_idle(loop)
        assert context[variable] == "set by the task"
        assert task.done()

    def test_shared_by_tasks(self, loop):
        context = contextvars.Context()
        seen = []

        async def coroutine(name):
            seen.append(variable.get())
            variable.set(name)
            await asyncio.sleep(0)
            seen.append(variable.get())

        for name in "ab":
            loop.create_task(coroutine(name), context=context)
        run_until_idle(loop)
        assert seen == ["unset", "a", "b", "b"]

    def test_a_step_that_cannot_enter_its_context_is_reported(self, loop, reports, logged):
        context = contextvars.Context()
        task = loop.create_task(nothing(), context=context)
        context.run(run_turn, loop)
        # The step is lost, as it is in asyncio; that must be told.
        told = [str(report["exception"]) for report in reports.take()] + logged.texts()
        assert len(told) == 1
        assert "cannot enter context" in told[0]
        assert not task.done()
        task._log_destroy_pending = False
        task.get_coro().close()

    @pytest.mark.parametrize("wrong", ["text", 1, object()], ids=repr)
    def test_what_is_no_context(self, loop, wrong, reports, logged):
        coroutine = nothing()
        try:
            task = loop.create_task(coroutine, context=wrong)
        except TypeError:
            coroutine.close()
            return
        run_turns(loop, 2)
        assert len(reports.take()) + len(logged.take()) == 1
        task._log_destroy_pending = False
        coroutine.close()

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="Task.get_context is new in 3.12")
    def test_get_context(self, loop):
        context = contextvars.Context()
        task = loop.create_task(nothing(), context=context)
        assert task.get_context() is context
        other = loop.create_task(nothing())
        assert isinstance(other.get_context(), contextvars.Context)
        run_until_idle(loop)

    def test_of_done_callbacks(self, loop):
        seen = []
        token = variable.set("of the adder")
        task = loop.create_task(nothing(), context=contextvars.Context())
        task.add_done_callback(lambda done: seen.append(variable.get()))
        variable.reset(token)
        run_until_idle(loop)
        assert seen == ["of the adder"]

    def test_a_context_var_survives_awaits(self, loop):
        async def inner():
            await asyncio.sleep(0)
            variable.set("inner")
            await asyncio.sleep(0)

        async def outer():
            await inner()
            assert variable.get() == "inner"
            await asyncio.create_task(inner_task())
            return variable.get()

        async def inner_task():
            assert variable.get() == "inner"
            variable.set("of the inner task")

        assert loop.run_until_complete(outer()) == "inner"


class TestCurrentTask:
    def test_within_and_without(self, loop):
        seen = []

        async def coroutine():
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        first, second = loop.create_task(coroutine()), loop.create_task(coroutine())
        run_until_idle(loop)
        assert seen == [first, second, first, second]
        assert asyncio.current_task(loop) is None

    def test_in_done_callbacks_and_handlers(self, loop):
        seen = []

        async def coroutine():
            loop.call_exception_handler({"message": "asked in the task"})

        loop.set_exception_handler(lambda loop, context: seen.append(asyncio.current_task()))
        task = loop.create_task(coroutine())
        task.add_done_callback(lambda done: seen.append(asyncio.current_task()))
        run_until_idle(loop)
        assert seen == [task, None]

    def test_in_a_callback_after_a_task_of_the_same_turn(self, loop):
        seen = []

        async def coroutine():
            loop.call_soon(lambda: seen.append(asyncio.current_task()))
            loop.create_task(nothing())
            loop.call_soon(lambda: seen.append(asyncio.current_task()))

        loop.create_task(coroutine())
        run_until_idle(loop)
        assert seen == [None, None]

    def test_in_a_finalizer_that_runs_when_a_task_ends(self, loop):
        """The task is over: whoever is called because of that is not in it."""
        seen = []

        class Local:
            def __del__(self):
                seen.append(asyncio.current_task(loop))

        async def coroutine():
            local = Local()  # noqa: F841

        task = loop.create_task(coroutine())
        run_turn(loop)
        # The frame was cleared within the last step.
        assert seen == [task]

    def test_of_a_task_that_dies_with_its_last_step(self, loop):
        """Nobody holds the task, so it is gone before the next callback."""
        events = []

        async def coroutine():
            reference = weakref.ref(
                asyncio.current_task(), lambda gone: events.append("task is gone")
            )
            references.append(reference)

        references = []
        loop.create_task(coroutine())
        loop.call_soon(events.append, "next callback")
        run_turn(loop)
        assert events == ["task is gone", "next callback"]

    def test_of_tasks_that_die_one_after_the_other(self, loop):
        events = []

        async def coroutine(name):
            references.append(
                weakref.ref(asyncio.current_task(), lambda gone: events.append(f"{name} gone"))
            )
            events.append(f"{name} runs")

        references = []
        for name in "abc":
            loop.create_task(coroutine(name))
        run_turn(loop)
        assert events == ["a runs", "a gone", "b runs", "b gone", "c runs", "c gone"]

    def test_of_a_task_whose_failure_is_reported_as_it_dies(self, loop):
        """The report comes before the next task steps, and from no task."""
        events = []

        def handler(loop, context):
            events.append((context["message"], asyncio.current_task()))

        async def fails():
            raise ZeroDivisionError

        async def follows():
            events.append("the next task")

        loop.set_exception_handler(handler)
        loop.create_task(fails())
        loop.create_task(follows())
        run_turn(loop)
        assert events == [("Task exception was never retrieved", None), "the next task"]

    def test_of_another_loop(self, loop, make_loop):
        other = make_loop()

        async def coroutine():
            return asyncio.current_task(other), asyncio.current_task(loop)

        task = loop.create_task(coroutine())
        assert loop.run_until_complete(task) == (None, task)

    def test_after_an_interrupted_run(self, loop):
        async def coroutine():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(coroutine())
        assert asyncio.current_task(loop) is None
        assert loop.run_until_complete(give("still works")) == "still works"


class TestStack:
    @staticmethod
    def names(task, **options):
        return [frame.f_code.co_name for frame in task.get_stack(**options)]

    def test_of_a_suspended_task(self, loop):
        async def inner():
            await future

        async def outer():
            await inner()

        future = loop.create_future()
        task = loop.create_task(outer())
        assert self.names(task) == ["outer"]
        run_turn(loop)
        assert self.names(task) == ["outer"]
        future.set_result(None)
        run_turn(loop)
        assert self.names(task) == []

    def test_of_a_failed_task(self, loop):
        def deep():
            raise ZeroDivisionError

        async def inner():
            deep()

        async def outer():
            await inner()

        task = loop.create_task(outer())
        run_turn(loop)
        assert self.names(task) == ["outer", "inner", "deep"]
        assert self.names(task, limit=1) == ["outer"]
        task.exception()

    def test_print(self, loop, capsys):
        import io

        async def waits():
            await asyncio.sleep(1000)

        task = loop.create_task(waits(), name="T")
        run_turn(loop)
        output = io.StringIO()
        task.print_stack(file=output)
        assert "Stack for <Task pending name='T'" in output.getvalue()
        assert "in waits" in output.getvalue()
        task.print_stack()
        assert "in waits" in capsys.readouterr().err
        task.print_stack(limit=1, file=output)
        task.cancel()
        run_until_idle(loop)

    def test_limit_is_for_keywords_only(self, loop):
        task = loop.create_task(nothing())
        with pytest.raises(TypeError):
            task.get_stack(1)
        with pytest.raises(TypeError):
            task.print_stack(1)
        run_until_idle(loop)


class TestFactories:
    def test_a_factory_makes_the_tasks(self, loop, implementation):
        made = []

        def factory(loop, coroutine, **options):
            made.append((coroutine, options))
            return implementation.Task(coroutine, loop=loop, **options)

        assert loop.get_task_factory() is None
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        coroutine = nothing()
        task = loop.create_task(coroutine)
        assert made == [(coroutine, {})]
        run_until_idle(loop)
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        assert loop.create_task(nothing()).get_coro() is not coroutine
        assert len(made) == 1
        assert task.done()
        run_until_idle(loop)

    def test_a_context_goes_to_the_factory(self, loop, implementation):
        made = []

        def factory(loop, coroutine, *, context=None):
            made.append(context)
            return implementation.Task(coroutine, loop=loop, context=context)

        loop.set_task_factory(factory)
        context = contextvars.Context()
        loop.create_task(nothing(), context=context)
        assert made == [context]
        run_until_idle(loop)

    def test_a_name_is_set_on_what_the_factory_made(self, loop, implementation):
        def factory(loop, coroutine, **keywords):
            # The name is set by the loop up to 3.13, and the factory's matter from 3.14.
            assert keywords == ({"name": "a name"} if sys.version_info >= (3, 14) else {})
            return implementation.Task(coroutine, loop=loop, **keywords)

        loop.set_task_factory(factory)
        task = loop.create_task(nothing(), name="a name")
        assert task.get_name() == "a name"
        run_until_idle(loop)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="so from 3.14")
    def test_every_keyword_is_passed_on(self, loop, implementation):
        seen = []

        def factory(*arguments, **keywords):
            seen.append((arguments, keywords))
            return implementation.Task(arguments[1], loop=loop)

        loop.set_task_factory(factory)
        coroutine = nothing()
        given = {"name": None, "eager_start": False, "context": None, "unknown": 3, "e": 5, "f": 6}
        loop.create_task(coroutine, **given)
        assert seen == [((loop, coroutine), given)]
        run_until_idle(loop)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="so from 3.14")
    def test_without_a_factory_the_task_refuses_what_it_does_not_know(self, loop):
        coroutine = nothing()
        with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'"):
            loop.create_task(coroutine, unknown=3)
        coroutine.close()

    def test_without_a_name_the_factorys_stays(self, loop, implementation):
        loop.set_task_factory(
            lambda loop, coroutine: implementation.Task(coroutine, loop=loop, name="factory's")
        )
        task = loop.create_task(nothing())
        if (3, 13) <= sys.version_info < (3, 13, 3) and not implementation.is_ferrio:
            # set_name(None), which is what these releases do, is no use to anybody.
            assert task.get_name() == "None"
        else:
            assert task.get_name() == "factory's"
        run_until_idle(loop)

    @pytest.mark.parametrize("wrong", [1, "text", object()], ids=repr)
    def test_what_is_no_factory(self, loop, wrong):
        with pytest.raises(TypeError, match="task factory must be a callable or None"):
            loop.set_task_factory(wrong)

    def test_a_factory_that_fails(self, loop):
        def factory(loop, coroutine):
            raise ZeroDivisionError

        loop.set_task_factory(factory)
        coroutine = nothing()
        with pytest.raises(ZeroDivisionError):
            loop.create_task(coroutine)
        coroutine.close()

    def test_a_factory_in_a_cycle_with_its_loop(self, make_loop):
        class Factory:
            pass

        loop = make_loop()
        factory = Factory()
        factory.loop = loop
        loop.set_task_factory(lambda loop, coroutine, factory=factory: None)
        reference = weakref.ref(factory)
        del factory
        loop.close()
        gc.collect()
        if reference() is not None:
            # asyncio keeps the factory as long as the loop; the fixture holds that.
            loop.set_task_factory(None)
            gc.collect()
        assert reference() is None


def test_create_task_in_a_closed_loop(make_loop):
    loop = make_loop()
    loop.close()
    coroutine = nothing()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_create_task_outside_of_a_running_loop(implementation, watched):
    coroutine = nothing()
    with pytest.raises(RuntimeError):
        asyncio.create_task(coroutine)
    with pytest.raises(RuntimeError):
        implementation.Task(coroutine)
    coroutine.close()


def test_create_task_by_keywords(loop):
    task = loop.create_task(coro=give("result"), name="T", context=None)
    assert loop.run_until_complete(task) == "result"
    coroutine = nothing()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, "positional name")
    coroutine.close()


def test_task_from_its_class(loop, implementation):
    task = implementation.Task(give("result"), loop=loop, name="T")
    assert task.get_name() == "T"
    assert loop.run_until_complete(task) == "result"

    async def main():
        return await implementation.Task(give("on the running loop"))

    assert loop.run_until_complete(main()) == "on the running loop"


def test_generic_alias(implementation):
    alias = implementation.Task[int]
    assert alias.__origin__ is implementation.Task
    assert alias.__args__ == (int,)


def test_attributes_may_be_added(loop):
    task = loop.create_task(nothing())
    task.anything = "value"
    assert task.anything == "value"
    run_until_idle(loop)
    assert task.anything == "value"


def test_uncertain_attributes_that_libraries_read(loop):
    future = loop.create_future()

    async def waits():
        await future

    task = loop.create_task(waits())
    assert task._must_cancel is False
    assert task._fut_waiter is None
    assert task._state == "PENDING"
    assert task._loop is loop
    assert task._log_destroy_pending is True
    assert task._source_traceback is None
    run_turn(loop)
    assert task._fut_waiter is future
    # It is kept until the step that follows, as anyio expects.
    future.set_result(None)
    assert task._fut_waiter is future
    run_turn(loop)
    assert task._fut_waiter is None
    assert task._state == "FINISHED"
    assert task._result is None


def test_a_task_that_steps_very_often(loop):
    async def steps():
        for _ in range(20_000):
            await asyncio.sleep(0)
        return "done"

    assert loop.run_until_complete(steps()) == "done"


def test_many_tasks_at_once(loop):
    async def main():
        tasks = [asyncio.create_task(give(number)) for number in range(5000)]
        return sum(await asyncio.gather(*tasks))

    assert loop.run_until_complete(main()) == sum(range(5000))


def test_a_chain_of_tasks_that_wait_for_each_other(loop):
    async def waits(task):
        if task is not None:
            await task
        return 1

    async def main():
        task = None
        for _ in range(2000):
            task = asyncio.create_task(waits(task))
        return await task

    assert loop.run_until_complete(main()) == 1


def test_a_coroutine_that_was_never_awaited_is_warned_of(loop):
    """The machinery must not swallow Python's own warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nothing()
        gc.collect()
    assert [str(warning.message) for warning in caught] == ["coroutine 'nothing' was never awaited"]
