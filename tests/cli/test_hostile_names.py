"""Names that want to be more than names, on real servers, through the real command, in every format."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
import redis
from markdown_it import MarkdownIt
from psycopg import sql
from running import diag

from diag.lab.kafka_lag import dead_group
from diag.lab.servers import Servers
from diag.text import visible

NAMES = [
    "\x1b[31mred\x1b]8;;http://evil\x07",
    "two\nlines\r|a cell|",
    "``` [/] [red] [link=http://evil]x",
    "\u202egnp\u200b\x9b31m",
    "<script>alert()</script>",
    "x](javascript:alert()) `",
    "$(echo ran) `echo ran` ' -- ; %s {x}",
]


def looked(*words):
    """Return what a command prints in each format; nothing may be said beside it."""
    said = {}
    for shape in ("text", "markdown", "json", "nagios"):
        ran = diag(*words, "--format", shape)
        assert (ran.returncode, ran.stderr) in {(1, ""), (2, "")}, ran.stderr
        said[shape] = ran.stdout
    return said


def harmless(said, names):
    """Every name is shown in every format, and obeyed in none."""
    assert all(line.isprintable() for line in said["text"].split("\n"))
    assert said["nagios"][:-1].isprintable()
    assert said["nagios"].count("|") == 1
    tokens = MarkdownIt("commonmark").enable("table").parse(said["markdown"])
    inline = [child for token in tokens for child in token.children or ()]
    assert not {"link_open", "image", "html_inline", "html_block"} & {token.type for token in (*tokens, *inline)}
    assert all(line.isprintable() for line in said["markdown"].split("\n"))
    spans = [token.content for token in inline if token.type == "code_inline"]
    made = json.loads(said["json"])
    subjects = [
        value for finding in made["findings"] for value in finding["subject"].values() if isinstance(value, str)
    ]
    for name in names:
        assert any(visible(name).replace("|", "\\u007c") in span for span in spans), name
        assert any(name in subject for subject in subjects), name
    return made


def test_redis_keys(private_redis):
    server = private_redis()
    with redis.Redis(port=server.port) as client:
        pipe = client.pipeline()
        for name in NAMES:
            for number in range(150):
                pipe.set(f"{name}:{number}".encode(), "x", ex=300)
        pipe.set(b"\xff\xfe not utf-8", "x")
        for number in range(150):
            pipe.set(b"\x9b\xff:%d" % number, "x", ex=300)
        pipe.execute()
    said = looked("cache-stampede", "--redis-url", server.url, "--limit", "expiry-cliff.keys=100")
    made = harmless(said, NAMES)
    assert len(made["findings"]) == len(NAMES) + 1
    assert "\\x9b\\xff:{n}" in [finding["subject"]["pattern"] for finding in made["findings"]]
    printable = [finding for finding in made["findings"] if finding["subject"]["pattern"].isprintable()]
    withheld = [step for finding in made["findings"] for step in finding["steps"] if "withheld" in step]
    assert len(withheld) >= len(made["findings"]) - len(printable)


def test_redis_keys_by_their_whole_names(private_redis):
    server = private_redis(directives=["maxmemory-policy allkeys-lfu"])
    with redis.Redis(port=server.port) as client:
        client.mset({**{name.encode(): "x" * 999 for name in NAMES}, b"\xff\xfe not utf-8": "x" * 999})
    limits = ("--limit", "big-key.collection_bytes=900", "--limit", "big-key.most=20")
    made = harmless(looked("cache-hot-keys", "--redis-url", server.url, *limits), NAMES)
    assert len(made["findings"]) == len(NAMES) + 1
    commands = [step.get("command", "") for finding in made["findings"] for step in finding["steps"]]
    assert all(line.isprintable() for line in commands if line)


def waits_for(connection, pid):
    """Wait until the backend waits for a lock. Raises `AssertionError` when it does not."""
    ends = time.monotonic() + 10
    query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    while connection.execute(query, (pid,)).fetchone() != ("Lock",):
        assert time.monotonic() < ends, "nobody waited"
        time.sleep(0.01)


@contextmanager
def blocked(dsn, table, application_name):
    """Somebody holds the table, and somebody else waits for it."""
    named = psycopg.conninfo.make_conninfo(dsn, application_name=application_name)
    reading = sql.SQL("SELECT 'secret-literal', * FROM {}").format(sql.Identifier(table))
    with (
        psycopg.connect(dsn, autocommit=True) as admin,
        psycopg.connect(named) as holder,
        psycopg.connect(named) as waiter,
    ):
        admin.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(table)))
        holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        waiting = threading.Thread(target=waiter.execute, args=(reading,))
        waiting.start()
        try:
            waits_for(admin, waiter.info.backend_pid)
            yield
        finally:
            holder.rollback()
            waiting.join()
            waiter.rollback()
            admin.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(table)))


@pytest.mark.parametrize("name", NAMES[:4], ids=ascii)
def test_postgresql_tables_and_clients(postgres, name):
    with blocked(postgres.dsn, name, name):
        said = looked("pg-locks", "--dsn", postgres.dsn, "--limit", "lock-queue.waited_s=0")
    made = harmless(said, [name])
    assert name in made["facts"]["waits"][0]["query"]
    assert "secret-literal" not in "".join(said.values())


def test_a_kafka_group(kafka):
    name = "".join(NAMES[:5])
    with dead_group.broken(Servers(kafka=kafka), group=name):
        words = ("kafka-lag", "--bootstrap-servers", kafka.bootstrap_servers, "--samples", "1")
        harmless(looked(*words, "--topic", "events-*"), [name])
