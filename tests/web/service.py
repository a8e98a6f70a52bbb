"""A chat service with everything that a page can show; its clients are in the same process.

It prints the page's URL, then does what it is told on standard input: "block SECONDS" (in
a system call), "hold SECONDS" (in C code that holds the interpreter), "end".
"""

import argparse
import asyncio
import ctypes
import random
import sys
import time

import ferrio

TOKEN = "a-token-for-tests"


class Room:
    def __init__(self):
        self.writers = set()
        self.lock = asyncio.Lock()
        self.history = asyncio.Queue(maxsize=100)

    async def handle_client(self, reader, writer):
        self.writers.add(writer)
        try:
            while line := await reader.readline():
                async with self.lock:
                    await self.broadcast(line)
                self.history.put_nowait(line) if not self.history.full() else None
        finally:
            self.writers.discard(writer)
            writer.close()

    async def broadcast(self, line):
        for writer in random.sample(sorted(self.writers, key=id), min(4, len(self.writers))):
            writer.write(line)

    async def archive(self):
        while True:
            lines = [await self.history.get()]
            await asyncio.to_thread(self.store, lines)

    def store(self, lines):
        time.sleep(0.02)


async def speak(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    listening = asyncio.create_task(listen(reader), name=f"listener-{number}")
    try:
        while True:
            writer.write(b"hello from %d\n" % number)
            await asyncio.sleep(random.uniform(0.05, 0.5))
    finally:
        listening.cancel()
        writer.close()


async def listen(reader):
    while await reader.readline():
        pass


async def clean_up(lock):
    while True:
        async with lock:
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.1)


async def wait_for_clean_up(lock):
    while True:
        async with lock:
            await asyncio.sleep(0.05)


async def supervise():
    async with asyncio.TaskGroup() as group:
        for name in ("mail", "push", "index"):
            group.create_task(tick(), name=f"worker-{name}")


async def tick():
    while True:
        await asyncio.sleep(2)


def read_slow_disk(seconds):
    time.sleep(seconds)


def hold_interpreter(seconds):
    # A function of C that is called with the interpreter held.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


async def obey(commands):
    """Do what is said on standard input."""
    while True:
        words = (await commands.get()).split()
        if not words or words[0] == "end":
            return
        command, seconds = words[0], float(words[1])
        read_slow_disk(seconds) if command == "block" else hold_interpreter(seconds)


async def chat(arguments):
    room = Room()
    server = await asyncio.start_server(room.handle_client, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    others = [
        asyncio.create_task(speak(port, number), name=f"speaker-{number}")
        for number in range(arguments.clients)
    ]
    lock = asyncio.Lock()
    others += [
        asyncio.create_task(room.archive(), name="archivist"),
        asyncio.create_task(clean_up(lock), name="janitor"),
        asyncio.create_task(wait_for_clean_up(lock), name="patient"),
        asyncio.create_task(supervise(), name="supervisor"),
    ]
    return others


async def main(arguments):
    commands = asyncio.Queue()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    others = [] if arguments.empty else await chat(arguments)

    async def read_commands():
        while line := await reader.readline():
            commands.put_nowait(line.decode())
        commands.put_nowait("end")

    reading = asyncio.create_task(read_commands(), name="command-reader")
    with ferrio.serve_metrics(token=TOKEN) as server:
        print(server.url, flush=True)
        await asyncio.create_task(obey(commands), name="commander")
    for task in (reading, *others):
        task.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--empty", action="store_true")
    ferrio.run(main(parser.parse_args()), watchdog=0.1)
