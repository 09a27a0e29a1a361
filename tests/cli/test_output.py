"""Where a report goes and how it looks there: files, colours, widths, and readers that go away."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest
from running import diag

from diag import places

DEMO = str(places.demo_evidence())
REPLAY = ("kafka-lag", "--from", DEMO)  # critical: exit 2
SGR = re.compile(r"\x1b\[[0-9;]*m")
DIAG = (sys.executable, "-m", "diag")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DIAG_", "REDIS_", "KAFKA_"))}


def on_terminal(*words, columns=80, **environment):
    """Run the command with a terminal for stdout; return its code and what stood there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(
        [*DIAG, *words], stdout=theirs, stderr=subprocess.DEVNULL, env=CLEAN | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    shown = bytearray()
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other end is closed: EIO on Linux
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return child.wait(timeout=30), shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("name", "begins"), [("x.md", "# kafka-lag"), ("x.json", '{"schema"'), ("x.txt", "CRITICAL"), ("x", "CRITICAL")]
)
def test_the_name_of_the_file_chooses_the_format(name, begins, tmp_path):
    file = tmp_path / name
    ran = diag(*REPLAY, "-o", str(file))
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "")
    assert file.read_text().startswith(begins)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_the_flag_beats_the_name(tmp_path):
    diag(*REPLAY, "-o", str(tmp_path / "x.md"), "-f", "json")
    assert json.loads((tmp_path / "x.md").read_text())["verdict"] == "critical"


def test_a_file_is_replaced_whole_so_that_whoever_reads_the_old_one_keeps_it(tmp_path):
    file, kept = tmp_path / "x.md", tmp_path / "old"
    file.write_text("old report")
    os.link(file, kept)
    diag(*REPLAY, "-o", str(file))
    assert kept.read_text() == "old report"
    assert file.read_text().startswith("# kafka-lag")


@pytest.mark.parametrize("place", ["missing/x.md", ".", "x.md/below.md", "a" * 300])
def test_a_place_that_cannot_be_written_is_one_line(place, tmp_path):
    (tmp_path / "x.md").write_text("old report")
    ran = diag(*REPLAY, "-o", str(tmp_path / place))
    assert (ran.returncode, ran.stdout) == (64, "")
    assert "cannot be written" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.md"]
    assert (tmp_path / "x.md").read_text() == "old report"


def test_colour_is_for_terminals_and_for_those_who_ask():
    plain = diag(*REPLAY).stdout
    assert not SGR.search(plain)
    assert not SGR.search(diag(*REPLAY, "--color", "never").stdout)
    always = diag(*REPLAY, "--color", "always").stdout
    assert SGR.sub("", always) == plain != always


@pytest.mark.parametrize(
    ("words", "environment", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),  # no-color.org: only when it is not empty
        ((), {"TERM": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("-f", "markdown"), {}, False),
        (("-f", "json"), {}, False),
    ],
)
def test_a_terminal_gets_colour_unless_somebody_objects(words, environment, coloured):
    code, shown = on_terminal(*REPLAY, *words, **environment)
    assert code == 2
    assert bool(SGR.search(shown)) == coloured


def test_the_flag_beats_the_variable():
    always = diag(*REPLAY, "--color", "always", environment={"NO_COLOR": "1"}).stdout
    assert always == diag(*REPLAY, "--color", "always").stdout


@pytest.mark.parametrize("width", [1, 20, 100])
def test_any_width_is_good_enough(width):
    on_wire = diag(*REPLAY, environment={"COLUMNS": str(width)})
    on_screen = on_terminal(*REPLAY, "--color", "never", columns=width, COLUMNS="")
    for code, shown in ((on_wire.returncode, on_wire.stdout), on_screen):
        assert code == 2
        assert shown.startswith("CRITICAL")
        prose = [line for line in shown.splitlines() if line and not line.startswith(" ")]
        assert max(map(len, prose)) <= max(width, 20)


@pytest.mark.parametrize("columns", ["", "0", "-5", "wide", "9" * 30])
def test_a_width_that_is_none_is_passed_over(columns):
    assert diag(*REPLAY, environment={"COLUMNS": columns}).returncode == 2


def test_quiet_says_less_and_verbose_more():
    quiet, plain, verbose = (diag("kafka-lag", "--from", DEMO, *more).stdout for more in (("-q",), (), ("-v",)))
    assert len(quiet) < len(plain) <= len(verbose)
    assert quiet.startswith("CRITICAL")


@pytest.mark.parametrize("words", [REPLAY, ("checks", "list"), ("pg-locks", "--help"), ("nonsense", "-f", "json")])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_changes_no_code_and_brings_no_traceback(words, closed):
    expected = {"kafka-lag": 2, "nonsense": 64}.get(words[0], 0) if "--help" not in words else 0
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *DIAG, *words],
        capture_output=True,
        text=True,
        env=CLEAN,
        check=False,
        timeout=30,
    )
    assert ran.returncode == expected
    assert "Traceback" not in ran.stderr
    assert "bug" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (REPLAY, 2),
        ((*REPLAY, "-f", "json"), 2),
        (("checks", "list"), 0),
        (("pg-locks", "--help"), 0),
        (("config", "sample"), 0),
        (("--help",), 0),
    ],
)
def test_a_reader_that_has_gone_away_is_no_error(words, code):
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [*DIAG, *words], stdout=writer, stderr=subprocess.PIPE, text=True, env=CLEAN, check=False, timeout=30
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (code, "")


def test_head_gets_its_line():
    ran = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *DIAG, *REPLAY],
        capture_output=True,
        text=True,
        env=CLEAN,
        check=False,
        timeout=30,
    )
    assert ran.stdout.startswith("CRITICAL")
    assert ran.stderr == ""


def test_a_watch_ends_when_nobody_reads_it_any_more(redis_server):
    words = ("cache-stampede", "--redis-url", redis_server.url, "--watch", "0.1", "-f", "json")
    with subprocess.Popen(
        [*DIAG, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=CLEAN,
        preexec_fn=_interruptible,  # noqa: PLW1509  as above
    ) as child:
        assert child.stdout is not None
        reports = [json.loads(child.stdout.readline()) for _ in range(3)]
        child.stdout.close()
        assert child.wait(timeout=10) in (0, 1)
        assert child.stderr is not None
        assert child.stderr.read() == ""
    assert [report["command"] for report in reports] == ["cache-stampede"] * 3


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LC_ALL": "C"}, REPLAY),
        (ASCII, REPLAY),
        (ASCII, ("checks", "explain", "pg-locks/lock-queue")),
        (ASCII, ("runbook", "show", "pg-locks/lock-queue")),
        (ASCII, ("nonsense-é🦉",)),
        (LATIN, REPLAY),
        (LATIN, ("config", "sample")),
        (LATIN, ("nonsense-é🦉", "-f", "json")),
        (ASCII, ("config", "sample")),
    ],
)
def test_any_locale_will_do(environment, words):
    ran = subprocess.run([*DIAG, *words], capture_output=True, env=CLEAN | environment, check=False, timeout=30)
    assert ran.returncode == {"kafka-lag": 2, "nonsense-é🦉": 64}.get(words[0], 0)
    assert b"bug" not in ran.stderr
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("home", [None, "", "relative", "/nonexistent/home", "/proc", "/" + "a" * 300])
def test_any_home_will_do(home):
    environment = {name: value for name, value in CLEAN.items() if name != "HOME" and not name.startswith("XDG_")}
    environment |= {} if home is None else {"HOME": home}
    ran = subprocess.run([*DIAG, *REPLAY], capture_output=True, text=True, env=environment, check=False, timeout=30)
    assert (ran.returncode, ran.stderr) == (2, "")


@pytest.fixture
def stalled():
    """A listener that accepts by the kernel alone and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


def _interruptible():
    """Undo what a shell does to its background jobs: they are started with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "words",
    [
        ("pg-locks", "--dsn", "host=127.0.0.1 port={} user=x dbname=x"),
        ("cache-stampede", "--redis-url", "redis://127.0.0.1:{}/0"),
    ],
    ids=lambda words: words[0],
)
def test_an_interrupted_look_still_leaves_its_report(words, number, stalled):
    port = stalled.getsockname()[1]
    words = [word.format(port) for word in words]
    with subprocess.Popen(
        [*DIAG, *words, "--format", "json", "--deadline", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=CLEAN,
        preexec_fn=_interruptible,  # noqa: PLW1509  one signal call in the child, before any thread
    ) as child:
        accepted, _ = stalled.accept()
        with accepted:
            accepted.recv(1)  # the look is under way
            started = time.monotonic()
            child.send_signal(number)
            out, err = child.communicate(timeout=20)
    made = json.loads(out)
    assert time.monotonic() - started < 3
    assert (child.returncode, made["verdict"], err) == (130, "unknown", "")
    assert [gap["why"] for gap in made["gaps"]] == ["the look was interrupted"]


def test_an_interrupted_watch_leaves_whole_lines(redis_server):
    words = ("cache-stampede", "--redis-url", redis_server.url, "--watch", "60", "-f", "json")
    with subprocess.Popen(
        [*DIAG, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=CLEAN,
        preexec_fn=_interruptible,  # noqa: PLW1509  as above
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, err = child.communicate(timeout=20)
    assert json.loads(first)["command"] == "cache-stampede"
    assert (child.returncode, rest, err) == (130, "", "")
