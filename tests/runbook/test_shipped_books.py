"""The books that ship: each is well formed, lint-clean, short, and safe to follow."""

from __future__ import annotations

import subprocess
from datetime import date

import pytest

from diag import catalog, places
from diag.diagnosis import explained
from diag.errors import RunbookError, UsageError
from diag.runbook import by_hand, lint, shelf
from diag.runbook.condition import names
from diag.runbook.model import Act, End, expectation

FOLDER = places.runbooks()
BOOKS = tuple(shelf.books(FOLDER))
TODAY = date(2026, 11, 24)  # the day after the first review; the clock is never asked
FIRST = ("cache-stampede/expiry-cliff", "kafka-lag/dead-group", "kafka-lag/time-lag", "pg-locks/lock-queue")


CHECKS = {slug: explained(slug).judges_from_s for slug in catalog.slugs()}


@pytest.fixture(params=BOOKS, ids=shelf.slug)
def path(request):
    return request.param


@pytest.fixture
def book(path):
    return shelf.read(path)


def test_the_first_books_are_there():
    assert set(FIRST) <= {shelf.slug(path) for path in BOOKS}


def test_lint_has_nothing_to_say(book):
    assert lint.lint(book, checks=CHECKS, today=TODAY, others=shelf.pins(FOLDER)) == ()


def test_a_book_fits_on_a_few_screens(book):
    lines = book.text.rstrip("\n").split("\n")
    assert len(lines) <= 150
    assert [number for number, line in enumerate(lines, start=1) if len(line) > 90] == []


def test_a_book_answers_its_own_check(book):
    assert book.slug in book.findings
    assert book.steps[0].only == book.slug
    ends = {step.outcome for step in book.steps if isinstance(step, End)}
    assert {"not-this", "handed-over"} <= ends
    assert ends & {"mitigated", "resolved"}


def test_every_act_is_bounded_and_looks_again_first(book):
    for act in (step for step in book.steps if isinstance(step, Act)):
        assert act.blast.limit > 0
        assert act.blast.reason
        assert act.verify.within_s <= 1800  # seconds: nobody waits longer than half an hour for one step
        assert tuple(names(expectation(act).condition)), "an act is guarded by something that was seen"


def test_a_shell_reads_the_commands(book):
    text = by_hand.by_hand(book).split("```sh\n")[1].split("```")[0]
    for shell in ("sh", "bash"):
        checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_a_book_is_found_by_its_slug_and_near_misses_are_named():
    assert shelf.load("pg-locks/lock-queue", FOLDER).title == "Sessions queue behind one lock request"
    with pytest.raises(UsageError, match="there is no runbook `pg-lock/queue`") as caught:
        shelf.load("pg-lock/queue", FOLDER)
    assert "pg-locks/lock-queue" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        shelf.load("../../etc/passwd", FOLDER)
    assert "runbook list" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        shelf.load("\x1b]52;x", FOLDER)
    assert caught.value.message.isprintable()


def test_a_row_for_each_book():
    rows = {row.slug: row for row in shelf.rows(FOLDER)}
    assert rows.keys() == {shelf.slug(path) for path in BOOKS}
    row = rows["pg-locks/lock-queue"]
    assert (row.steps, row.acts, row.owner, row.expires) == (9, 2, "database-oncall", "2027-05-22")


def test_renewing_writes_the_commands_once_and_keeps_the_mode(tmp_path, book):
    path = tmp_path / f"{book.slug}.md"
    path.parent.mkdir()
    path.write_text(book.text.replace("\n# 1. ", "\n# 1. edited "))
    path.chmod(0o640)
    assert shelf.renew(path)
    assert path.read_text() == book.text
    assert path.stat().st_mode & 0o777 == 0o640
    assert not shelf.renew(path)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_no_text_or_cannot_be_read_is_a_runbook_error(tmp_path):
    folder = tmp_path / "pg-locks"
    folder.mkdir()
    (folder / "x.md").write_bytes(b"---\xff")
    (folder / "folder.md").mkdir()
    (folder / "notes.txt").write_text("no book")
    assert [shelf.slug(path) for path in shelf.books(tmp_path)] == ["pg-locks/x"]
    with pytest.raises(RunbookError, match="not UTF-8") as caught:
        shelf.load("pg-locks/x", tmp_path)
    assert caught.value.problems == ("pg-locks/x.md:1: is not UTF-8 text",)
    with pytest.raises(RunbookError, match="cannot be read"):
        shelf.read(folder / "gone.md")
    assert list(shelf.books(tmp_path / "gone")) == []
