"""What a person pastes means exactly the name that was seen: read back by real shells and real PostgreSQL.

If the quoting breaks, these names are run. So what they would do is harmless, every line is read in
Python first and a wrong one never reaches a shell or a server, and the shells find no programs.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diag.findings import NoCommand, ShellCommand, SqlCommand, say
from diag.findings.commands import cancel_backend, rollback_prepared
from diag.report.pasting import Pasted, Withheld, pasted
from diag.report.phrasing import in_sight, phrased
from diag.text import KeyText, ServerText

NASTY = "'\"\\$`;|&<>(){}[]*?~#!-=% a\tb\n\r\x1b\x00\u202e\u200b\x9b/:@,.^é名🦉"
NAMES = st.text(st.sampled_from(NASTY)) | st.text(st.characters(exclude_categories=()))
PRINTABLE = st.text(st.sampled_from([char for char in NASTY if char.isprintable()])) | st.text(
    st.characters(exclude_categories=("C", "Z"))
)
KNOWN = [
    "",
    " ",
    "-rf",
    "--",
    "--group=x",
    "; echo ran",
    "$(echo ran)",
    "`echo ran`",
    "a'b",
    "a''b",
    "it's \\' end",
    "\\",
    "\\\\",
    "back\\slash'quote",
    "'; SELECT 'ran'; --",
    "E'\\''",
    "$$ $a$ :name :'name' :\"name\" %s {0} {name}",
    "!history ~ *?[a-z] {a,b}",
    'double " quote',
    "Ünïcode 名前 🦉",
]
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHELLS = ["sh", "bash", "dash"]
LITERAL = r"(?:'(?:[^'\\]|'')*'|E'(?:[^'\\]|''|\\\\)*'|-?\d+)"
ONE_STATEMENT = re.compile(
    rf"(?:SELECT|ROLLBACK PREPARED) {LITERAL}(?:, {LITERAL})*(?:::timestamptz AT TIME ZONE 'UTC')?;"
)
NO_PROGRAMS = {"PATH": "/nonexistent", "SHELL": "/nonexistent", "LC_ALL": "C.UTF-8"}


def shell_line(name):
    return pasted(ShellCommand(("diag", ("--group=", ServerText(name)), "--", ("", KeyText(name)))))


def contained(program, script):
    """Run a program on a script, in an empty folder that is its home too, with no other program in reach."""
    with tempfile.TemporaryDirectory() as nowhere:
        ran = subprocess.run(
            program,
            input=script.encode(),
            capture_output=True,
            check=True,
            timeout=30,
            cwd=nowhere,
            env=NO_PROGRAMS | {"HOME": nowhere},
        )
    assert ran.stderr == b""
    return ran.stdout.decode()


def read_by_shell(shell, lines, wanted):
    """Return what the shell makes of each line, all in one process; a line that looks wrong is not given to it."""
    assert [shlex.split(line) for line in lines] == wanted
    script = "".join(f"set -- {line}\nprintf '%s\\0' \"$@\"\nprintf '\\n\\0'\n" for line in lines)
    return [record.split("\0")[:-1] for record in contained([shell], script).split("\n\0")[:-1]]


@pytest.fixture(params=SHELLS)
def shell(request):
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not on this machine")
    return found


@SLOW
@given(st.lists(PRINTABLE, min_size=30, max_size=120))
def test_a_shell_reads_back_the_arguments_that_were_meant(shell, names):
    names = [*KNOWN, *names]
    lines = [shell_line(name) for name in names]
    assert all(isinstance(line, Pasted) and line.place == "shell" for line in lines)
    wanted = [["diag", f"--group={name}", "--", name] for name in names]
    assert read_by_shell(shell, [line.line for line in lines], wanted) == wanted


@given(NAMES)
def test_a_name_is_withheld_exactly_when_something_in_it_cannot_be_seen(name):
    in_shell, in_sql = shell_line(name), pasted(SqlCommand("SELECT {0};", (ServerText(name),)))
    expected = Pasted if name.isprintable() else Withheld
    assert isinstance(in_shell, expected)
    assert isinstance(in_sql, expected)
    for made in (in_shell, in_sql):
        if isinstance(made, Withheld):
            assert "cannot be pasted safely" in phrased(made.because, in_sight)
        else:
            assert made.line.isprintable()  # one line, and nothing hidden in it


@pytest.fixture
def server(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


def read_by_postgres(connection, line):
    """Send the line as psql sends it, in the simple query protocol; return its one row."""
    assert ONE_STATEMENT.fullmatch(line)
    result = connection.pgconn.exec_(line.encode())
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message.decode()
    assert result.ntuples == 1
    return [result.get_value(0, column).decode() for column in range(result.nfields)]


def select(*parameters):
    places = ", ".join(f"{{{number}}}" for number in range(len(parameters)))
    return pasted(SqlCommand(f"SELECT {places};", parameters)).line


@pytest.mark.parametrize("standard_conforming_strings", ["on", "off"])
@SLOW
@given(st.lists(PRINTABLE, min_size=30, max_size=120))
def test_postgresql_reads_back_the_names_that_were_meant(server, standard_conforming_strings, names):
    names = [*KNOWN, *names]
    server.execute(f"SET standard_conforming_strings = {standard_conforming_strings}")
    assert read_by_postgres(server, select(*map(ServerText, names))) == names


@SLOW
@given(st.lists(PRINTABLE, min_size=10, max_size=60))
def test_psql_sends_the_names_that_were_meant(postgres, names):
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not on this machine")
    names = [name for name in (*KNOWN, *names) if name]
    lines = [select(ServerText(name)) for name in names]
    assert [line for line in lines if not ONE_STATEMENT.fullmatch(line)] == []
    script = "\\set name wrong\n" + "".join(f"{line}\n" for line in lines)
    shown = contained([psql, "-XAtq0", postgres.dsn], script)
    assert shown.split("\0")[:-1] == names


def test_numbers_and_moments_are_read_back_too(server):
    at = datetime(2026, 1, 1, 8, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    (pid, moment) = read_by_postgres(server, select(4711, at).replace(";", "::timestamptz AT TIME ZONE 'UTC';"))
    assert (pid, moment) == ("4711", "2026-01-01 03:00:00.123456")


@pytest.mark.parametrize("gid", [name for name in KNOWN if name])
def test_a_prepared_transaction_is_rolled_back_by_the_pasted_line(private_gid, gid):
    connection = private_gid
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE never ()")
    connection.execute(psycopg.sql.SQL("PREPARE TRANSACTION {}").format(gid))
    line = pasted(rollback_prepared(ServerText(gid))).line
    assert ONE_STATEMENT.fullmatch(line)
    result = connection.pgconn.exec_(line.encode())
    assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message.decode()
    assert connection.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (0,)


@pytest.fixture(scope="module")
def private_gid(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


def test_a_step_without_a_command_says_why():
    assert pasted(NoCommand(say("nobody may"))) == Withheld(because=say("nobody may"))
    assert isinstance(pasted(cancel_backend(7, None)), Withheld)
    assert isinstance(pasted(cancel_backend(7, datetime(2026, 1, 1, tzinfo=UTC))), Pasted)
