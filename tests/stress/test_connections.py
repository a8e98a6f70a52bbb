"""Many connections that come, talk, stall, break off and are cancelled at any moment."""

import asyncio
import hashlib


async def _serve(handler):
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=1_000)
    return server, server.sockets[0].getsockname()


async def _close(writer):
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass


def test_connections_break_off_at_any_moment(run, chance):
    async def echo(reader, writer):
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            await _close(writer)

    async def visit(address):
        reader, writer = await asyncio.open_connection(*address)
        try:
            for _ in range(chance.randrange(1, 6)):
                data = chance.randbytes(chance.choice([1, 1_000, 100_000]))
                writer.write(data)
                assert await reader.readexactly(len(data)) == data
            if chance.random() < 0.3:
                writer.write(bytes(300_000))
                writer.transport.abort()
        finally:
            await _close(writer)

    async def main():
        server, address = await _serve(echo)
        loop = asyncio.get_running_loop()
        ends = loop.time() + 4
        visits = completed = 0
        while loop.time() < ends:
            tasks = [asyncio.create_task(visit(address)) for _ in range(20)]
            for task in tasks:
                if chance.random() < 0.4:
                    loop.call_later(chance.random() / 50, task.cancel)
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                visits += 1
                completed += result is None
                assert result is None or isinstance(result, asyncio.CancelledError), repr(result)
        assert completed > visits / 4
        server.close()
        await server.wait_closed()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    run(main())


def test_cancelled_connection_attempts_close_no_other_descriptor(run, chance):
    async def answer(reader, writer):
        name = await reader.readline()
        writer.write(name)
        await _close(writer)

    async def ask(address, name):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(name + b"\n")
            assert await reader.read() == name + b"\n"
        finally:
            await _close(writer)

    async def main():
        server, address = await _serve(answer)
        loop = asyncio.get_running_loop()
        ends = loop.time() + 3
        number = 0
        while loop.time() < ends:
            given_up = [asyncio.create_task(asyncio.open_connection(*address)) for _ in range(5)]
            asked = [
                asyncio.create_task(ask(address, b"%d" % (number + each))) for each in range(5)
            ]
            number += 5
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            for task in given_up:
                task.cancel()
            for result in await asyncio.gather(*given_up, return_exceptions=True):
                if not isinstance(result, BaseException):
                    await _close(result[1])
            await asyncio.gather(*asked)
        server.close()
        await server.wait_closed()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    run(main())


def test_slow_readers_get_every_byte_in_its_order(run, chance):
    size, clients = 2_000_000, 12

    async def receive(reader, writer):
        digest = hashlib.sha256()
        while data := await reader.read(chance.randrange(1, 200_000)):
            digest.update(data)
            if chance.random() < 0.05:
                await asyncio.sleep(0.002)
        writer.write(digest.hexdigest().encode())
        await _close(writer)

    async def send(address):
        reader, writer = await asyncio.open_connection(*address)
        digest = hashlib.sha256()
        left = size
        while left:
            data = chance.randbytes(min(left, chance.choice([1, 10, 1_000, 70_000, 300_000])))
            left -= len(data)
            digest.update(data)
            writer.write(data)
            if chance.random() < 0.5:
                await writer.drain()
        writer.write_eof()
        assert await reader.read() == digest.hexdigest().encode()
        await _close(writer)

    async def main():
        server, address = await _serve(receive)
        await asyncio.gather(*(send(address) for _ in range(clients)))
        server.close()
        await server.wait_closed()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    run(main())


def test_many_connections_at_once(run):
    connections = 400

    async def echo(reader, writer):
        while data := await reader.read(4_096):
            writer.write(data)
        await _close(writer)

    async def visit(address, everybody):
        reader, writer = await asyncio.open_connection(*address)
        await everybody.wait()
        for number in range(10):
            writer.write(b"%06d" % number)
            assert await reader.readexactly(6) == b"%06d" % number
        await _close(writer)

    async def main():
        server, address = await _serve(echo)
        everybody = asyncio.Barrier(connections)
        await asyncio.gather(*(visit(address, everybody) for _ in range(connections)))
        server.close()
        await server.wait_closed()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    run(main())
