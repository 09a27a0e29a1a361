"""Behind pgbouncer in transaction mode: start-up options are refused, the look works, and no setting leaks."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import psycopg
import pytest
from conftest import leave
from running import diagnosed

from diag.lab import folders, launch, process

_PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
_SETTINGS = """\
[databases]
postgres = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
user = postgres
"""
ASKED = ("statement_timeout", "lock_timeout", "default_transaction_read_only", "search_path", "client_encoding")


@pytest.fixture
def pooler(request, postgres):
    """A pgbouncer with one server connection, unless a test wants more: whatever leaks is seen by the next client."""
    size = getattr(request, "param", 1)
    if not Path(_PROGRAM).exists():
        leave("pgbouncer is not installed. Run: make deps")
    folder = folders.private_folder()
    folder.chmod(0o755)
    settings = folder / "pgbouncer.ini"

    def start(ports):
        settings.write_text(_SETTINGS.format(server=postgres.port, port=ports[0], size=size))
        settings.chmod(0o644)
        return process.spawn(
            [_PROGRAM, str(settings)], log=folder / "log", user="postgres", env={"PATH": "/usr/bin:/bin"}, cwd=folder
        )

    def is_ready(_, ports):
        try:
            psycopg.connect(f"host=127.0.0.1 port={ports[0]} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    pid, (port,) = launch.on_free_ports("pgbouncer", start, is_ready, ports=1, log=folder / "log", deadline_s=20.0)
    yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    process.stop(pid, 15)
    folders.remove(folder)


@pytest.mark.parametrize("command", ["pg-locks", "pg-long-tx", "pg-cache-hit"])
def test_a_look_through_a_pooler_is_whole_and_leaves_no_setting(pooler, command):
    with psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as client:
        before = [client.execute(f"SHOW {name}".encode()).fetchone() for name in ASKED]
    report = diagnosed(command, "--dsn", pooler)
    with psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as client:
        after = [client.execute(f"SHOW {name}".encode()).fetchone() for name in ASKED]
    assert (report["verdict"], report["gaps"]) == ("clear", [])
    assert before == after


def test_whoever_keeps_the_pool_is_named_and_not_the_pooler(pooler, postgres):
    """The server sees the pooler's address only; the client's own application name is still there."""
    with psycopg.connect(pooler, prepare_threshold=None, application_name="web-7") as forgetful:
        forgetful.execute("SELECT 1")
        waiting = psycopg.connect(pooler, autocommit=True, prepare_threshold=None, application_name="web-8")
        waiting.pgconn.send_query(b"SELECT 1")  # in the pooler's own queue: PostgreSQL does not know of it
        soon = ("--limit", "pg-long-tx/idle-in-transaction.idle_s=0", "--samples", "1")
        report = diagnosed("pg-long-tx", "--dsn", postgres.dsn, *soon)
        forgetful.rollback()
        waiting.close()
    assert [found["check"] for found in report["findings"]] == ["pg-long-tx/idle-in-transaction"]
    assert "web-7" in report["findings"][0]["summary"]


@pytest.mark.parametrize("pooler", [10], indirect=True)
def test_a_pool_used_up_by_one_client_is_told_by_that_client(pooler, postgres):
    """All ten connections idle in a transaction, others waiting in the pooler: no lock, and no lack of connections."""
    with contextlib.ExitStack() as opened:
        for _ in range(10):
            forgetful = psycopg.connect(pooler, prepare_threshold=None, application_name="web-7")
            opened.callback(forgetful.close)
            forgetful.execute("SELECT 1")
        for _ in range(5):
            waiting = psycopg.connect(pooler, autocommit=True, prepare_threshold=None, application_name="web-8")
            opened.callback(waiting.close)
            waiting.pgconn.send_query(b"SELECT 1")
        soon = ("--limit", "pg-long-tx/idle-in-transaction.idle_s=0", "--samples", "1")
        report = diagnosed("pg-long-tx", "--dsn", postgres.dsn, *soon)
        locks = diagnosed("pg-locks", "--dsn", postgres.dsn)
        with psycopg.connect(pooler.replace("dbname=postgres", "dbname=pgbouncer"), autocommit=True) as console:
            servers, clients = (rows(console, f"SHOW {what}") for what in ("SERVERS", "CLIENTS"))
    kept = {found["subject"]["pid"] for found in report["findings"]}
    links = {one["link"] for one in servers if int(one["remote_pid"]) in kept}
    assert {one["application_name"] for one in clients if one["ptr"] in links} == {"web-7"}
    assert all("remote_pid" in found["steps"][1]["expect"] for found in report["findings"])
    assert [found["check"] for found in report["findings"]] == ["pg-long-tx/idle-in-transaction"] * 10
    assert all("web-7" in found["summary"] for found in report["findings"])
    assert (locks["verdict"], locks["facts"]["waits"]) == ("clear", [])


def rows(console: psycopg.Connection, asked: str) -> list[dict]:
    """What pgbouncer's console answers; it knows the simple protocol only."""
    told = console.pgconn.exec_(asked.encode())
    names = [told.fname(column).decode() for column in range(told.nfields)]
    return [
        {name: (told.get_value(row, column) or b"").decode() for column, name in enumerate(names)}
        for row in range(told.ntuples)
    ]
