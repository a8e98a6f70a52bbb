"""psycopg's AsyncConnection and pool against a real server: every answer is checked."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

SERVER = os.environ["PSYCOPG_SERVER"]


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest) -> str:
    return (
        f"host={'127.0.0.1' if request.param == 'tcp' else os.environ['PSYCOPG_SOCKET']} {SERVER}"
    )


@asynccontextmanager
async def connection(server: str, **options: object) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(server, **options) as made:
        yield made


async def value(made: AsyncConnection, query: str, *parameters: object) -> object:
    row = await (await made.execute(query, parameters)).fetchone()
    assert row is not None
    return row[0]


def test_values_go_there_and_back(server: str) -> None:
    async def main() -> None:
        generator = random.Random(1)
        async with connection(server) as made:
            for size in (0, 1, 8191, 8192, 8193, 1 << 20, 16 << 20):
                data = generator.randbytes(size)
                assert await value(made, "select %s::bytea", data) == data
            rows = await (await made.execute("select generate_series(1, 100000)")).fetchall()
            assert [row[0] for row in rows] == list(range(1, 100001))

    asyncio.run(main())


def test_transactions(server: str) -> None:
    async def main() -> None:
        async with connection(server) as made:
            await made.execute("create temp table numbers (number int)")
            with pytest.raises(ZeroDivisionError):
                async with made.transaction():
                    await made.execute("insert into numbers values (1)")
                    raise ZeroDivisionError
            async with made.transaction():
                await made.execute("insert into numbers values (2)")
                with pytest.raises(psycopg.errors.DivisionByZero):
                    async with made.transaction():
                        await made.execute("insert into numbers values (3)")
                        await made.execute("select 1 / 0")
            assert await (await made.execute("select * from numbers")).fetchall() == [(2,)]

    asyncio.run(main())


def test_copy_in_and_out(server: str) -> None:
    async def main() -> None:
        async with connection(server) as made, made.cursor() as cursor:
            await cursor.execute("create temp table pairs (number int, words text)")
            async with cursor.copy("copy pairs from stdin") as copy:
                for number in range(50_000):
                    await copy.write_row((number, f"words of {number}"))
            async with cursor.copy("copy (select * from pairs order by 1) to stdout") as copy:
                copy.set_types(["int4", "text"])
                rows = [row async for row in copy.rows()]
            assert rows == [(number, f"words of {number}") for number in range(50_000)]

    asyncio.run(main())


def test_a_pipeline(server: str) -> None:
    async def main() -> None:
        async with connection(server) as made:
            async with made.pipeline():
                cursors = [await made.execute("select %s::int", (one,)) for one in range(2000)]
            assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(2000)]

    asyncio.run(main())


def test_a_named_cursor_reads_piece_by_piece(server: str) -> None:
    async def main() -> None:
        async with connection(server) as made, made.cursor("named") as cursor:
            cursor.itersize = 100
            await cursor.execute("select generate_series(1, 5000)")
            assert [row[0] async for row in cursor] == list(range(1, 5001))

    asyncio.run(main())


def test_a_query_is_cancelled(server: str) -> None:
    async def main() -> None:
        async with connection(server, autocommit=True) as made:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await made.execute("select pg_sleep(60)")
            assert await value(made, "select 1") == 1
            query = asyncio.create_task(made.execute("select pg_sleep(60)"))
            await asyncio.sleep(0.2)
            await made.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await query
            assert await value(made, "select 2") == 2

    asyncio.run(main())


def test_notifications(server: str) -> None:
    async def main() -> None:
        async with (
            connection(server, autocommit=True) as listener,
            connection(server, autocommit=True) as speaker,
        ):
            await listener.execute("listen news")

            async def speak() -> None:
                for number in range(100):
                    await speaker.execute(f"notify news, '{number}'")

            speaking = asyncio.create_task(speak())
            heard = [
                notice.payload async for notice in listener.notifies(timeout=60, stop_after=100)
            ]
            await speaking
            assert heard[:100] == [str(number) for number in range(100)]
            assert [one async for one in listener.notifies(timeout=0.1)] == []

    asyncio.run(main())


def test_many_tasks_share_a_pool(server: str) -> None:
    async def main() -> None:
        async with AsyncConnectionPool(server, min_size=2, max_size=20, open=False) as pool:

            async def ask(number: int) -> object:
                async with pool.connection() as made:
                    await value(made, "select pg_sleep(0.001)")
                    return await value(made, "select %s::int", number)

            assert await asyncio.gather(*map(ask, range(500))) == list(range(500))
            assert pool.get_stats()["pool_size"] <= 20

    asyncio.run(main())


def test_a_pool_survives_tasks_that_are_cancelled(server: str) -> None:
    async def main() -> None:
        async with AsyncConnectionPool(server, min_size=1, max_size=5, open=False) as pool:

            async def work() -> None:
                while True:
                    async with pool.connection() as made:
                        await made.execute("select pg_sleep(0.01)")

            tasks = [asyncio.create_task(work()) for _ in range(40)]
            generator = random.Random(2)
            for task in generator.sample(tasks, len(tasks)):
                await asyncio.sleep(generator.random() / 50)
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
            async with pool.connection() as made:
                assert await value(made, "select 1") == 1

    asyncio.run(main())


def test_a_pool_that_has_no_connection_left(server: str) -> None:
    async def main() -> None:
        async with AsyncConnectionPool(server, min_size=1, max_size=1, open=False) as pool:
            async with pool.connection():
                with pytest.raises(PoolTimeout):
                    async with pool.connection(timeout=0.2):
                        pass
            async with pool.connection(timeout=30) as made:
                assert await value(made, "select 1") == 1

    asyncio.run(main())


def test_the_server_ends_a_connection(server: str) -> None:
    async def main() -> None:
        async with connection(server, autocommit=True) as other:
            doomed = await AsyncConnection.connect(server, autocommit=True)
            waiting = asyncio.create_task(doomed.execute("select pg_sleep(60)"))
            await asyncio.sleep(0.2)
            assert await value(other, "select pg_terminate_backend(%s)", doomed.info.backend_pid)
            with pytest.raises(psycopg.OperationalError):
                await waiting
            assert doomed.closed

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        with pytest.raises(psycopg.OperationalError):
            await AsyncConnection.connect("host=127.0.0.1 port=1 user=postgres connect_timeout=5")

    asyncio.run(main())
