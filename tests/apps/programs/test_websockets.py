"""websockets, client and server: every answer is checked."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve, unix_serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect as connect_from_thread

from certificates import contexts

SIZES = (0, 1, 125, 126, 127, 4096, 65535, 65536, 1 << 20, (8 << 20) + 3)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def echo_server(**options: object) -> AsyncIterator[tuple[Server, str]]:
    async with serve(echo, "127.0.0.1", 0, max_size=None, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield server, f"{'wss' if options.get('ssl') else 'ws'}://127.0.0.1:{port}/"


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_messages_of_all_sizes(compression: str | None, tls: bool) -> None:
    async def main() -> None:
        for_server, for_client = contexts() if tls else (None, None)
        generator = random.Random(1)
        async with (
            echo_server(ssl=for_server, compression=compression) as (_, uri),
            connect(uri, ssl=for_client, compression=compression, max_size=None) as client,
        ):
            for size in SIZES:
                data = generator.randbytes(size)
                await client.send(data)
                assert await client.recv() == data
                text = "ä€😀"[size % 3] * (size // 4)
                await client.send(text)
                assert await client.recv() == text

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_many_connections(tls: bool) -> None:
    connections, rounds = (60, 20) if tls else (300, 20)

    async def talk(uri: str, context: ssl.SSLContext | None, number: int) -> int:
        async with connect(uri, ssl=context) as client:
            for turn in range(rounds):
                await client.send(f"{number}/{turn}")
                assert await client.recv() == f"{number}/{turn}"
        assert client.close_code == 1000
        return number

    async def main() -> None:
        for_server, for_client = contexts() if tls else (None, None)
        async with echo_server(ssl=for_server, open_timeout=60) as (server, uri):
            talks = [talk(uri, for_client, number) for number in range(connections)]
            assert await asyncio.gather(*talks) == list(range(connections))
            while server.connections:
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_fragments_arrive_as_one_message_and_one_by_one() -> None:
    async def fragments() -> AsyncIterator[bytes]:
        for number in range(200):
            yield bytes([number]) * number
            await asyncio.sleep(0)

    async def main() -> None:
        whole = b"".join([bytes([number]) * number for number in range(200)])
        async with echo_server() as (_, uri), connect(uri) as client:
            await client.send(fragments())
            assert await client.recv() == whole
            await client.send(whole)
            assert b"".join([part async for part in client.recv_streaming()]) == whole

    asyncio.run(main())


def test_a_recv_that_is_cancelled_loses_no_message() -> None:
    async def main() -> None:
        async with echo_server() as (_, uri), connect(uri) as client:
            generator = random.Random(2)
            received = []

            async def send() -> None:
                for number in range(300):
                    await client.send(str(number))
                    await asyncio.sleep(generator.random() / 500)

            sending = asyncio.create_task(send())
            timeouts = 0
            while len(received) < 300:
                try:
                    async with asyncio.timeout(generator.random() / 250):
                        received.append(await client.recv())
                except TimeoutError:
                    timeouts += 1
            await sending
            assert received == [str(number) for number in range(300)]
            assert timeouts

    asyncio.run(main())


def test_tasks_that_are_cancelled_in_the_middle_of_everything() -> None:
    async def talk(uri: str) -> None:
        async with connect(uri) as client:
            while True:
                await client.send(b"x" * 100_000)
                assert await client.recv() == b"x" * 100_000

    async def main() -> None:
        async with echo_server() as (server, uri):
            tasks = [asyncio.create_task(talk(uri)) for _ in range(80)]
            generator = random.Random(3)
            for task in generator.sample(tasks, len(tasks)):
                await asyncio.sleep(generator.random() / 50)
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
            async with asyncio.timeout(20):
                while server.connections:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_reader_that_is_slow_holds_the_writer_back() -> None:
    async def main() -> None:
        sent = 0

        async def flood(connection: ServerConnection) -> None:
            nonlocal sent
            for number in range(400):
                await connection.send(number.to_bytes(4, "big") * 16384)
                sent += 1

        async with serve(flood, "127.0.0.1", 0, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
                before = -1
                while sent != before:
                    before = sent
                    await asyncio.sleep(0.3)
                assert sent < 400
                for number in range(400):
                    assert await client.recv() == number.to_bytes(4, "big") * 16384

    asyncio.run(main())


def test_a_broadcast_reaches_everybody() -> None:
    async def main() -> None:
        joined: set[ServerConnection] = set()
        everybody = asyncio.Event()

        async def handler(connection: ServerConnection) -> None:
            joined.add(connection)
            if len(joined) == 100:
                everybody.set()
            await connection.wait_closed()

        async def listen(uri: str) -> list[str | bytes]:
            async with connect(uri) as client:
                return [await client.recv() for _ in range(50)]

        async with serve(handler, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            listening = [asyncio.create_task(listen(uri)) for _ in range(100)]
            await everybody.wait()
            for number in range(50):
                broadcast(joined, f"message {number}")
            expected = [f"message {number}" for number in range(50)]
            assert await asyncio.gather(*listening) == [expected] * 100

    asyncio.run(main())


def test_the_server_goes_away() -> None:
    async def main() -> None:
        async with echo_server() as (server, uri):
            clients = [await connect(uri) for _ in range(30)]
            receiving = [asyncio.create_task(client.recv()) for client in clients]
            await asyncio.sleep(0)
            server.close()
            ended = await asyncio.gather(*receiving, return_exceptions=True)
            assert all(isinstance(one, ConnectionClosed) for one in ended), ended
            assert {client.close_code for client in clients} == {1001}
            await server.wait_closed()
            with pytest.raises(OSError):
                await connect(uri)

    asyncio.run(main())


def test_a_connection_that_is_cut() -> None:
    async def main() -> None:
        cut = asyncio.Event()

        async def handler(connection: ServerConnection) -> None:
            await connection.recv()
            connection.transport.abort()
            cut.set()

        async with serve(handler, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with connect(uri) as client:
                await client.send("now")
                await cut.wait()
                with pytest.raises(ConnectionClosedError):
                    await client.recv()
                assert client.close_code == 1006

    asyncio.run(main())


def test_pings_measure_and_a_peer_that_does_not_answer_is_dropped() -> None:
    async def main() -> None:
        async with echo_server(ping_interval=0.05, ping_timeout=5) as (_, uri):
            async with connect(uri, ping_interval=0.05) as client:
                for _ in range(5):
                    assert await (await client.ping()) >= 0
                await asyncio.sleep(0.3)
                assert client.latency > 0

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            with pytest.raises(TimeoutError):
                await connect(f"ws://127.0.0.1:{port}/", open_timeout=0.2)

    asyncio.run(main())


def test_refusals_and_subprotocols() -> None:
    async def main() -> None:
        def check(connection: ServerConnection, request: object) -> object:
            if request.path == "/closed":
                return connection.respond(HTTPStatus.FORBIDDEN, "no\n")
            return None

        async with serve(
            echo, "127.0.0.1", 0, process_request=check, subprotocols=["chat", "talk"]
        ) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{uri}/closed")
            assert refused.value.response.status_code == 403
            async with connect(f"{uri}/open", subprotocols=["talk"]) as client:
                assert client.subprotocol == "talk"

    asyncio.run(main())


def test_a_client_that_connects_again() -> None:
    async def main() -> None:
        async def once(connection: ServerConnection) -> None:
            await connection.send("hello")
            await connection.close()

        async with serve(once, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            greetings = []
            async for client in connect(uri):
                greetings += [message async for message in client]
                if len(greetings) == 20:
                    break
            assert greetings == ["hello"] * 20

    asyncio.run(main())


def test_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        async with unix_serve(echo, path), unix_connect(path) as client:
            for number in range(100):
                await client.send(str(number))
                assert await client.recv() == str(number)

    asyncio.run(main())


def test_blocking_clients_in_threads() -> None:
    async def main() -> None:
        async with echo_server() as (_, uri):
            answers: list[str | bytes] = []
            lock = threading.Lock()

            def talk(number: int) -> None:
                with connect_from_thread(uri) as client:
                    for turn in range(20):
                        client.send(f"{number}/{turn}")
                        answer = client.recv()
                        with lock:
                            answers.append(answer)

            await asyncio.gather(*[asyncio.to_thread(talk, number) for number in range(4)])
            expected = {f"{number}/{turn}" for number in range(4) for turn in range(20)}
            assert set(answers) == expected and len(answers) == 80

    asyncio.run(main())
