"""A look that was kept is judged again, word for word; a file that is none of ours is refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import redis
from running import diag

from diag import places
from diag.store.evidence import Evidence, EvidenceWriter

STABLE = ("verdict", "findings", "checks", "facts", "targets", "window", "gaps")


@pytest.fixture(scope="module")
def cliff(redis_server):
    """A cliff of expiries in the session's Redis; gone afterwards."""
    with redis.Redis.from_url(redis_server.url) as client:
        pipe = client.pipeline()
        for number in range(700):
            pipe.set(f"cliff:page:{number}", "x", ex=500)
        pipe.execute()
        yield ("cache-stampede", "--redis-url", redis_server.url)
        client.delete(*client.scan_iter("cliff:*"))


@pytest.fixture
def kept(cliff, tmp_path):
    """A look that was kept, and what it said."""
    file = tmp_path / "kept.diag"
    ran = diag(*cliff, "--format", "json", "--save", str(file))
    assert ran.returncode == 1, ran.stderr
    return file, json.loads(ran.stdout)


def replayed(file, *more, command="cache-stampede"):
    ran = diag(command, "--from", str(file), *more)
    return ran.returncode, ran.stdout, ran.stderr


def said(report):
    """What a report says, but for the printed commands: only a live look knows which address to ask again."""
    found = [{**one, "steps": [{**step, "command": None} for step in one["steps"]]} for one in report["findings"]]
    return {name: report[name] for name in STABLE} | {"findings": found}


def test_a_replay_says_the_very_same_thing(kept):
    file, live = kept
    code, out, _ = replayed(file, "--format", "json")
    again = json.loads(out)
    assert code == 1
    assert live["findings"]
    assert said(again) == said(live)
    assert again["footprint"]["redis"]["requests"] == live["footprint"]["redis"]["requests"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_two_replays_are_equal_byte_for_byte(kept):
    file, _ = kept
    assert replayed(file, "--format", "markdown") == replayed(file, "--format", "markdown")


def test_a_look_that_saw_nothing_is_kept_and_replayed_as_nothing(tmp_path):
    file = tmp_path / "nothing.diag"
    live = diag("pg-locks", "--dsn", "host=127.0.0.1 port=1", "--save", str(file), "-f", "json")
    code, out, _ = replayed(file, "-f", "json", command="pg-locks")
    assert live.returncode == 69
    assert code == 3
    assert json.loads(out)["gaps"] == json.loads(live.stdout)["gaps"]


def test_save_never_replaces_a_file_unasked(kept, cliff):
    file, _ = kept
    before = file.read_bytes()
    ran = diag(*cliff, "--save", str(file), "--format", "json")
    made = json.loads(ran.stdout)
    assert (ran.returncode, made["error"]["code"]) == (65, 65)
    assert ran.stderr.count("\n") == 1
    assert "exists already" in ran.stderr
    assert "--force" in ran.stderr
    assert file.read_bytes() == before
    assert diag(*cliff, "--save", str(file), "--force").returncode == 1
    assert file.read_bytes() != before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_literal_is_not_in_the_file_unless_it_was_asked_for(kept):
    file, _ = kept
    with Evidence(file) as evidence:
        assert evidence.manifest["command"] == "cache-stampede"
        assert {reading.type for reading in evidence.readings()} == {"RedisExpiry", "RedisLoad", "footprint"}


def change(file, statement):
    with sqlite3.connect(file) as database:
        database.execute(statement)
    database.close()


def instead(file, body):
    """Put one reading into the file's place, written as we write but of a stranger's words."""
    with EvidenceWriter(file, {}, force=True) as writer:
        writer.add("redis", "RedisExpiry", body)


def foreign(file):
    file.unlink()
    change(file, "CREATE TABLE t (a)")


def folder(file):
    file.unlink()
    file.mkdir()


def fewer(file):
    write_anew(file)
    change(file, "DELETE FROM reading WHERE id = 1")


SPOILT = {
    "cut in half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("not a database\n"),
    "missing": lambda file: file.unlink(),
    "a folder": folder,
    "somebody else's database": foreign,
    "a newer schema": lambda file: change(file, "PRAGMA user_version = 9"),
    "one more table": lambda file: change(file, "CREATE TABLE more (a)"),
    "fewer rows": fewer,
    "not a fact": lambda file: instead(file, b'{"target": "default", "fact": {"families": 5}}'),
    "not JSON": lambda file: instead(file, b"{"),
    "too deep": lambda file: instead(file, b'{"target": "x", "fact": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_cannot_be_judged_is_65_and_one_line(spoil, tmp_path):
    file = tmp_path / "kept.diag"
    file.write_bytes(places.demo_evidence().read_bytes())
    spoil(file)
    code, out, err = replayed(file, "--format", "json")
    made = json.loads(out)
    assert (code, made["error"]["code"], made["verdict"]) == (65, 65, "unknown"), err
    assert err.startswith("diag: ")
    assert err.count("\n") == 1
    assert made["error"]["message"] in err


def test_an_error_leaves_stdout_to_the_formats_of_machines(tmp_path):
    code, out, err = replayed(tmp_path / "missing.diag")
    assert (code, out, err.count("\n")) == (65, "", 1)
    code, out, _ = replayed(tmp_path / "missing.diag", "--format", "nagios")
    assert (code, out.count("\n")) == (3, 1)


def write_anew(file):
    """Copy the readings with this version's writer, which counts them."""
    with Evidence(file) as evidence:
        readings = list(evidence.readings())
    with EvidenceWriter(file, {}, force=True) as writer:
        for reading in readings:
            writer.add(reading.source, reading.type, reading.body)


def test_a_damaged_reading_is_named_and_the_rest_is_judged(kept):
    file, live = kept
    change(file, "UPDATE reading SET body = x'00' WHERE type = 'RedisExpiry'")
    code, out, _ = replayed(file, "--format", "json")
    made = json.loads(out)
    assert (code, made["verdict"]) == (3, "unknown")
    assert "checksum" in made["gaps"][0]["why"]
    assert live["findings"]


def test_a_damaged_reading_is_named_whatever_is_damaged_in_it(tmp_path):
    file = tmp_path / "kept.diag"
    file.write_bytes(places.demo_evidence().read_bytes())
    change(file, "UPDATE reading SET source = 'qafka' WHERE id = (SELECT max(id) FROM reading WHERE type = 'KafkaLag')")
    _, out, _ = replayed(file, "--format", "json", command="kafka-lag")
    assert "checksum" in str(json.loads(out)["gaps"])


def test_the_evidence_of_another_command_says_nothing_about_this_one(kept):
    file, _ = kept
    code, out, _ = replayed(file, "-f", "json", command="pg-locks")
    assert (code, json.loads(out)["verdict"]) == (3, "unknown")


def test_the_name_of_the_file_cannot_speak_for_itself(tmp_path):
    file = Path(f"{tmp_path}/\x1b[31m|x\n.diag")
    ran = diag("pg-locks", "--from", str(file))
    assert ran.returncode == 65
    assert ran.stderr[:-1].isprintable()
