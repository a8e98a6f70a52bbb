"""TLS transports: what arrives, what is sent, and what is known of the connection."""

import asyncio
import gc
import os
import shutil
import ssl
import subprocess
import weakref

import pytest

import ferrio
from connected import BufferedRecorder, Recorder, run_until
from package_support import tls_contexts
from tls_peer import Clients, TlsConnection

pytest_plugins = ["tls_fixtures"]

# SSL_OP_ALLOW_CLIENT_RENEGOTIATION
ALLOW_CLIENT_RENEGOTIATION = 1 << 8

SIZES = [1, 2, 100, 1024, 16383, 16384, 16385, 100_000, 400_000]


def pattern(size):
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
def test_a_connection_from_its_beginning_to_its_end(loop, tls, server_side):
    connection = tls(server_side=server_side)
    protocol, peer = connection.protocol, connection.peer
    assert protocol.events == ["made"]
    assert protocol.transport is connection.transport
    peer.write(b"hello")
    connection.run_until(lambda: protocol.received)
    connection.transport.write(b"world")
    assert connection.receive(5) == b"world"
    peer.say_goodbye()
    connection.run_until(lambda: protocol.is_lost)
    assert protocol.events == ["made", ("data", b"hello"), "eof", ("lost", None)]
    # Our close_notify has come before the end of the stream.
    assert peer.say_goodbye()
    assert connection.transport.is_closing()


@pytest.mark.parametrize("size", SIZES)
def test_sizes(tls, size):
    connection = tls()
    data = pattern(size)
    connection.transport.write(data)
    assert connection.receive(size) == data
    connection.peer.write(data)

    def received():
        connection.peer.send_records()
        return len(connection.protocol.received) >= size

    connection.run_until(received)
    assert connection.protocol.received == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lent", [1, 64, 20_000, 300_000])
def test_buffered_protocols(tls, size, lent):
    # Each piece is a callback: with pieces of one byte a few hundred show what there is to see.
    size = min(size, 1_000 * lent)
    protocol = BufferedRecorder(lent)
    protocol.memory = memoryview(protocol.memory)
    connection = tls(protocol)
    data = pattern(size)
    connection.peer.write(data)

    def received():
        connection.peer.send_records()
        return len(protocol.received) >= size

    connection.run_until(received)
    assert protocol.received == data


def test_records_of_one_byte(tls):
    connection = tls()
    data = pattern(300)
    records = b"".join(connection.peer.encrypt(data[i : i + 1]) for i in range(len(data)))
    connection.peer.sock.sendall(records)
    connection.run_until(lambda: len(connection.protocol.received) >= len(data))
    assert connection.protocol.received == data
    # What has arrived together is told together.
    assert connection.protocol.names.count("data") < 10


def test_records_that_arrive_byte_by_byte(loop, tls):
    connection = tls()
    for byte in connection.peer.encrypt(b"first") + connection.peer.encrypt(b"second"):
        connection.peer.sock.sendall(bytes([byte]))
        loop.run_until_complete(asyncio.sleep(0))
    connection.run_until(lambda: len(connection.protocol.received) >= 11)
    assert connection.protocol.received == b"firstsecond"


def test_an_empty_record_is_nothing(tls):
    connection = tls()
    connection.transport.write(b"")
    connection.transport.writelines([b"", b"a", b""])
    connection.transport.writelines([])
    assert connection.receive(1) == b"a"
    assert connection.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize(
    "data",
    [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), memoryview(b"abcdef")[::1]],
    ids=["bytes", "bytearray", "memoryview", "slice"],
)
def test_what_can_be_written(tls, data):
    connection = tls()
    connection.transport.write(data)
    connection.transport.writelines(iter([data, b"!"]))
    expected = bytes(data) * 2 + b"!"
    assert connection.receive(len(expected)) == expected


@pytest.mark.parametrize("data", ["text", 3, None, [b"list"]])
def test_what_cannot_be_written(tls, data):
    connection = tls()
    with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got"):
        connection.transport.write(data)
    connection.transport.write(b"a")
    assert connection.receive(1) == b"a"


def test_text_among_lines_ends_the_connection(tls, reports):
    connection = tls()
    connection.transport.writelines([b"a", "text"])
    connection.run_until(lambda: connection.protocol.is_lost)
    report = reports.take_one()
    assert report["message"] == "Fatal error on SSL protocol"
    assert isinstance(report["exception"], TypeError)
    assert connection.protocol.lost_with is report["exception"]


@pytest.mark.parametrize("lines", [3, None, [3], [b"a", None]])
def test_lines_that_are_none(tls, lines):
    connection = tls()
    with pytest.raises(TypeError):
        connection.transport.writelines(lines)


def test_the_end_of_writing_alone_is_not_to_be_had(tls):
    transport = tls().transport
    assert transport.can_write_eof() is False
    with pytest.raises(NotImplementedError):
        transport.write_eof()


def test_what_is_known_of_the_connection(tls):
    contexts = tls_contexts()
    connection = tls(contexts=contexts)
    transport = connection.transport
    assert isinstance(transport, asyncio.Transport)
    assert transport.get_extra_info("sslcontext") is contexts[1]
    tls_object = transport.get_extra_info("ssl_object")
    assert isinstance(tls_object, ssl.SSLObject)
    assert transport.get_extra_info("cipher") == tls_object.cipher()
    assert transport.get_extra_info("compression") is None
    assert transport.get_extra_info("peercert") == tls_object.getpeercert()
    assert transport.get_extra_info("peername") == connection.peer.sock.getsockname()
    assert transport.get_extra_info("sockname") == connection.peer.sock.getpeername()
    assert transport.get_extra_info("socket").fileno() >= 0
    assert transport.get_extra_info("nothing") is None
    assert transport.get_extra_info("nothing", 3) == 3
    assert transport.get_extra_info(name="nothing", default=4) == 4
    assert transport.get_protocol() is connection.protocol


def test_names_that_libraries_use(tls):
    connection = tls()
    transport = connection.transport
    assert type(transport).__name__ == "_SSLProtocolTransport"
    assert transport._start_tls_compatible is True
    below = transport._ssl_protocol
    assert isinstance(below, asyncio.BufferedProtocol)
    assert below._app_transport is transport
    assert below._app_protocol is connection.protocol
    assert below._sslobj is transport.get_extra_info("ssl_object")
    assert below._transport.get_protocol() is below
    assert below._state.name == "WRAPPED"
    assert below._app_state.name == "STATE_CON_MADE"
    assert below._server_side is False
    assert below._server_hostname == "localhost"
    assert below._conn_lost == 0
    assert len(below._write_backlog) == below._write_buffer_size == 0
    assert transport._loop is connection.loop
    assert transport._closed is False
    assert transport._protocol_paused is False
    transport.write = "assignable"
    assert transport.write == "assignable"
    assert weakref.ref(transport)() is transport


def test_another_protocol(tls):
    connection = tls()
    second = Recorder()
    connection.transport.set_protocol(second)
    assert connection.transport.get_protocol() is second
    connection.peer.write(b"for the second")
    connection.run_until(lambda: second.received)
    third = BufferedRecorder()
    third.memory = memoryview(third.memory)
    connection.transport.set_protocol(third)
    connection.peer.write(b"for the third")
    connection.run_until(lambda: third.received)
    assert second.received == b"for the second"
    assert third.received == b"for the third"
    assert connection.protocol.events == ["made"]
    connection.protocol = third
    connection.transport.close()
    connection.peer.say_goodbye()
    connection.run_until(lambda: third.is_lost)


def test_another_protocol_takes_what_a_small_buffer_has_left(tls):
    """The rest of a record that a BufferedProtocol had no room for."""
    first = BufferedRecorder(4)
    first.memory = memoryview(first.memory)
    connection = tls(first)
    second = Recorder()
    first.on_data = lambda data: connection.transport.set_protocol(second)
    connection.peer.write(b"0123456789")
    connection.run_until(lambda: second.received)
    assert (first.received, second.received) == (b"0123", b"456789")
    connection.protocol = second


def test_server_names_and_application_protocols(loop, tls):
    server_context, client_context = tls_contexts()
    names = []
    server_context.sni_callback = lambda tls_object, name, context: names.append(
        (type(tls_object), name, context is server_context)
    )
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    connection = tls(server_side=True, contexts=(server_context, client_context))
    assert names == [(ssl.SSLObject, "localhost", True)]
    tls_object = connection.transport.get_extra_info("ssl_object")
    assert tls_object.selected_alpn_protocol() == "http/1.1"


def test_client_certificates(tls):
    server_context, client_context = tls_contexts()
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(cadata=authority_of(client_context))
    certificate = certificate_file()
    client_context.load_cert_chain(certificate)
    connection = tls(server_side=True, contexts=(server_context, client_context))
    certificate = connection.transport.get_extra_info("peercert")
    assert ("DNS", "localhost") in certificate["subjectAltName"]


def test_an_encrypted_key(tls):
    asked = []

    def password():
        asked.append("password")
        return "somepass"

    tls_contexts()  # Skips where there are no certificates.
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encrypted = certificate_file().with_name("keycert.passwd.pem")
    server_context.load_cert_chain(encrypted, password=password)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(encrypted)
    connection = tls(server_side=True, contexts=(server_context, client_context))
    connection.transport.write(b"signed with it")
    assert connection.receive(14) == b"signed with it"
    assert asked == ["password"]


@pytest.mark.keeps_something("the server's context keeps the sessions")
def test_a_session_is_resumed(loop):
    clients = Clients(loop, Recorder)
    try:
        first = clients.peer()
        # The ticket comes after the handshake.
        run_until(loop, lambda: first.read() or first.tls.session.has_ticket)
        second = clients.peer(first.tls.session)
        assert second.tls.session_reused
        for peer in first, second:
            peer.say_goodbye()
            run_until(loop, peer.say_goodbye)
    finally:
        clients.close()


def test_a_context_with_objects_of_its_own(tls):
    """Methods of an SSLObject that somebody has overridden are the ones that are called."""
    calls = []

    class Counting(ssl.SSLObject):
        def do_handshake(self):
            calls.append("do_handshake")
            return super().do_handshake()

        def read(self, *arguments):
            calls.append("read")
            return super().read(*arguments)

        def write(self, data):
            calls.append("write")
            return super().write(data)

        def unwrap(self):
            calls.append("unwrap")
            return super().unwrap()

    contexts = tls_contexts()
    contexts[1].sslobject_class = Counting
    for protocol in Recorder(), BufferedRecorder(100):
        if hasattr(protocol, "memory"):
            protocol.memory = memoryview(protocol.memory)
        connection = tls(protocol, contexts=contexts)
        connection.transport.write(pattern(50_000))
        assert connection.receive(50_000) == pattern(50_000)
        connection.peer.write(pattern(50_000))
        connection.run_until(lambda protocol=protocol: len(protocol.received) >= 50_000)
        assert protocol.received == pattern(50_000)
        connection.transport.close()
        connection.run_until(connection.peer.say_goodbye)
        connection.run_until(lambda protocol=protocol: protocol.is_lost)
        assert set(calls) == {"do_handshake", "read", "write", "unwrap"}
        calls.clear()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_of_the_protocol(tls, version):
    contexts = tls_contexts()
    contexts[0].minimum_version = contexts[0].maximum_version = version
    connection = tls(contexts=contexts)
    tls_object = connection.transport.get_extra_info("ssl_object")
    assert tls_object.version() == version.name.replace("_", ".")
    connection.peer.write(b"hello")
    connection.run_until(lambda: connection.protocol.received)


@pytest.mark.parametrize(
    ("version", "command", "said"),
    [
        ("-tls1_2", b"R\n", b"RENEGOTIATING"),
        ("-tls1_3", b"K\n", b"KEYUPDATE"),
        ("-tls1_3", b"k\n", b"KEYUPDATE"),
    ],
)
def test_renegotiation_and_new_keys(loop, version, command, said):
    """A client that renegotiates or changes its keys between two lines: `openssl s_client`."""
    protocols = []

    def make():
        protocols.append(Recorder())
        protocols[-1].on_data = lambda data: protocols[-1].transport.write(data)
        return protocols[-1]

    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    server_context = tls_contexts()[0]
    # OpenSSL refuses a client's renegotiation unless told otherwise; ssl has no name for that.
    server_context.options |= ALLOW_CLIENT_RENEGOTIATION
    clients = Clients(loop, make, context=server_context)
    try:
        port = clients.address[1]
        with subprocess.Popen(
            ["openssl", "s_client", version, "-connect", f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:

            def say(word):
                process.stdin.write(word)
                process.stdin.flush()

            os.set_blocking(process.stderr.fileno(), False)
            run_until(loop, lambda: protocols and protocols[0].events)
            say(b"before\n")
            run_until(loop, lambda: protocols[0].received == b"before\n")
            say(command)
            # It says so once it has begun.
            run_until(loop, lambda: said in (process.stderr.read() or b""))
            say(b"after\n")
            run_until(loop, lambda: protocols[0].received == b"before\nafter\n")
            process.stdin.close()
            run_until(loop, lambda: protocols[0].is_lost)
            output = process.stdout.read()
        assert protocols[0].received == b"before\nafter\n"
        assert b"before\n" in output and b"after\n" in output
    finally:
        clients.close()


def test_a_lost_connection_is_garbage(loop, tls):
    connection = tls()
    tracked = [
        weakref.ref(object)
        for object in (
            connection.transport,
            connection.transport._ssl_protocol,
            connection.protocol,
            connection.transport.get_extra_info("ssl_object"),
        )
    ]
    connection.transport.close()
    connection.run_until(connection.peer.say_goodbye)
    connection.run_until(lambda: connection.protocol.is_lost)
    connection.protocol.transport = connection.transport = connection.protocol = None
    tls.forget(connection)
    del connection
    run_until(loop, lambda: gc.collect() >= 0 and not any(each() for each in tracked))


def test_debug_mode(loop, tls):
    loop.set_debug(True)
    connection = tls()
    connection.peer.write(b"hello")
    connection.run_until(lambda: connection.protocol.received)
    connection.transport.close()
    connection.run_until(connection.peer.say_goodbye)
    connection.run_until(lambda: connection.protocol.is_lost)


def test_a_transport_that_nobody_closes(loop, implementation):
    connection = TlsConnection(loop)
    below = connection.transport._ssl_protocol._transport
    connection.transport._ssl_protocol._transport.pause_reading()
    with pytest.warns(ResourceWarning, match="unclosed transport <asyncio._SSLProtocolTransport"):
        connection.transport.__del__()
    below.abort()
    run_until(loop, lambda: connection.protocol.is_lost)
    connection.peer.close()


def authority_of(context):
    """The authorities that a context trusts, in DER."""
    return b"".join(context.get_ca_certs(binary_form=True))


def certificate_file():
    from pathlib import Path

    import test

    directory = Path(test.__file__).parent
    if (directory / "certdata").is_dir():
        directory /= "certdata"
    return directory / "keycert3.pem"


def test_the_backend_is_told():
    assert ferrio.tls_backend() == "memory-bio"


def test_the_backend_of_a_python_without_openssl(monkeypatch):
    monkeypatch.setattr("ferrio.tls.ssl", None)
    assert ferrio.tls_backend() is None
