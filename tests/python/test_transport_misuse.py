"""ferrio's own classes in wrong hands: an error, never a crash."""

import asyncio
import contextlib
import gc
import socket

import pytest

import ferrio
from connected import Recorder, run_until, unix_pair
from ferrio import _ferrio
from ferrio.transports import SocketTransport


@pytest.fixture
def own_loop(watched):
    loop = ferrio.EventLoop()
    yield loop
    loop.close()


@pytest.fixture
def sock():
    ours, peer = unix_pair()
    ours.setblocking(False)
    with ours, peer:
        yield ours


def end(loop, transport):
    transport.abort()
    run_until(loop, lambda: transport._sock is None)


def test_a_foreign_loop(sock, watched):
    loop = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError, match="loop of ferrio"):
        SocketTransport(loop, sock, Recorder())
    with pytest.raises(TypeError):
        SocketTransport(None, sock, Recorder())
    loop.close()
    assert sock.fileno() >= 0


@pytest.mark.parametrize("not_a_socket", [None, 5, "socket", object()])
def test_no_socket(own_loop, not_a_socket):
    with pytest.raises(AttributeError):
        SocketTransport(own_loop, not_a_socket, Recorder())


def test_a_socket_that_says_something_odd(own_loop):
    class Odd(socket.socket):
        def fileno(self):
            return "seven"

    odd = Odd(socket.AF_UNIX, socket.SOCK_STREAM)
    with pytest.raises(TypeError):
        _ferrio.StreamTransport(own_loop, odd, Recorder(), {})
    odd.close()


def test_an_object_that_behaves_like_a_socket(own_loop, sock):
    class Wrapper:
        """What some libraries pass: the real socket inside, found by its methods."""

        def __getattr__(self, name):
            return getattr(sock, name)

    protocol = Recorder()
    transport = SocketTransport(own_loop, Wrapper(), protocol)
    transport.write(b"hello")
    transport.close()
    run_until(own_loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", ("lost", None)]
    assert sock.fileno() == -1


def test_missing_and_unknown_arguments(own_loop, sock):
    with pytest.raises(TypeError):
        _ferrio.StreamTransport()
    with pytest.raises(TypeError):
        _ferrio.StreamTransport(own_loop, sock, Recorder())
    with pytest.raises(TypeError):
        _ferrio.StreamTransport(own_loop, sock, Recorder(), {}, None, "more")
    with pytest.raises(TypeError):
        _ferrio.StreamTransport(own_loop, sock, Recorder(), {}, unknown=1)


METHODS = {
    "abort": (),
    "can_write_eof": (),
    "close": (),
    "get_extra_info": ("socket",),
    "get_protocol": (),
    "get_write_buffer_limits": (),
    "get_write_buffer_size": (),
    "is_closing": (),
    "is_reading": (),
    "pause_reading": (),
    "resume_reading": (),
    "set_protocol": (None,),
    "set_write_buffer_limits": (),
    "write": (b"x",),
    "writelines": ([b"x"],),
    "write_eof": (),
    "_start_reading": (),
    "_force_close": (None,),
    "_fatal_error": (ValueError(),),
    "_call_connection_lost": (None,),
    "_make_empty_waiter": (),
    "_reset_empty_waiter": (),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_transport_that_was_never_initialised(method, watched):
    for cls in (SocketTransport, _ferrio.StreamTransport):
        transport = cls.__new__(cls)
        assert "fd=-1" in repr(transport)
        for _ in range(2):
            with contextlib.suppress(RuntimeError, AttributeError, OSError):
                getattr(transport, method)(*METHODS[method])
        for name in dir(transport):
            getattr(transport, name, None)


def test_initialising_twice(own_loop, sock):
    transport = SocketTransport(own_loop, sock, Recorder())
    with pytest.raises(RuntimeError, match="initialised already"):
        transport.__init__(own_loop, sock, Recorder())
    end(own_loop, transport)
    with pytest.raises(RuntimeError, match="initialised already"):
        transport.__init__(own_loop, sock, Recorder())


def test_the_native_class_by_itself(own_loop, sock):
    transport = _ferrio.StreamTransport(own_loop, sock, Recorder(), {"peername": "somebody"})
    assert isinstance(transport, asyncio.Transport)
    assert transport.get_extra_info("peername") == "somebody"
    assert not hasattr(transport, "__dict__")
    end(own_loop, transport)


def test_what_may_not_be_assigned(own_loop, sock):
    transport = SocketTransport(own_loop, sock, Recorder())
    for name in ("_sock", "_loop", "_protocol", "_closing", "_conn_lost", "_sock_fd"):
        with pytest.raises(AttributeError):
            setattr(transport, name, None)
    end(own_loop, transport)


def test_bytes_that_write_when_they_die(own_loop, sock):
    # Dropping what was sent runs a finalizer, which comes back to the transport.
    class Bytes(bytes):
        def __del__(self):
            if len(written) < 10:
                written.append(1)
                transport.write(Bytes(b"again"))

    written = []
    protocol = Recorder()
    transport = SocketTransport(own_loop, sock, protocol)
    own_loop.call_soon(lambda: transport.write(Bytes(b"first")))
    run_until(own_loop, lambda: len(written) == 10)
    transport.write(Bytes(b"outside"))
    transport.close()
    run_until(own_loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", ("lost", None)]


def test_a_protocol_without_the_methods_of_one(own_loop, sock):
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        with pytest.raises(AttributeError):
            SocketTransport(own_loop, sock, object())
        gc.collect()
    assert sock.fileno() == -1
