"""A server that speaks German: the rung, the verdict and the way on do not depend on its words."""

from __future__ import annotations

import subprocess
import time

import psycopg
import pytest
from conftest import leave
from running import diagnosed

LOCALE = "de_DE.UTF-8"


@pytest.fixture
def german(private_postgres):
    """A private server with German messages; waits until they are German."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    if "de_DE.utf8" not in known:
        leave(f"no locale {LOCALE} on this machine. Run: make deps")
    return private_postgres(settings={"lc_messages": LOCALE})


def test_a_locked_catalog_is_not_taken_for_a_wrong_password(german):
    with psycopg.connect(german.dsn) as rude:
        rude.execute("LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        report = diagnosed("pg-locks", "--dsn", german.dsn)
        took_s = time.monotonic() - started
        rude.rollback()
    assert took_s <= 3.0
    assert "lock" in report["gaps"][0]["fix"]
    assert "password" not in report["gaps"][0]["fix"]


def test_an_unknown_database_is_told_in_the_servers_own_sentence(german):
    report = diagnosed("pg-locks", "--dsn", f"{german.dsn} dbname=nowhere")
    (gap,) = report["gaps"]
    assert report["verdict"] == "unknown"
    assert gap["rung"] in ("auth", "authorise")
    assert "existiert nicht" in gap["why"]
    assert gap["fix"].startswith("check user, password, database")


def test_a_full_server_is_not_taken_for_a_wrong_password_alone(german):
    """There is no SQLSTATE at login, and its words are German: a missing connection is thought of."""
    with psycopg.connect(german.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'only-for-tests' CONNECTION LIMIT 0")
    report = diagnosed("pg-locks", "--dsn", german.dsn.replace("user=postgres", "user=guest password=only-for-tests"))
    (gap,) = report["gaps"]
    assert (report["verdict"], gap["rung"] in ("auth", "authorise")) == ("unknown", True)
    assert "Verbindungen" in gap["why"]
    assert "whether a connection is left" in gap["fix"]
