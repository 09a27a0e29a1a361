"""What a real Prometheus of ours does not say: partial answers, "not now", pages, floods, drips, and silence.

The server here is a small one of `http.server`; what it answers follows the API's own documentation.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from faultproxy import Fault, FaultProxy, full_port

from diag.config import PrometheusTarget
from diag.errors import Denied, Rung, TooSlow, Unreachable, Unreadable
from diag.snapshots.base import Scope
from diag.sources import prometheus as source
from diag.sources.prometheus import history, http
from diag.wire.probe import Deadline, Probe

GRACE_S = 0.5
HITS = "redis_keyspace_hits_total"
BEGAN = time.time()


class Server(ThreadingHTTPServer):
    """Keeps what was asked, and answers as told."""

    daemon_threads = True

    def __init__(self, answer):
        self.asked: list = []
        self.answer = answer
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """A client that has gone is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        words = parse_qs(parts.query or body)
        self.server.asked.append((self.command, parts.path, words, dict(self.headers)))
        self.server.answer(self, parts.path.rpartition("/")[2], words)

    do_POST = do_GET  # noqa: N815  http.server looks for that name

    def say(self, body, status=200, **headers):
        packed = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def answering(answer):
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def success(result, **more):
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


def healthy(handler, what, words, **more):
    """Answer as a Prometheus with one series of hits, 15 s apart."""
    now = time.time()
    if what == "series":
        handler.say({"status": "success", "data": [{"__name__": HITS, "instance": "a:1"}], **more})
    elif words["query"] == ["vector(1)"]:
        handler.say(success([{"metric": {}, "value": [now, "1"]}]))
    elif words["query"][0].startswith("count_over_time"):
        handler.say(success([{"metric": {"instance": "a:1"}, "value": [now, "4"]}]))
    else:
        samples = [[BEGAN - 60 + 15 * number, str(number)] for number in range(4)]
        handler.say(success([{"metric": {"__name__": HITS, "instance": "a:1"}, "values": samples}], **more))


def look(url, *, deadline_s=5.0, **target):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(PrometheusTarget(url=url, **target), probe) as session:
        return source.cache_history(session, Scope())


def refused(answer, kind, **target):
    """Return the error that a server with this one answer ends in."""
    with answering(lambda handler, *_: answer(handler)) as server, pytest.raises(kind) as raised:
        look(server.url, **target)
    return raised.value, len(server.asked)


def test_warnings_of_a_partial_answer_are_kept_and_are_gaps():
    partial = {"warnings": ["store 2 timed out"], "infos": ["a native histogram was ignored"]}
    with answering(lambda handler, what, words: healthy(handler, what, words, **partial)) as server:
        seen = look(server.url)
    assert [warning.raw for warning in seen.warnings] == ["store 2 timed out", "a native histogram was ignored"]
    assert seen.hits.totals == (0, 1, 2, 3)
    gap = seen.lacks("hits")
    assert (gap.what.raw, gap.why.raw) == ("all of cache hits", "Prometheus warns: store 2 timed out")


def test_a_list_of_series_that_is_partial_leaves_nothing_certain():
    def answer(handler, what, words):
        healthy(handler, what, words, **({"warnings": ["store 2 timed out"]} if what == "series" else {}))

    with answering(answer) as server:
        seen = look(server.url)
    assert {gap.fact for gap in seen.gaps if "timed out" in gap.why.raw} == {"hits", "misses", "queries"}


def test_who_we_are_stands_in_the_headers():
    with answering(healthy) as server:
        look(server.url, token="t0ken", tenant="shöp €")
        look(server.url, password="t1ken")
        look(server.url.replace("://", "://oncall:p%40ss@"))
    sent = [headers for *_, headers in server.asked]
    assert sent[0]["Authorization"] == "Bearer t0ken"
    assert sent[0]["X-Scope-OrgID"].encode("latin-1").decode() == "shöp €"
    assert sent[0]["User-Agent"] == "diag/test"
    assert {headers["Authorization"] for headers in sent} == {
        "Bearer t0ken",
        "Bearer t1ken",
        "Basic b25jYWxsOnBAc3M=",
    }


def test_one_connection_is_kept_and_every_request_is_counted():
    probe = Probe(Deadline(5))
    with (
        answering(healthy) as server,
        FaultProxy(server.server_address[1]) as proxy,
        probe,
        source.connect(PrometheusTarget(url=f"http://127.0.0.1:{proxy.port}"), probe) as session,
    ):
        source.cache_history(session, Scope())
    assert proxy.connections == 1
    assert probe.footprint.requests == len(server.asked) == 4
    assert probe.footprint.bytes_in == len(proxy.answers)


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_asked_once_more_after_the_time_it_says(status):
    turns = iter((status,))

    def answer(handler, what, words):
        if turn := next(turns, 0):
            handler.say("busy", turn, Retry_After="1")
        else:
            healthy(handler, what, words)

    started = time.monotonic()
    with answering(answer) as server:
        assert look(server.url).hits.totals == (0, 1, 2, 3)
    assert time.monotonic() - started >= 1
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_for_longer_than_there_is_time_is_told_at_once(status):
    started = time.monotonic()
    error, times = refused(lambda handler: handler.say("busy", status, Retry_After="3600"), TooSlow)
    assert (error.rung, times) == (Rung.QUERY, 1)
    assert time.monotonic() - started < 1


def test_never_now_is_asked_twice_and_no_more():
    error, times = refused(lambda handler: handler.say("no\x1b[31m", 503, Retry_After="0"), TooSlow)
    assert times == 2
    assert error.message == "it cannot answer now (503): no\\e[31m"


def error_answer(kind, said):
    return {"status": "error", "errorType": kind, "error": said}


@pytest.mark.parametrize(
    ("status", "body", "kind", "rung", "said"),
    [
        (401, "who?", Denied, Rung.AUTH, "(401): who?"),
        (403, "no", Denied, Rung.AUTHORISE, "(403): no"),
        (400, error_answer("bad_data", "parse error"), Unreadable, Rung.QUERY, "(400): parse error"),
        (422, error_answer("execution", "too many samples"), Unreadable, Rung.QUERY, "(422): too many samples"),
        (503, error_answer("timeout", "query timed out"), TooSlow, Rung.QUERY, "(503): query timed out"),
        (200, error_answer("internal", "odd"), Unreadable, Rung.QUERY, "(200): odd"),
        (200, "<!DOCTYPE html><title>Log in</title>", Unreachable, Rung.DECODE, "a web page answers (200)"),
        (404, "404 page not found", Unreachable, Rung.DECODE, "not Prometheus' API (404)"),
        (200, {"status": "success"}, Unreadable, Rung.DECODE, "not what the API promises"),
        (200, {"status": "success", "data": []}, Unreadable, Rung.DECODE, "not what the API promises"),
        (200, success([{"metric": 1}]), Unreadable, Rung.DECODE, "not what the API promises"),
        (200, success([]), Unreachable, Rung.DECODE, "vector(1)"),
        (200, "[]", Unreachable, Rung.DECODE, "not Prometheus' API"),
        (200, {"title": "some other API"}, Unreachable, Rung.DECODE, "not Prometheus' API"),
        (200, "[" * 100_000, Unreachable, Rung.DECODE, "not Prometheus' API"),
        (200, b'{"status":"success","data":"\xff"}', Unreadable, Rung.DECODE, "not what the API promises"),
        (200, b'{"status":"\xff"}', Unreachable, Rung.DECODE, "not Prometheus' API"),
        (200, b"", Unreachable, Rung.DECODE, "not Prometheus' API"),
        (500, "oops", Unreachable, Rung.DECODE, "(500): oops"),
    ],
)
def test_what_is_no_success_is_told_by_its_rung(status, body, kind, rung, said):
    error, times = refused(lambda handler: handler.say(body, status), kind)
    assert said in error.message
    assert (error.rung, times) == (rung, 1)
    assert error.fix


def test_no_redirect_is_followed():
    with answering(healthy) as elsewhere:
        where = elsewhere.url + "/login?next=Zq9secret"
        error, _ = refused(lambda handler: handler.say("", 302, Location=where), Unreachable, token="t0ken")
    assert elsewhere.asked == []
    assert error.message == f"it sends us on to {elsewhere.url}/login"


def test_an_endless_body_ends_at_its_bound(monkeypatch):
    monkeypatch.setattr(http, "_MOST_BYTES", 1_000_000)

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")

    error, times = refused(answer, Unreadable)
    assert error.message == "the answer is larger than 1 MB"
    assert times == 1


def test_a_packed_answer_is_bounded_unpacked(monkeypatch):
    monkeypatch.setattr(http, "_MOST_BYTES", 1_000_000)
    bomb = gzip.compress(b" " * 50_000_000)
    error, _ = refused(lambda handler: handler.say(bomb, 200, Content_Encoding="gzip"), Unreadable)
    assert "larger than 1 MB" in error.message


def test_a_span_that_is_too_much_at_once_is_asked_in_halves():
    spans = []

    def answer(handler, what, words):
        query = words.get("query", [""])[0]
        if not query.startswith(HITS):
            healthy(handler, what, words)
            return
        span_s = int(query.rpartition("[")[2][:-2])
        if span_s > 6_000:
            handler.say(error_answer("execution", "query processing would load too many samples into memory"), 422)
        else:
            spans.append((float(words["time"][0]) - span_s, float(words["time"][0])))
            healthy(handler, what, words)

    with answering(answer) as server:
        assert look(server.url).hits.totals == (0, 1, 2, 3)
    assert len(spans) == 4
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_too_many_series_or_samples_are_not_read():
    def wide(handler, what, words):
        if what == "series":
            listed = [{"__name__": HITS, "instance": str(number)} for number in range(history._MOST_SERIES + 1)]
            handler.say({"status": "success", "data": listed})
        else:
            healthy(handler, what, words)

    def long(handler, what, words):
        if words.get("query", [""])[0].startswith("count"):
            handler.say(success([{"metric": {}, "value": [0, "2000001"]}]))
        else:
            healthy(handler, what, words)

    for answer, said in ((wide, "201 series, 200 at most"), (long, "2000001 samples, 2000000 at most")):
        with answering(answer) as server:
            seen = look(server.url)
        assert seen.hits is None
        assert seen.lacks("hits").why.raw == said


@pytest.mark.parametrize("what", ["nan", "x", ""])
def test_a_value_that_is_no_number_is_no_crash(what):
    def answer(handler, asked, words):
        if words.get("query", [""])[0].startswith(HITS):
            handler.say(success([{"metric": {}, "values": [[time.time() - 9, what], [time.time() - 5, "7"]]}]))
        else:
            healthy(handler, asked, words)

    with answering(answer) as server:
        seen = look(server.url)
    if what == "nan":
        assert seen.hits.totals == (7,)
    else:
        assert seen.lacks("hits").why.raw == f"a sample is no number: {what!r}"


def test_a_drip_ends_at_the_deadline():
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b" ")
                time.sleep(0.05)

    started = time.monotonic()
    error, _ = refused_within(answer, 1.0)
    assert error.rung is Rung.QUERY
    assert 1.0 <= time.monotonic() - started <= 1.0 + GRACE_S


def refused_within(answer, deadline_s):
    with answering(lambda handler, *_: answer(handler)) as server:
        started = time.monotonic()
        with pytest.raises(TooSlow) as raised:
            look(server.url, deadline_s=deadline_s)
        return raised.value, time.monotonic() - started


def timed(url, deadline_s):
    started = time.monotonic()
    with pytest.raises((TooSlow, Unreachable)) as raised:
        look(url, deadline_s=deadline_s)
    return raised.value, time.monotonic() - started


def test_a_refused_port_is_told_at_once():
    error, took_s = timed("http://127.0.0.1:1", 5.0)
    assert (error.rung, error.message) == (Rung.CONNECT, "127.0.0.1:1 refused the connection")
    assert took_s < GRACE_S


def test_a_silent_server_is_given_up_at_the_deadline():
    with FaultProxy(1, Fault("silence")) as proxy:
        error, took_s = timed(f"http://127.0.0.1:{proxy.port}", 1.0)
    assert (error.rung, proxy.connections) == (Rung.QUERY, 1)
    assert 1.0 <= took_s <= 1.0 + GRACE_S


def test_a_port_whose_queue_is_full_is_given_up_at_the_deadline():
    with full_port() as port:
        error, took_s = timed(f"http://127.0.0.1:{port}", 1.0)
    assert error.rung is Rung.CONNECT
    assert took_s <= 1.0 + GRACE_S


@pytest.mark.parametrize("other", ["redis_server", "postgres"])
def test_a_port_of_another_system_is_told(request, other):
    error, took_s = timed(f"http://127.0.0.1:{request.getfixturevalue(other).port}", 3.0)
    assert (error.rung, error.message) == (Rung.DECODE, "the server closed the connection without a word")
    assert took_s < 1


@pytest.mark.parametrize(
    ("first", "said"),
    [(b"-ERR unknown command\r\n", "Redis"), (b"SSH-2.0-x\r\n", "an SSH server"), (b"hm\x1b[2J\n", "'hm")],
)
def test_what_does_not_speak_http_is_told(first, said):
    def answer(listening):
        connected, _ = listening.accept()
        with connected:
            connected.recv(65_536)
            connected.sendall(first)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        error, _ = timed(f"http://127.0.0.1:{listening.getsockname()[1]}", 3.0)
        thread.join()
    assert error.rung is Rung.DECODE
    assert error.message.startswith(f"this answers like {said}")
    assert error.message.isprintable()


@pytest.mark.parametrize("what", ["hang", "fin", "reset"])
def test_a_conversation_that_breaks_anywhere_is_told_in_time(what):
    with answering(healthy) as server:
        port = server.server_address[1]
        with FaultProxy(port) as whole:
            look(f"http://127.0.0.1:{whole.port}")
        size = len(whole.answers)
        for at_byte in range(0, size - 1, size // 7):
            with FaultProxy(port, Fault(what, at_byte)) as proxy:
                error, took_s = timed(f"http://127.0.0.1:{proxy.port}", 0.6)
            assert error.message, at_byte
            assert error.fix, at_byte
            assert took_s <= (0.6 if what == "hang" else 0.0) + GRACE_S


DELIMITERS = ["", "/", "@", "#", "?", ":", "[", "%zz", "%2F", "'", '"', "\\", " ", "|", "`", "é", "&", "=", "$x", "\n"]


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("user", ["", "oncall"])
def test_a_password_in_an_address_is_never_said(delimiter, user):
    """Well formed or as people type it: neither the reason, nor the fix, nor the address of the target has it."""
    with answering(lambda handler, *_: handler.say("who?", 401)) as server:
        url = server.url.replace("://", f"://{user}:Zq9left{delimiter}Zq9right@")
        with pytest.raises((Denied, Unreachable)) as raised:
            look(url)
    said = raised.value.message + raised.value.fix + PrometheusTarget(url=url).address
    assert "zq9" not in said.lower()
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("where", ["token", "tenant"])
def test_a_token_that_cannot_stand_in_a_header_is_not_quoted(where):
    with answering(healthy) as server, pytest.raises(Unreachable) as raised:
        look(server.url, **{where: "Zq9\nX-Evil: 1"})
    assert server.asked == []
    assert "Zq9" not in raised.value.message + raised.value.fix
