"""``getaddrinfo`` and ``getnameinfo``: who asks, in which thread, and who waits for whom."""

import asyncio
import concurrent.futures
import os
import socket
import subprocess
import sys
import threading

import pytest


def names_of_threads():
    return {thread.name for thread in threading.enumerate()}


@pytest.fixture
def resolver(monkeypatch):
    """``socket.getaddrinfo`` that waits until it is released, and notes who calls."""

    class Resolver:
        def __init__(self):
            self.release = threading.Event()
            self.threads = []

        def __call__(self, host, port, *rest):
            self.threads.append(threading.current_thread().name)
            assert self.release.wait(60)
            if host == "nobody.invalid":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


LITERALS = [
    ("127.0.0.1", 80),
    ("::1", 80),
    ("127.0.0.1", None),
    (None, 80),
    ("127.0.0.1", "80"),
]


@pytest.mark.parametrize(("host", "port"), LITERALS)
@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_addresses_are_answered_as_the_system_does(loop, host, port, kind):
    async def main():
        expected = socket.getaddrinfo(host, port, type=kind)
        assert await loop.getaddrinfo(host, port, type=kind) == expected

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize(("host", "port"), LITERALS)
def test_addresses_need_no_thread(implementation, loop, host, port):
    if not implementation.is_ferrio:
        pytest.skip("asyncio asks its executor")

    async def main():
        before = names_of_threads()
        await loop.getaddrinfo(host, port)
        assert names_of_threads() == before

    loop.run_until_complete(main())
    assert loop._default_executor is None


def test_errors_are_the_systems(loop):
    async def main():
        with pytest.raises(socket.gaierror) as raised:
            await loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6)
        with pytest.raises(socket.gaierror) as expected:
            socket.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6)
        assert raised.value.args == expected.value.args
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("127.0.0.1", "no such service")

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_names_and_back(loop):
    async def main():
        infos = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert infos == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_patched_resolver_is_asked_for_addresses_too(loop, resolver):
    resolver.release.set()

    async def main():
        assert (await loop.getaddrinfo("::1", 80))[0][4] == ("127.0.0.1", 80)
        (name,) = resolver.threads
        assert name != threading.main_thread().name

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_an_error_of_the_resolver_reaches_who_asked(loop, resolver):
    resolver.release.set()

    async def main():
        with pytest.raises(socket.gaierror, match="not known"):
            await loop.getaddrinfo("nobody.invalid", 80)
        with pytest.raises(OSError, match="not known"):
            await loop.create_connection(asyncio.Protocol, "nobody.invalid", 80)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_lookups_do_not_wait_for_the_default_executor(implementation, loop, resolver):
    if not implementation.is_ferrio:
        pytest.skip("asyncio's lookups queue behind everything else")
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    blocked = threading.Event()

    async def main():
        other_work = loop.run_in_executor(None, blocked.wait, 60)
        resolver.release.set()
        assert await loop.getaddrinfo("somebody.invalid", 80)
        assert not other_work.done()
        blocked.set()
        await other_work

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_other_work_does_not_wait_for_lookups(implementation, loop, resolver):
    if not implementation.is_ferrio:
        pytest.skip("asyncio's lookups keep the executor's threads")

    async def main():
        lookups = [
            asyncio.ensure_future(loop.getaddrinfo("somebody.invalid", port)) for port in range(100)
        ]
        await asyncio.sleep(0)
        assert await loop.run_in_executor(None, int, "7") == 7
        assert not any(lookup.done() for lookup in lookups)
        # Not a thread for each, however many there are.
        assert len(resolver.threads) <= 32
        resolver.release.set()
        answers = await asyncio.gather(*lookups)
        assert [answer[0][4][1] for answer in answers] == list(range(100))

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_no_thread_is_left_when_the_lookups_are_made(implementation, loop, resolver):
    if not implementation.is_ferrio:
        pytest.skip("asyncio's executor keeps its threads")
    resolver.release.set()

    async def main():
        before = threading.active_count()
        await asyncio.gather(*[loop.getaddrinfo("somebody.invalid", port) for port in range(50)])
        loop._resolver.join_idle()
        assert threading.active_count() == before

    loop.run_until_complete(main())


def test_a_replaced_run_in_executor_is_asked(implementation, resolver, watched):
    """As programs do that have an executor of their own, or none."""
    resolver.release.set()
    calls = []

    class Loop(implementation.EventLoop):
        def run_in_executor(self, executor, function, *arguments):
            calls.append((executor, function))
            future = self.create_future()
            future.set_result(function(*arguments))
            return future

    loop = Loop()
    answer = loop.run_until_complete(loop.getaddrinfo("somebody.invalid", 80))
    assert answer[0][4] == ("127.0.0.1", 80)
    assert calls == [(None, resolver)]
    loop.close()


def test_cancelled_lookups(loop, resolver):
    async def main():
        lookups = [
            asyncio.ensure_future(loop.getaddrinfo("somebody.invalid", port)) for port in range(50)
        ]
        await asyncio.sleep(0.01)
        for lookup in lookups:
            lookup.cancel()
        outcomes = await asyncio.gather(*lookups, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        resolver.release.set()
        assert await loop.getaddrinfo("somebody.invalid", 80)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_the_end_of_the_executor_waits_for_lookups(loop, resolver):
    async def main():
        lookup = asyncio.ensure_future(loop.getaddrinfo("somebody.invalid", 80))
        await asyncio.sleep(0.01)
        ending = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0.01)
        assert not ending.done()
        resolver.release.set()
        await ending
        assert await lookup
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await loop.getaddrinfo("somebody.invalid", 80)
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await loop.getnameinfo(("127.0.0.1", 80))

    loop.run_until_complete(main())


def test_a_loop_closed_during_a_lookup(implementation, resolver, watched):
    loop = implementation.EventLoop()
    lookup = loop.create_task(loop.getaddrinfo("somebody.invalid", 80))
    loop.run_until_complete(asyncio.sleep(0.01))
    lookup._log_destroy_pending = False
    loop.close()
    resolver.release.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def test_a_closed_loop_looks_nothing_up(implementation):
    loop = implementation.EventLoop()
    loop.close()
    for coroutine in (loop.getaddrinfo("localhost", 80), loop.getnameinfo(("127.0.0.1", 80))):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            coroutine.send(None)


FORK = """
import asyncio, os, socket, sys, warnings
import ferrio

async def main():
    loop = asyncio.get_running_loop()
    real, socket.getaddrinfo = socket.getaddrinfo, lambda *arguments: real(*arguments)
    for _ in range(20):
        await asyncio.gather(*[loop.getaddrinfo("127.0.0.1", port) for port in range(8)])
        pid = os.fork()
        if not pid:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    print("fine")

warnings.simplefilter("error")
ferrio.run(main())
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="earlier versions do not warn")
def test_a_fork_finds_no_thread_of_a_lookup_that_is_made():
    """CPython warns of a fork with more than one thread."""
    outcome = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert outcome.stdout == "fine\n", outcome.stderr
    assert "DeprecationWarning" not in outcome.stderr
