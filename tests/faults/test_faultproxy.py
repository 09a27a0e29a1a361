"""Each fault of the proxy is what it says, seen by a plain socket client."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faultproxy import NOTHING, Fault, FaultProxy, full_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT_S = 0.3
_WORDS = bytes(range(256)) * 4


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while got := self.request.recv(65_536):
                self.request.sendall(got)


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """A server that says what it hears."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def _client(port: int, patience_s: float = 5.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), patience_s) as client:
        yield client


def _heard(client: socket.socket, count: int) -> bytes:
    """Read up to `count` bytes: fewer when the stream ends before."""
    got = b""
    while len(got) < count and (piece := client.recv(count - len(got))):
        got += piece
    return got


def test_nothing_goes_wrong_and_every_byte_is_counted(echo_port: int) -> None:
    with FaultProxy(echo_port) as proxy:
        for _ in range(2):
            with _client(proxy.port) as client:
                client.sendall(_WORDS)
                assert _heard(client, len(_WORDS)) == _WORDS
    assert proxy.connections == 2
    assert proxy.to_server_bytes == 2 * len(_WORDS)
    assert bytes(proxy.answers) == 2 * _WORDS


def test_a_large_answer_passes_whole_to_a_client_that_reads_late(echo_port: int) -> None:
    much = os.urandom(8_000_000)
    with FaultProxy(echo_port) as proxy, _client(proxy.port) as client:
        sender = threading.Thread(target=client.sendall, args=(much,))
        sender.start()
        assert _heard(client, len(much)) == much
        sender.join()


def test_silence_accepts_and_answers_nothing(echo_port: int) -> None:
    with FaultProxy(echo_port, Fault("silence")) as proxy, _client(proxy.port, _SHORT_S) as client:
        client.sendall(_WORDS)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert proxy.to_server_bytes == len(_WORDS)


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_hang_keeps_the_connection_and_says_no_more(echo_port: int, count: int) -> None:
    with FaultProxy(echo_port, Fault("hang", count)) as proxy, _client(proxy.port, _SHORT_S) as client:
        client.sendall(_WORDS)
        assert _heard(client, count) == _WORDS[:count]
        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_fin_ends_the_stream_in_order(echo_port: int, count: int) -> None:
    with FaultProxy(echo_port, Fault("fin", count)) as proxy, _client(proxy.port) as client:
        client.sendall(_WORDS)
        assert _heard(client, len(_WORDS)) == _WORDS[:count]


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_reset_reaches_a_client_that_is_blocked_in_recv(echo_port: int, count: int) -> None:
    with FaultProxy(echo_port, Fault("reset", count)) as proxy, _client(proxy.port) as client:
        client.sendall(_WORDS)
        assert _heard(client, count) == _WORDS[:count]
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("offset", [0, 9, 1023])
def test_a_flip_changes_one_byte(echo_port: int, offset: int) -> None:
    with FaultProxy(echo_port, Fault("flip", offset)) as proxy, _client(proxy.port) as client:
        client.sendall(_WORDS)
        got = _heard(client, len(_WORDS))
        assert [place for place in range(len(_WORDS)) if got[place] != _WORDS[place]] == [offset]
        assert got[offset] == _WORDS[offset] ^ 0xFF


def test_a_delay_holds_every_piece_back(echo_port: int) -> None:
    with FaultProxy(echo_port, Fault("delay", delay_s=0.2)) as proxy, _client(proxy.port) as client:
        for _ in range(2):
            started = time.monotonic()
            client.sendall(b"ping")
            assert _heard(client, 4) == b"ping"
            assert 0.2 <= time.monotonic() - started < 0.4


def test_a_drip_comes_at_its_rate(echo_port: int) -> None:
    with FaultProxy(echo_port, Fault("drip", bytes_per_s=100)) as proxy, _client(proxy.port) as client:
        started = time.monotonic()
        client.sendall(_WORDS[:30])
        assert _heard(client, 30) == _WORDS[:30]
        assert 0.28 <= time.monotonic() - started < 0.6


def test_a_fault_toward_the_server_leaves_the_answers_alone(echo_port: int) -> None:
    with FaultProxy(echo_port, Fault("hang", 3, toward="server")) as proxy, _client(proxy.port, _SHORT_S) as client:
        client.sendall(_WORDS)
        assert _heard(client, 3) == _WORDS[:3]
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_answers_can_be_rewritten(echo_port: int) -> None:
    with FaultProxy(echo_port) as proxy, _client(proxy.port) as client:
        proxy.rewrite = (b"9092", b"1234")
        client.sendall(b"port 9092.")
        assert _heard(client, 10) == b"port 1234."


def test_a_connection_keeps_the_fault_it_began_with(echo_port: int) -> None:
    with FaultProxy(echo_port) as proxy, _client(proxy.port) as before:
        before.sendall(b"a")
        assert _heard(before, 1) == b"a"
        proxy.fault = Fault("fin", 0)
        with _client(proxy.port) as after:
            after.sendall(b"a")
            assert after.recv(1) == b""
        proxy.fault = NOTHING
        before.sendall(b"b")
        assert _heard(before, 1) == b"b"


def test_a_server_that_is_down_ends_the_clients_connection() -> None:
    with FaultProxy(_closed_port()) as proxy, _client(proxy.port) as client:
        assert client.recv(1) == b""


def test_a_full_port_neither_accepts_nor_refuses() -> None:
    with full_port() as port, pytest.raises(TimeoutError), _client(port, _SHORT_S):
        pass


def test_nothing_is_left_of_a_proxy_with_open_connections(echo_port: int) -> None:
    threads, files = threading.active_count(), _open_files()
    with contextlib.ExitStack() as held:
        for what in ("nothing", "silence", "hang", "fin", "reset", "drip"):
            proxy = held.enter_context(FaultProxy(echo_port, Fault(what)))
            held.enter_context(_client(proxy.port)).sendall(b"x")
    deadline = time.monotonic() + 5  # the server's own threads end when they notice
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert _open_files() == files


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
