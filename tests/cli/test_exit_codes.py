"""What a script sees: exit codes, and one clear line for whatever cannot be done."""

from __future__ import annotations

import json
import os
import socket

import msgspec
import pytest
from worlds import consumer_group, family, gap, kafka_lag, lock, pg_locks, redis_expiry

from diag import catalog
from diag.cli.run import _run
from diag.snapshots.base import to_wire
from diag.snapshots.postgres import LockMode
from diag.store.evidence import EvidenceWriter


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """Neither the person's configuration nor their variables take part."""
    for name in os.environ:
        if name.startswith(("PG", "DIAG_", "REDIS_", "KAFKA_", "DATABASE_URL", "NO_COLOR", "COLUMNS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def diag(capfd):
    """Run the command line in this process; return its code and what it said."""

    def run(*words):
        code = int(_run([str(word) for word in words]))
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def queue(waiting, *, gaps=()):
    held = lock(LockMode.ACCESS_EXCLUSIVE, pid=1)
    return pg_locks(held, *[lock(LockMode.ACCESS_SHARE, pid=2 + n, waited_s=41.0) for n in range(waiting)], gaps=gaps)


EMPTY = consumer_group("g", state="Empty", members=0)
WORLDS = {
    "clear": ("pg-locks", pg_locks()),
    "warning": ("pg-locks", queue(1)),
    "critical": ("pg-locks", queue(10)),
    "unknown": ("pg-locks", pg_locks(gaps=(gap("locks"),))),
    "warning, rest unknown": ("kafka-lag", kafka_lag(EMPTY, (0, 10, None), gaps=(gap("record_times"),))),
    "critical, rest unknown": ("kafka-lag", kafka_lag(EMPTY, (0, 10, 61.0), gaps=(gap("record_times"),))),
}
LATE = {"critical, rest unknown": ("--limit", "time-lag.warning_s=100")}  # so that only the other check finds


@pytest.fixture
def recorded(tmp_path):
    """Write a world down as an evidence file; return its command and the file."""

    def record(name):
        command, frame = WORLDS[name]
        file = tmp_path / "world.diag"
        with EvidenceWriter(file, {}, force=True) as writer:
            body = msgspec.json.encode({"target": "default", "fact": frame}, enc_hook=to_wire)
            writer.add(frame.target.kind, type(frame).__name__, body)
        return (command, "--from", file, *LATE.get(name, ()))

    return record


CODES = {  # world: code with --fail-on warning, critical, never
    "clear": (0, 0, 0),
    "warning": (1, 0, 0),
    "critical": (2, 2, 0),
    "unknown": (3, 3, 3),
    "warning, rest unknown": (1, 3, 3),
    "critical, rest unknown": (2, 2, 3),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_verdict_decides_and_fail_on_masks_everything_but_unknown(name, diag, recorded):
    words = recorded(name)
    assert diag(*words)[0] == CODES[name][0]
    assert tuple(diag(*words, "--fail-on", severity)[0] for severity in ("warning", "critical", "never")) == CODES[name]


@pytest.mark.parametrize("name", WORLDS)
def test_a_monitor_gets_one_line_and_the_same_codes(name, diag, recorded):
    code, out, err = diag(*recorded(name), "--format", "nagios")
    assert (code, err) == (CODES[name][0], "")
    word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[code]
    assert out.split(" - ")[0].endswith(word)
    assert out.count("\n") == 1


@pytest.mark.parametrize("name", WORLDS)
def test_json_says_the_same_verdict(name, diag, recorded):
    _, out, _ = diag(*recorded(name), "--format", "json")
    assert json.loads(out)["verdict"] == name.partition(",")[0]


USAGE = [  # words, what the one line on stderr must say
    (("pg-lokcs",), ["'pg-lokcs'", "pg-locks"]),
    (("nonsense",), ["'nonsense'", "diag --help"]),
    (("pg-locks", "--limti", "x"), ["--limti", "--limit"]),
    (("pg-locks", "--bootstrap-servers", "x"), ["--bootstrap-servers"]),
    (("pg-locks", "orders"), ["orders"]),
    (("pg-locks", "--deadline", "soon"), ["--deadline", "soon"]),
    (("pg-locks", "--deadline", "0"), ["--deadline", "0.1"]),
    (("pg-locks", "--deadline", "nan"), ["--deadline", "nan"]),
    (("pg-locks", "--watch", "nan"), ["--watch", "nan"]),
    (("kafka-lag", "--interval", "nan"), ["--interval", "nan"]),
    (("kafka-lag", "--samples", "0"), ["--samples"]),
    (("pg-locks", "--dsn"), ["--dsn"]),
    (("pg-locks", "--format", "xml"), ["--format", "'xml'", "json"]),
    (("pg-locks", "--fail-on", "error"), ["--fail-on", "'error'", "never"]),
    (("pg-locks", "--color", "yes"), ["--color", "'yes'", "always"]),
    (("pg-locks", "--only", "lock-que"), ["'lock-que'", "pg-locks/lock-queue"]),
    (("pg-locks", "--skip", "lock-que"), ["'lock-que'", "pg-locks/lock-queue"]),
    (("pg-locks", "--only", "kafka-lag/dead-group"), ["'kafka-lag/dead-group'"]),
    (("pg-locks", "--limit", "lock-queue"), ["'lock-queue'", "SLUG.name=value"]),
    (("pg-locks", "--limit", "lock-queue.waited=5"), ["waited", "waited_s"]),
    (("pg-locks", "--limit", "lock-queue.waited_s=long"), ["waited_s", "float"]),
    (("pg-locks", "--limit", "lock-que.waited_s=5"), ["'lock-que'", "pg-locks/lock-queue"]),
    (("pg-locks", "--watch", "1", "--save", "x"), ["--watch", "--save"]),
    (("pg-locks", "--watch", "1", "--from", "x"), ["--watch", "--from"]),
    (("pg-locks", "--context", "prod"), ["'prod'"]),
    (("pg-locks", "--config", "missing.toml"), ["missing.toml"]),
    (("pg-locks", "--esc\x1b[31m"), ["\\x1b[31m"]),
    (("checks", "explain", "pg-locks/lock-que"), ["'pg-locks/lock-que'", "pg-locks/lock-queue"]),
    (("checks", "lits"), ["lits", "list"]),
    (("runbook", "show", "nonsense"), ["nonsense"]),
    (("runbook", "lint", "nowhere"), ["nowhere"]),
    (("config", "show", "--context", "prod"), ["'prod'"]),
]


@pytest.mark.parametrize(("words", "says"), USAGE, ids=lambda part: " ".join(part) if isinstance(part, tuple) else "")
def test_a_mistake_is_one_line_with_what_was_meant(words, says, diag):
    code, out, err = diag(*words)
    assert (code, out) == (64, "")
    assert err.startswith("diag: ")
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    assert [word for word in says if word not in err] == []


@pytest.mark.parametrize("words", [words for words, _ in USAGE[2:27] if "--format" not in words], ids=" ".join)
@pytest.mark.parametrize("flag", [("-f", "json"), ("--format=json",), ("-fjson",), ("-qfjson",)], ids="".join)
def test_a_mistake_is_valid_json_where_json_was_asked_for(words, flag, diag):
    code, out, err = diag(words[0], *flag, *words[1:])
    made = json.loads(out)
    assert (code, made["error"]["code"], made["verdict"]) == (64, 64, "unknown")
    assert (made["findings"], made["checks"], made["gaps"], made["facts"]) == ([], [], [], {})
    assert made["error"]["message"] in err
    assert out.count("\n") == 1


def test_a_mistake_is_unknown_to_a_monitor(diag):
    code, out, _ = diag("pg-locks", "-f", "nagios", "--only", "nonsense")
    assert code == 3
    assert out.startswith("DIAG pg-locks UNKNOWN - ")
    assert out.count("\n") == 1


def test_the_last_check_cannot_be_skipped_into_silence(diag):
    skipped = [word for slug in catalog.slugs("cache-stampede") for word in ("--skip", slug)]
    code, _, err = diag("cache-stampede", *skipped, "--redis-url", "redis://127.0.0.1:1")
    assert code == 64, "no check ran: that is not health"
    assert err


@pytest.fixture
def closed_port():
    """A port that nobody listens on for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    "words",
    [
        ("pg-locks", "--dsn", "host=127.0.0.1 port={}"),
        ("cache-stampede", "--redis-url", "redis://127.0.0.1:{}/0"),
        ("kafka-lag", "--bootstrap-servers", "127.0.0.1:{}", "--samples", "1"),
    ],
    ids=lambda words: words[0],
)
def test_nobody_there_is_69_and_unknown_to_a_monitor(words, closed_port, diag):
    words = [word.format(closed_port) for word in words]
    code, out, _ = diag(*words, "--format", "json", "--deadline", "3")
    made = json.loads(out)
    assert (code, made["verdict"], made["targets"]) == (69, "unknown", [])
    assert "error" not in made
    assert made["gaps"][0]["rung"] == "connect"
    assert diag(*words, "--format", "nagios", "--deadline", "3")[0] == 3


def test_one_silent_target_of_two_is_unknown_and_not_69(closed_port, redis_server, tmp_path, diag):
    file = tmp_path / "two.toml"
    file.write_text(
        f'[[contexts.default.redis]]\nname = "a"\nurl = "{redis_server.url}"\n'
        f'[[contexts.default.redis]]\nname = "b"\nurl = "redis://127.0.0.1:{closed_port}"\n'
    )
    code, out, _ = diag("cache-stampede", "--config", file, "--format", "json")
    made = json.loads(out)
    assert (code, made["verdict"]) == (3, "unknown")
    assert [target["name"] for target in made["targets"]] == ["a"]


def test_a_limit_takes_effect_from_the_flag_and_from_the_file(diag, recorded, tmp_path):
    words = recorded("warning")
    file = tmp_path / "limits.toml"
    file.write_text('[contexts.default.limits."pg-locks/lock-queue"]\nwaited_s = 42.0\n')
    assert diag(*words)[0] == 1
    assert diag(*words, "--limit", "lock-queue.waited_s=41")[0] == 1  # at the limit
    assert diag(*words, "--limit", "lock-queue.waited_s=41.01")[0] == 0
    assert diag(*words, "--limit", "pg-locks/lock-queue.critical_queue=1")[0] == 2
    assert diag(*words, "--config", file)[0] == 0
    assert diag(*words, "--config", file, "--limit", "lock-queue.waited_s=5")[0] == 1


def test_only_and_skip_choose_what_runs(diag, recorded):
    words = recorded("critical, rest unknown")
    every, only, skip = (
        [check["check"] for check in json.loads(diag(*words, "--format", "json", *more)[1])["checks"]]
        for more in ((), ("--only", "dead-group"), ("--skip", "dead-group"))
    )
    assert every == [slug for slug in catalog.slugs() if slug.startswith("kafka-lag/")]
    assert only == ["kafka-lag/dead-group"]
    assert skip == [slug for slug in every if slug not in only]


def test_a_small_cliff_is_found_only_where_the_limit_says_so(diag, tmp_path):
    frame = redis_expiry(family("page:{n}", *[290 + at / 1_500 for at in range(300)]))
    file = tmp_path / "world.diag"
    with EvidenceWriter(file, {}) as writer:
        writer.add("redis", "RedisExpiry", msgspec.json.encode({"target": "default", "fact": frame}, enc_hook=to_wire))
    words = ("cache-stampede", "--from", file, "--only", "expiry-cliff")  # the other facts are not in it
    assert diag(*words)[0] == 0
    assert diag(*words, "--limit", "expiry-cliff.keys=300")[0] == 1
