"""Whatever is wrong with the target: one gap of one line that names the rung, an exit code, and no password."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from running import diag, diagnosed

CANARY = "Zq9canary"
COMMANDS = ("pg-locks", "pg-long-tx", "pg-cache-hit")
LOGIN = ("auth", "authorise")  # a server says what it thinks of a login at either of the two
CASES = {
    "an unknown database": ("{server} user=postgres dbname=nowhere", LOGIN, "nowhere"),
    "a wrong password": ("{server} user=guest dbname=postgres", LOGIN, "password"),
    "no entry in pg_hba.conf": ("{server} user=stranger dbname=postgres", LOGIN, "pg_hba"),
    "nobody listens": ("host=127.0.0.1 port=1 user=guest", ("connect",), "refused"),
    "a name that does not resolve": ("host=nowhere.invalid user=guest", ("resolve",), "resolve"),
    "a port that is no number": ("host=127.0.0.1 port=x user=guest", ("connect",), "port"),
    "a string that nobody can parse": ("host='127.0.0.1 user=guest", ("resolve",), "cannot be parsed"),
}


@pytest.fixture(scope="module")
def server(postgres):
    """A role with a password, and one that no line of pg_hba.conf lets in."""
    rules = Path(postgres.data_folder) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(
        "\n".join(line for line in before.splitlines() if "all          all" not in line) + "\n"
        "host all guest 127.0.0.1/32 scram-sha-256\n"
    )
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'another'")
        admin.execute("CREATE ROLE stranger LOGIN PASSWORD 'another'")
        admin.execute("SELECT pg_reload_conf()")
        yield f"host=127.0.0.1 port={postgres.port}"
        rules.write_text(before)
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("DROP ROLE guest, stranger")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("dsn", "rungs", "word"), CASES.values(), ids=CASES.keys())
def test_it_is_one_line_with_its_rung_and_without_the_password(server, dsn, rungs, word, command):
    asked = f"{dsn.format(server=server)} password={CANARY}"
    report = diagnosed(command, "--dsn", asked)
    (gap,) = report["gaps"]
    assert (report["verdict"], gap["rung"] in rungs, word in gap["why"]) == ("unknown", True, True), gap
    assert len(gap["why"].splitlines()) == len(gap["fix"].splitlines()) == 1
    said = diag(command, "--dsn", asked)
    assert said.returncode == 69
    assert f"(rung {gap['rung']})" in " ".join(said.stdout.split())
    assert CANARY not in str(report) + said.stdout + said.stderr


def test_an_unknown_table_is_told_and_nothing_is_said_to_be_clear(server):
    report = diagnosed("pg-locks", "--dsn", f"{server} user=postgres dbname=postgres", "--table", "nowhere")
    (gap,) = report["gaps"]
    assert (report["verdict"], report["findings"]) == ("unknown", [])
    assert "nowhere" in gap["what"]
    assert "no relation of that name" in gap["why"]
