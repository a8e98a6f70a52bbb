"""Faults in numbers: signals, timers, and clients that take their time."""

import asyncio
import resource
import signal

import pytest


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_storm_of_signals(loop):
    """100,000 signals; every one that is seen by Python is told of, and the loop goes on."""
    calls = 0

    def count():
        nonlocal calls
        calls += 1

    loop.add_signal_handler(signal.SIGUSR1, count)
    sent = 100_000

    async def main():
        for number in range(sent):
            signal.raise_signal(signal.SIGUSR1)
            if number % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: calls == sent)

    loop.run_until_complete(main())
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_a_million_timers_created_and_cancelled(loop):
    async def main():
        kept = loop.create_future()
        loop.call_later(0.01, kept.set_result, None)
        for _ in range(100):
            for timer in [loop.call_later(1000, print) for _ in range(10_000)]:
                timer.cancel()
        await kept

    loop.run_until_complete(main())


def test_two_thousand_clients_that_take_their_time(loop):
    """Slow loris: each holds a connection and sends a byte now and then. Others are served."""
    clients = 2_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * clients + 100:
        pytest.skip(f"the system allows no more than {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * clients + 100), hard))

    async def serve(reader, writer):
        try:
            async with asyncio.timeout(None if (await reader.read(1)) == b"!" else 5):
                writer.write(await reader.readuntil(b"\r\n\r\n"))
        except (TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        address = server.sockets[0].getsockname()
        slow = []
        for _ in range(clients // 100):
            slow += await asyncio.gather(*[asyncio.open_connection(*address) for _ in range(100)])
        for letter in b"GET / HTTP":
            for _, writer in slow:
                writer.write(bytes([letter]))
            # Whoever asks properly is answered in between.
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"!quick\r\n\r\n")
            assert await reader.read() == b"quick\r\n\r\n"
            writer.close()
        # The server gives up on all of them in time. Where this takes longer than that, letters
        # come for which it has no ears any more: a reset.
        answers = [reader.read() for reader, _ in slow]
        for answer in await asyncio.gather(*answers, return_exceptions=True):
            assert answer == b"" or isinstance(answer, ConnectionResetError)
        for _, writer in slow:
            writer.close()
        server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    try:
        loop.run_until_complete(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
