"""gRPC AsyncIO, client and server, without generated code: every answer is checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import trustme

SERVICE = "apps.Echo"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Echo:
    """A service with one method of each kind. Messages are bytes."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        if "wait" in metadata:
            try:
                await asyncio.sleep(float(metadata["wait"]))
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if "abort" in metadata:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, metadata["abort"])
        context.set_trailing_metadata((("length", str(len(request))),))
        return request

    async def count(
        self, request: bytes, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        try:
            for number in range(int(request)):
                yield str(number).encode()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def total(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> bytes:
        return str(sum([int(request) async for request in requests])).encode()

    async def talk(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request[::-1]

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Total": grpc.stream_unary_rpc_method_handler(self.total),
                "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            },
        )


@asynccontextmanager
async def service(tls: bool = False) -> AsyncIterator[tuple[Echo, grpc.aio.Channel]]:
    echo = Echo()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers([echo.handler()])
    if tls:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        key = certificate.private_key_pem.bytes()
        chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, chain)]))
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        channel = grpc.aio.secure_channel(f"localhost:{port}", credentials, options=OPTIONS)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
    await server.start()
    async with channel:
        yield echo, channel
    await server.stop(5)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_every_kind_of_call(tls: bool) -> None:
    async def main() -> None:
        async with service(tls) as (_, channel):
            call = channel.unary_unary(f"/{SERVICE}/Unary")(b"hello")
            assert await call == b"hello"
            assert dict(await call.trailing_metadata()) == {"length": "5"}
            assert await call.code() is grpc.StatusCode.OK

            count = channel.unary_stream(f"/{SERVICE}/Count")
            assert [int(one) async for one in count(b"1000")] == list(range(1000))

            total = channel.stream_unary(f"/{SERVICE}/Total")

            async def numbers() -> AsyncIterator[bytes]:
                for number in range(1000):
                    yield str(number).encode()

            assert await total(numbers()) == b"499500"

            talk = channel.stream_stream(f"/{SERVICE}/Talk")()
            for number in range(200):
                await talk.write(f"message {number}".encode())
                assert await talk.read() == f"message {number}".encode()[::-1]
            await talk.done_writing()
            assert await talk.read() is grpc.aio.EOF

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_large_messages(tls: bool) -> None:
    async def main() -> None:
        async with service(tls) as (_, channel):
            unary = channel.unary_unary(f"/{SERVICE}/Unary")
            generator = random.Random(1)
            for size in (0, 1, 16383, 16384, 16385, 1 << 20, (16 << 20) + 1):
                data = generator.randbytes(size)
                assert await unary(data) == data

    asyncio.run(main())


def test_many_calls_at_once() -> None:
    async def main() -> None:
        async with service() as (_, channel):
            unary = channel.unary_unary(f"/{SERVICE}/Unary")
            requests = [f"request {number}".encode() * (number % 50) for number in range(1000)]
            assert await asyncio.gather(*map(unary, requests)) == requests
            count = channel.unary_stream(f"/{SERVICE}/Count")

            async def listen(length: int) -> list[bytes]:
                return [one async for one in count(str(length).encode())]

            lengths = [len(one) for one in await asyncio.gather(*map(listen, range(100)))]
            assert lengths == list(range(100))

    asyncio.run(main())


def test_deadlines() -> None:
    async def main() -> None:
        async with service() as (echo, channel):
            unary = channel.unary_unary(f"/{SERVICE}/Unary")
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await unary(b"", timeout=0.1, metadata=(("wait", "60"),))
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await unary(b"", metadata=(("wait", "60"),))
            assert await unary(b"in time", timeout=60, metadata=(("wait", "0.05"),)) == b"in time"
            async with asyncio.timeout(20):
                while echo.cancelled < 2:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_calls_that_are_cancelled() -> None:
    async def main() -> None:
        async with service() as (echo, channel):
            unary = channel.unary_unary(f"/{SERVICE}/Unary")

            async def wait_long() -> bytes:
                return await unary(b"", metadata=(("wait", "60"),))

            tasks = [asyncio.create_task(wait_long()) for _ in range(100)]
            await asyncio.sleep(0.2)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
            async with asyncio.timeout(20):
                while echo.cancelled < 100:
                    await asyncio.sleep(0.01)

            counting = channel.unary_stream(f"/{SERVICE}/Count")(b"100000000")
            assert await counting.read() == b"0"
            assert counting.cancel()
            with pytest.raises(asyncio.CancelledError):
                while True:
                    await counting.read()
            assert await counting.code() is grpc.StatusCode.CANCELLED
            assert await unary(b"still there") == b"still there"

    asyncio.run(main())


def test_errors_reach_the_client() -> None:
    async def main() -> None:
        async with service() as (_, channel):
            with pytest.raises(grpc.aio.AioRpcError) as aborted:
                await channel.unary_unary(f"/{SERVICE}/Unary")(b"", metadata=(("abort", "why"),))
            assert aborted.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert aborted.value.details() == "why"
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.stream_unary(f"/{SERVICE}/Total")(iter([b"no number"]))
            assert raised.value.code() is grpc.StatusCode.UNKNOWN
            with pytest.raises(grpc.aio.AioRpcError) as missing:
                await channel.unary_unary(f"/{SERVICE}/Nothing")(b"")
            assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(main())


def test_a_server_that_stops_lets_calls_finish() -> None:
    async def main() -> None:
        echo = Echo()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([echo.handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            unary = channel.unary_unary(f"/{SERVICE}/Unary")
            finishing = [unary(b"short", metadata=(("wait", "0.3"),)) for _ in range(10)]
            endless = unary(b"long", metadata=(("wait", "60"),))
            await asyncio.sleep(0.1)
            await server.stop(1.5)
            assert [await call for call in finishing] == [b"short"] * 10
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await endless

    asyncio.run(main())


def test_one_loop_after_the_other() -> None:
    async def main(number: int) -> bytes:
        async with service() as (_, channel):
            return await channel.unary_unary(f"/{SERVICE}/Unary")(str(number).encode())

    assert [asyncio.run(main(number)) for number in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
