"""A stand-in for a language model: a slow TCP server that says back what it was asked.

    python -m chat.model_server --port 9100

It answers `{"prompt": "one two"}` with the tokens `You`, `asked:`, `one`, `two`, one JSON
object a line, with a pause before each. A prompt that begins with `slow` keeps its asker
waiting for twenty seconds first.
"""

import argparse
import asyncio
import json
import signal

FIRST_TOKEN_AFTER = 0.005
NEXT_TOKEN_AFTER = 0.001
SLOW_PROMPT_TAKES = 20.0


async def answer(prompt: str, writer: asyncio.StreamWriter) -> None:
    """Write the answer to a prompt, token by token."""
    await asyncio.sleep(SLOW_PROMPT_TAKES if prompt.startswith("slow") else FIRST_TOKEN_AFTER)
    for token in ["You", "asked:", *prompt.split()]:
        writer.write(json.dumps({"token": token}).encode() + b"\n")
        await writer.drain()
        await asyncio.sleep(NEXT_TOKEN_AFTER)
    writer.write(b'{"done": true}\n')
    await writer.drain()


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client's questions until it hangs up."""
    try:
        while line := await reader.readline():
            await answer(json.loads(line)["prompt"], writer)
    except ConnectionError:
        pass  # It did not want to hear the rest.
    finally:
        writer.close()


async def main(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await asyncio.start_server(serve_client, host, port)
    print(f"model server on port {server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A slow model server that echoes its prompt.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.host, arguments.port))
