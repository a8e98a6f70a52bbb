"""``inspect.signature`` of what is native: as asyncio's own, as far as names go."""

import asyncio
import asyncio.queues
import inspect
import sys

import pytest

import ferrio
from ferrio import _ferrio

# The native classes with the classes in whose place they stand.
CLASSES = {
    _ferrio.EventLoop: asyncio.BaseEventLoop,
    ferrio.EventLoop: asyncio.SelectorEventLoop,
    _ferrio.StreamTransport: asyncio.Transport,
    _ferrio.TlsTransport: asyncio.Transport,
    _ferrio.DatagramTransport: asyncio.DatagramTransport,
    _ferrio.ReadPipeTransport: asyncio.ReadTransport,
    _ferrio.WritePipeTransport: asyncio.WriteTransport,
    _ferrio.TlsProtocol: asyncio.BufferedProtocol,
}
for name in dir(_ferrio):
    native = getattr(_ferrio, name)
    if isinstance(native, type) and not name.startswith("_") and hasattr(asyncio, name):
        CLASSES.setdefault(native, getattr(asyncio, name))

# Methods of asyncio's of which inspect itself knows nothing, by their documentation.
KNOWN = {
    ("Future", "add_done_callback"): ["self", "fn", "context"],
    ("Task", "add_done_callback"): ["self", "fn", "context"],
}

# What ferrio's have beside asyncio's, or instead.
EXTRA = {
    # asyncio's from 3.14.
    ("Task", "__init__"): {"eager_start"},
}


def callables(native):
    for name in sorted(dir(native)):
        if not name.startswith("_") and callable(getattr(native, name)):
            yield name


def names(function):
    return list(inspect.signature(function).parameters)


METHODS = [(native, name) for native in CLASSES for name in callables(native)]


@pytest.mark.parametrize(
    ("native", "name"), METHODS, ids=[f"{native.__name__}.{name}" for native, name in METHODS]
)
def test_a_methods_parameters(native, name):
    ours = names(getattr(native, name))
    original = getattr(CLASSES[native], name, None)
    known = KNOWN.get((native.__name__, name))
    if known is None:
        if original is None:
            return  # There is nothing to compare with, but a signature there is.
        try:
            known = names(original)
        except ValueError:
            return  # asyncio's is in C and has none.
    if inspect.isfunction(inspect.unwrap(getattr(native, name))):
        # Written in Python, it has the parameters of later versions as well.
        ours = [each for each in ours if each in known]
    assert ours == known


@pytest.mark.parametrize("native", list(CLASSES), ids=lambda native: native.__name__)
def test_a_class_can_be_asked(native):
    original = CLASSES[native]
    if native.__name__ in _UNINITIALISED or issubclass(native, asyncio.BaseTransport):
        return
    assert set(names(original)) <= set(names(native)) | _LEFT_OUT
    assert set(names(native)) - set(names(original)) <= EXTRA.get(
        (native.__name__, "__init__"), set()
    )


# Made by the loop only, or with other arguments than asyncio's, which nobody makes either.
_UNINITIALISED = {
    "EventLoop",
    "StreamTransport",
    "TlsTransport",
    "TlsProtocol",
    "DatagramTransport",
    "ReadPipeTransport",
    "WritePipeTransport",
    "Handle",
    "TimerHandle",
    "FlowControlMixin",
}
# The parameter with which locks and queues reject `loop` up to 3.11.
_LEFT_OUT = {"kwargs"} if sys.version_info < (3, 12) else set()


def test_every_public_callable_of_every_native_class_has_a_signature():
    missing = []
    for name in dir(_ferrio):
        native = getattr(_ferrio, name)
        if not isinstance(native, type) or issubclass(native, BaseException):
            continue
        for method in callables(native):
            try:
                inspect.signature(getattr(native, method))
            except ValueError:
                missing.append(f"{name}.{method}")
    assert missing == []


@pytest.mark.parametrize("name", sorted(ferrio.__all__))
def test_what_the_package_exports_can_be_asked(name):
    exported = getattr(ferrio, name)
    if isinstance(exported, type) or not callable(exported):
        return
    if exported is getattr(asyncio, name, None) and inspect.isbuiltin(exported):
        pytest.skip("asyncio's own")
    inspect.signature(exported)


def test_documentation_is_what_it_was():
    assert _ferrio.Queue.put_nowait.__doc__.startswith("Add an item") or (
        "\n--\n" not in _ferrio.Queue.put_nowait.__doc__
    )
    for native in CLASSES:
        assert "--\n" not in (native.__doc__ or "")
        for name in callables(native):
            assert "--\n" not in (getattr(native, name).__doc__ or "")


def test_what_can_be_given_by_name():
    async def main():
        queue = ferrio.Queue(maxsize=2)
        queue.put_nowait(item=1)
        loop = asyncio.get_running_loop()
        handle = loop.call_later(delay=50, callback=print)
        handle.cancel()
        future = loop.create_future()
        future.cancel(msg="no")
        bound = inspect.signature(loop.call_soon).bind(print, 1, 2, context=None)
        assert bound.arguments == {"callback": print, "args": (1, 2), "context": None}

    ferrio.run(main())
