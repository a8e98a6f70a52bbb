"""What a process has in use: counts that a program which can be repeated must not change."""

import asyncio
import ctypes
import gc
import linecache
import re
import socket
import sys
import typing
from types import ModuleType

import ferrio
from ferrio import _ferrio, deadlocks

_clear_caches_of_types = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


class _Mallinfo2(ctypes.Structure):
    """What glibc's mallinfo2() returns, in its order."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),
        )
    )


_mallinfo2 = ctypes.CDLL(None).mallinfo2
_mallinfo2.restype = _Mallinfo2


class Counter:
    """One number that grows when something is not given back."""

    def __init__(self, name: str, unit: str, least: int) -> None:
        self.name = name
        self.unit = unit
        # What a leak adds at least each time. Less is the granularity of what is counted.
        self.least = least

    def read(self) -> int:
        raise NotImplementedError


class Blocks(Counter):
    """Blocks that Python's allocator has handed out: nearly every Python object is one."""

    def __init__(self) -> None:
        super().__init__("blocks", "blocks of Python's allocator", 1)

    def read(self) -> int:
        return sys.getallocatedblocks()


class Heap(Counter):
    """Bytes of malloc: what Rust allocates, and Python's large objects."""

    def __init__(self) -> None:
        super().__init__("heap", "bytes of malloc", 16)

    def read(self) -> int:
        info = _mallinfo2()
        return info.uordblks + info.hblkhd


class References(Counter):
    """References to objects that live as long as the process: ferrio's and asyncio's names."""

    def __init__(self) -> None:
        super().__init__("references", "references to objects that last", 1)
        self.lasting = _lasting_objects()

    def read(self) -> int:
        return sum(map(sys.getrefcount, self.lasting.values()))

    def each(self) -> dict[str, int]:
        """Return each object's own count, to say which one it was."""
        return {name: sys.getrefcount(each) for name, each in self.lasting.items()}


def _lasting_objects() -> dict[str, object]:
    """Name classes, functions and constants of the modules that ferrio works with."""
    found: dict[int, tuple[str, object]] = {}
    modules: list[ModuleType] = [_ferrio, ferrio, asyncio]
    modules += [each for name, each in sorted(sys.modules.items()) if name.startswith("asyncio.")]
    for module in modules:
        for name, each in vars(module).items():
            found.setdefault(id(each), (f"{module.__name__}.{name}", each))
    for each in (None, True, False, 0, "", (), b"", NotImplemented, Ellipsis):
        found.setdefault(id(each), (repr(each), each))
    return dict(found.values())


# More than any free list of ferrio's holds.
MORE_THAN_KEPT = 300


def fill_free_lists() -> None:
    """Make so many objects of the native types at once that their free lists are full afterwards.

    Where a list is not yet full, an object that is dropped stays in use, which is no leak.
    """

    async def receive(loop: asyncio.AbstractEventLoop) -> None:
        pairs = [socket.socketpair() for _ in range(MORE_THAN_KEPT)]
        for one, other in pairs:
            one.setblocking(False)
            other.send(b"x")
        await asyncio.gather(*(loop.sock_recv(one, 1) for one, _ in pairs))
        for one, other in pairs:
            one.close()
            other.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(MORE_THAN_KEPT)]
        waiting = [asyncio.create_task(wait(each)) for each in futures]
        sleeping = [asyncio.create_task(ferrio.sleep(0.001)) for _ in futures]
        handles = [loop.call_soon(int) for _ in futures]
        handles += [loop.call_later(0, int) for _ in futures]
        handles += [loop.call_soon_threadsafe(int) for _ in futures]
        await asyncio.sleep(0)
        for each in futures:
            each.set_result(None)
        await asyncio.gather(*waiting, *sleeping)
        await receive(loop)

    async def wait(future: asyncio.Future[None]) -> None:
        await future

    ferrio.run(main())
    gc.collect()


def settle(*, thoroughly: bool = False) -> None:
    """Let go of what caches and cycles still hold.

    ``thoroughly``: look at what gc.freeze() has set aside, too, which takes longer.
    """
    if thoroughly:
        gc.unfreeze()
    linecache.clearcache()
    re.purge()
    # So many deadlocks are remembered, and no more.
    deadlocks._told.clear()
    deadlocks._suspected.clear()
    # The cache of attributes of types holds their names, found by their addresses.
    _clear_caches_of_types()
    for clear in typing._cleanups:  # type: ignore[attr-defined]
        clear()
    # What a collection frees may hold what the next one finds.
    for _ in range(3):
        gc.collect()
