"""Somebody locks what logging in or looking has to read: it answers, or says on which rung it stopped, within 3 s."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from conftest import every_major
from running import diagnosed

from diag.lab.sessions import sessions

COMMANDS = ("pg-locks", "pg-long-tx", "pg-cache-hit")
CATALOGS = ("pg_class", "pg_authid", "pg_database", "pg_attribute", "pg_proc")
LOCKED_S = 3.0


@pytest.fixture
def shop(postgres):
    """A database beside `postgres`, whose catalogs can be locked without harm to other tests."""
    yield from beside(postgres.dsn)


def beside(dsn: str) -> Iterator[str]:
    """Make a database beside the one given, and drop it in the end."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS shop")
        admin.execute("CREATE DATABASE shop")
        yield dsn.replace("dbname=postgres", "dbname=shop")
        admin.execute("DROP DATABASE shop")


def look_while_locked(dsn: str, catalog: str, command: str) -> None:
    """Lock, look, and judge by the clock and by what is said."""
    with psycopg.connect(dsn) as rude:
        rude.execute(f"LOCK TABLE {catalog} IN ACCESS EXCLUSIVE MODE".encode())
        started = time.monotonic()
        report = diagnosed(command, "--dsn", dsn, "--samples", "1")
        took_s = time.monotonic() - started
        rude.rollback()
    assert took_s <= LOCKED_S
    if report["verdict"] == "unknown":
        said = " ".join(f"{gap['why']} {gap['fix']}" for gap in report["gaps"]) + str(report.get("error", ""))
        assert "lock" in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("catalog", CATALOGS)
def test_it_answers_or_explains_in_time(shop, catalog, command):
    look_while_locked(shop, catalog, command)


@pytest.mark.parametrize("major", [every_major()[0], every_major()[-1]])
def test_so_it_does_on_the_oldest_and_the_newest_while_others_wait(postgres_of, major):
    """Up to 13 the queue makes it call pg_blocking_pids, which is looked up in pg_proc."""
    for dsn in beside(postgres_of(major).dsn):
        for catalog in CATALOGS:
            with sessions(dsn) as lab:
                lab.setup("CREATE TABLE IF NOT EXISTS orders (id int)")
                lab.hold("holder", "BEGIN", "LOCK TABLE orders")
                lab.crowd(2, "reader", "SELECT count(*) FROM orders")
                look_while_locked(dsn, catalog, "pg-locks")


def test_with_pg_class_locked_another_database_still_shows_who_waits_for_whom(shop):
    with psycopg.connect(shop) as rude, psycopg.connect(shop, autocommit=True) as stuck:
        rude.execute("LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE")
        pid, mine = stuck.info.backend_pid, rude.info.backend_pid
        import threading

        waiter = threading.Thread(target=lambda: stuck.execute("SELECT count(*) FROM pg_class"), daemon=True)
        waiter.start()
        with psycopg.connect(shop.replace("dbname=shop", "dbname=postgres"), autocommit=True) as oracle:
            while not oracle.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s", (pid,)).fetchone():
                pass
        report = diagnosed("pg-locks", "--dsn", shop, "--limit", "pg-locks/lock-queue.waited_s=0")
        rude.rollback()
        waiter.join()
    waits = {wait["pid"]: wait for wait in report["facts"]["waits"]}
    assert waits[pid]["root_pid"] == mine
    assert waits[pid]["relation"].startswith("pg_catalog.pg_class in database ")
    assert "shop" in report["gaps"][0]["what"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_locked_user_table_keeps_nobody_waiting(shop, command):
    with psycopg.connect(shop, autocommit=True) as setup, psycopg.connect(shop) as rude:
        setup.execute("CREATE TABLE orders (id int)")
        rude.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        report = diagnosed(command, "--dsn", shop, "--samples", "1")
        assert time.monotonic() - started <= LOCKED_S
        rude.rollback()
    assert (report["verdict"], report["gaps"]) == ("clear", [])
