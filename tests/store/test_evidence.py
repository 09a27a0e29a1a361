"""The evidence file: what was written is read again, and a stranger's file can do no harm."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.errors import EvidenceError, ExitCode
from diag.store import evidence as store
from diag.store.evidence import Evidence, EvidenceWriter, Reading

BODIES = [b'{"target":"default","fact":{"n":1}}', b"x" * 70_000, b""]


@pytest.fixture
def file(tmp_path):
    """Return a whole evidence file of three readings."""
    path = tmp_path / "taken.diag"
    write(path, BODIES)
    return path


def write(path, bodies, *, force=False, **manifest):
    with EvidenceWriter(path, {"command": "pg-locks", **manifest}, force=force) as writer:
        for number, body in enumerate(bodies):
            writer.add("postgres", f"Type{number}", body)


def read(path):
    with Evidence(path) as evidence:
        return list(evidence.readings())


def refused(path):
    """Return why the file is refused: one printable line."""
    message = why_not(path)
    assert EvidenceError.exit_code == ExitCode.BAD_EVIDENCE
    assert message.isprintable()
    assert path.name in message
    return message


def why_not(path):
    """Return the message of a file that cannot be read."""
    with pytest.raises(EvidenceError) as error:
        read(path)
    return error.value.message


def changed(path, *statements, values=()):
    """Change a file behind the writer's back."""
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement, values)
    database.close()
    return path


def leftovers(folder):
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".part")]


def test_what_was_written_is_read_again_in_order(file):
    readings = read(file)
    assert [(one.source, one.type, one.body, one.damaged) for one in readings] == [
        ("postgres", f"Type{number}", body, False) for number, body in enumerate(BODIES)
    ]
    assert [one.taken_at for one in readings] == sorted(one.taken_at for one in readings)
    with Evidence(file) as evidence:
        assert evidence.manifest == {"command": "pg-locks", "readings": "3"}


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.binary()), max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_body_of_any_type_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("evidence") / "any.diag"
    with EvidenceWriter(path, {}) as writer:
        for type_, body in rows:
            writer.add("redis", type_, body)
    assert [(one.type, one.body) for one in read(path)] == rows


def test_it_is_nobody_elses_and_nothing_is_left_beside_it(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_an_existing_file_is_kept_unless_told_otherwise(file):
    before = file.read_bytes()
    with pytest.raises(EvidenceError) as error:
        write(file, [b"new"])
    assert "--force" in error.value.hint
    assert file.read_bytes() == before
    write(file, [b"new"], force=True)
    assert [one.body for one in read(file)] == [b"new"]
    assert not leftovers(file.parent)


def test_a_file_that_appears_meanwhile_is_kept_too(tmp_path):
    path = tmp_path / "taken.diag"
    writer = EvidenceWriter(path, {})
    writer.add("redis", "T", b"x")
    path.write_text("somebody else's")
    with pytest.raises(EvidenceError):
        writer.__exit__(None, None, None)
    assert path.read_text() == "somebody else's"
    assert not leftovers(tmp_path)


def test_a_run_that_fails_leaves_the_old_file_and_nothing_else(file):
    before = file.read_bytes()
    with contextlib.suppress(ZeroDivisionError), EvidenceWriter(file, {}, force=True) as writer:
        writer.add("redis", "T", b"x")
        raise ZeroDivisionError
    assert file.read_bytes() == before
    assert not leftovers(file.parent)


@pytest.mark.parametrize("name", [".", "missing/x.diag", "a" * 300, "a" * 250, "taken.diag/below"])
def test_a_place_that_cannot_be_written_is_an_error_of_one_line(file, name):
    with pytest.raises(EvidenceError) as error:
        write(file.parent / name, [b"x"], force=name != ".")
    assert error.value.message.isprintable()
    assert not leftovers(file.parent)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    """A limit on the size of files is what a full disk looks like from inside."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(EvidenceError) as error:
            write(tmp_path / "taken.diag", [os.urandom(400_000) for _ in range(8)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in error.value.message
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none_are_refused_by_name(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("this is not a database\n" * 100)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    expected = {
        "empty": "is empty",
        "text": "not a readable",
        "folder": "is not a file",
        "pipe": "is not a file",
        "dangling": "there is no",
        "missing": "there is no",
        "esc\x1b[31m": "there is no",
        "a" * 300: "not a readable",
    }
    said = {name: why_not(tmp_path / name) for name in expected}
    assert [name for name in expected if expected[name] not in said[name]] == []
    assert all(line.isprintable() for line in said.values())


def test_a_link_to_a_file_reads_like_the_file(file):
    link = file.parent / "link?mode=rwc#%2e"
    link.symlink_to(file.name)
    assert [one.body for one in read(link)] == BODIES


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused_or_its_rows_are_marked(file, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    assert_never_a_different_fact(file)


FOREIGN = {
    "another program's database": ("PRAGMA application_id = 7",),
    "a newer schema": (f"PRAGMA user_version = {store.SCHEMA_VERSION + 1}",),
    "one more table": ("CREATE TABLE more (a)",),
    "one more index": ("CREATE INDEX more ON reading (source)",),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON reading BEGIN SELECT 1; END",),
    "no manifest": ("DROP TABLE manifest",),
    "another column": ("ALTER TABLE reading ADD COLUMN more TEXT",),
    "a view without end": (
        "DROP TABLE reading",
        (
            "CREATE VIEW reading AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
            " SELECT i AS id, 'a' AS taken_at, 'b' AS source, 'c' AS type, 'd' AS codec, 1 AS length_bytes,"
            " x'00' AS checksum, x'00' AS body FROM n"
        ),
    ),
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_diag_did_not_make_is_refused_at_once(file, statements):
    changed(file, *statements)
    started = time.monotonic()
    refused(file)
    assert time.monotonic() - started < 2


def test_a_newer_file_says_which_diag_to_take(file):
    assert "newer diag" in refused(changed(file, "PRAGMA user_version = 9"))


def test_a_view_dressed_as_our_table_is_refused(file):
    """The list of objects can lie about the text; the file still cannot make us run a stranger's query."""
    changed(
        file,
        "DROP TABLE reading",
        "CREATE VIEW reading AS SELECT 1 AS id",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = '{store._SCHEMA[1]}' WHERE name = 'reading'",
    )
    refused(file)


@pytest.mark.parametrize("length", [-1, 0, 5, 34, 36, 2**31, 2**62])
def test_a_length_that_is_not_the_bodys_marks_the_row(file, length):
    first, *rest = read(changed(file, "UPDATE reading SET length_bytes = ? WHERE id = 1", values=(length,)))
    assert first.damaged
    assert first.body == b""
    assert not any(one.damaged for one in rest)


def test_a_bomb_is_not_unpacked(file):
    bomb = zlib.compress(bytes(300 * 2**20), 9)
    changed(file, "UPDATE reading SET body = ?, length_bytes = 40 WHERE id = 1", values=(bomb,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read(file)[0].damaged
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
    changed(file, "UPDATE reading SET length_bytes = 314572800 WHERE id = 1")
    assert read(file)[0].damaged  # the honest length is more than any reading has


@pytest.mark.parametrize("column", ["taken_at", "source", "type", "codec", "body", "checksum"])
def test_a_row_changed_in_any_column_is_marked(file, column):
    kind = "CAST('ab' AS BLOB)" if column in ("body", "checksum") else "'ab'"
    marked = read(changed(file, f"UPDATE reading SET {column} = {kind} WHERE id = 2"))
    assert [one.damaged for one in marked] == [False, True, False]


def test_a_row_that_was_taken_out_is_missed(file):
    assert "3 were written" in refused(changed(file, "DELETE FROM reading WHERE id = 2"))


def test_a_reading_told_twice_in_anothers_place_is_missed(tmp_path):
    """A page's list of rows can name one row twice: count and checksums still agree."""
    path = tmp_path / "taken.diag"
    write(path, [b"one", b"two", b"three"])
    whole, leaf_of_a_table = bytearray(path.read_bytes()), 0x0D
    pages = range(4096, len(whole), 4096)
    (page,) = [at for at in pages if whole[at] == leaf_of_a_table and whole[at + 3 : at + 5] == b"\x00\x03"]
    whole[page + 10 : page + 12] = whole[page + 8 : page + 10]
    path.write_bytes(whole)
    assert "out of order" in refused(path)


def test_a_reading_larger_than_any_is_not_unpacked_although_its_checksum_is_right(tmp_path):
    path = tmp_path / "taken.diag"
    write(path, [bytes(store._MOST_BODY_BYTES), bytes(store._MOST_BODY_BYTES + 1)])
    assert [one.damaged for one in read(path)] == [False, True]


def assert_never_a_different_fact(path):
    """Each reading is the one that was written, or marked; or the whole file is refused."""
    wanted = {f"Type{number}": body for number, body in enumerate(BODIES)}
    readings: list[Reading] = []
    try:
        readings = read(path)
    except EvidenceError:
        return
    assert len(readings) == len(BODIES)
    for one in readings:
        assert (one.damaged and one.body == b"") or (one.source == "postgres" and one.body == wanted.pop(one.type))


@pytest.mark.parametrize("start", range(8))
def test_one_flipped_bit_anywhere_never_makes_a_different_fact(file, start):
    whole = bytearray(file.read_bytes())
    flipped = file.parent / "flipped.diag"
    page = 4096
    used = [*range(120), *range(page - 260, page)]
    used += [
        at
        for base in range(page, len(whole), page)
        for at in (*range(base, base + 40), *range(base + page - 300, base + page))
    ]
    for at in [at for at in used if at < len(whole)][start::8]:
        bit = 1 << ((at * 7 + start) % 8)
        whole[at] ^= bit
        flipped.write_bytes(whole)
        assert_never_a_different_fact(flipped)
        whole[at] ^= bit


def test_a_text_that_became_a_blob_by_one_bit_is_marked(file):
    """In SQLite's rows the lowest bit of a type tells text from bytes of the same length."""
    whole = bytearray(file.read_bytes())
    flipped, marked = file.parent / "flipped.diag", 0
    for at in range(4096, len(whole)):
        if whole[at] == 13 + 2 * len("postgres"):
            flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert_never_a_different_fact(flipped)
            marked += 1
    assert marked >= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_folder_nobody_lets_us_into_is_an_error_of_one_line(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = (
        "import os, sys; from pathlib import Path; from diag.store.evidence import *; from diag.errors import *\n"
        "os.setuid(65534)\n"
        "for make in (lambda p: Evidence(p), lambda p: EvidenceWriter(p, {})):\n"
        "    try: make(Path(sys.argv[1]))\n"
        "    except EvidenceError as error: print(error.message)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(closed / "x.diag")], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stderr == ""
    assert ran.stdout.count("Permission denied") == 2
