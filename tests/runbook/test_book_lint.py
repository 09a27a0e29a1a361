"""Each rule about the whole book: the line it names and the sentence it says."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from diag.runbook.by_hand import by_hand, with_by_hand
from diag.runbook.lint import Level, lint
from diag.runbook.parse import parse

SOURCE = "pg-locks/sample.md"
CHECKS = {"pg-locks/lock-queue": 0.0, "kafka-lag/time-lag": 0.0, "pg-locks/growth": 15.0}  # seconds they have to see
OTHERS = {"pg-locks/other": "0" * 64}
TODAY = date(2026, 10, 1)


def linted(text, today=TODAY, others=None):
    found = lint(parse(text, source=SOURCE), checks=CHECKS, today=today, others=OTHERS if others is None else others)
    return [(problem.line, problem.level, problem.sentence) for problem in found]


def test_the_sample_is_clean(page):
    assert linted(page) == []


SPOILED = {
    "jump to a missing end": ("else: end/not-this", "else: end/gone", 19, "step 1 jumps to end/gone, which does not"),
    "jump to a missing step": ("on_unknown: stop\n```", "on_unknown: step 9\n```", 28, "step 2 jumps to step 9, which"),
    "jump back": (
        "on_unknown: stop\n```",
        "on_unknown: step 1\n```",
        28,
        "step 2 jumps back to step 1; jumps go forward",
    ),
    "jump to itself": ("on_unknown: stop\n```", "on_unknown: step 2\n```", 28, "step 2 jumps back to step 2"),
    "jump back after an act": ("20s, else: step 6", "20s, else: step 3", 50, "step 4 jumps back to step 3"),
    "jump back on success": ("20s, else", "20s, then: step 4, else", 50, "step 4 jumps back to step 4"),
    "jump back while waiting": ("then: end/not-this", "then: step 1", 63, "step 5 jumps back to step 1"),
    "repeat of a later step": (
        "repeat: step 1",
        "repeat: step 6",
        63,
        "step 5 repeats step 6, which is not an earlier",
    ),
    "repeat of an act": ("repeat: step 1", "repeat: step 4", 63, "step 5 repeats step 4, which observes nothing"),
    "verify by nothing": (
        "repeat: step 2",
        "repeat: step 4",
        50,
        "step 4 repeats step 4, which is not an earlier step",
    ),
    "check nobody knows": ("findings: [pg-locks/lock-queue]", "findings: [a/b]", 6, "the check `a/b` does not exist"),
    "only of a missing check": ("only: pg-locks/lock-queue", "only: pg-locks/x", 19, "the check `pg-locks/x` does not"),
    "a missing command": (
        "run: pg-locks\nonly: pg-locks/lock-queue\n",
        "run: nope\n",
        19,
        "`diag nope`, which does not",
    ),
    "too short a look": (
        "only: pg-locks/lock-queue\n",
        "only: pg-locks/growth\nsamples: 6\ninterval: 2.9s\n",
        19,
        "step 1 looks at 14.5 s; `pg-locks/growth` judges from 15 s on (samples, interval, history)",
    ),
    "finding nobody looked for": ("has(head.pid)", 'has(finding("kafka-lag/time-lag"))', 50, "which no parameter or"),
    "a name nobody told": (
        "head.open_s > min",
        "tail.open_s > min",
        28,
        "step 2 uses `tail.open_s`, which no parameter",
    ),
    "parameter nobody uses": ("min_open\nelse", "30s\nelse", 9, "no step uses the parameter `min_open`"),
    "include of nothing": ("pg-locks/other", "pg-locks/gone", 73, "the included book `pg-locks/gone` does not exist"),
    "include of itself": ("pg-locks/other", "pg-locks/sample", 73, "the book includes itself"),
    "include has changed": ('"0000', '"1000', 73, "the book `pg-locks/other` has changed since it was included"),
    "a lead missing": ("**Real?** x.", "", 19, "the first screen does not say **Real?**"),
    "leads out of order": ("**Means** x. **Real?** x.", "**Real?** x. **Means** x.", 19, "**Real?** is out of order"),
    "first screen too long": (
        "**Do not** x.",
        "**Do not** x.\n" + "y\n" * 8,
        28,
        "the first screen has 27 lines; 25 fit",
    ),
    "first screen a line too long": (
        "**Do not** x.",
        "**Do not** x.\n" + "y\n" * 7,
        27,
        "the first screen has 26 lines",
    ),
    "first screen too wide": ("**Do not** x.", "**Do not** " + "x" * 70, 17, "has 81 columns; 80 fit"),
    "review to come": ("2026-09-01", "2026-10-02", 12, "the review is dated 2026-10-02, which is still to come"),
    "by hand edited": (
        "select pg_cancel_backend",
        "select pg_terminate_backend",
        86,
        "`by hand` is not what the steps say",
    ),
}


@pytest.mark.parametrize("look", ["samples: 6\ninterval: 3s\n", "history: 15s\n"])
def test_a_look_that_is_long_enough_is_fine(page, look):
    found = linted(page.replace("only: pg-locks/lock-queue\n", f"only: pg-locks/growth\n{look}", 1))
    assert not [said for _, _, said in found if "looks at" in said]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_book_names_line_and_rule(page, old, new, line, sentence):
    assert old in page
    found = linted(page.replace(old, new, 1))
    assert any(at == line and level is Level.ERROR and sentence in said for at, level, said in found), found


def test_step_1_reads(page):
    act = page[page.index("```yaml diag:act") : page.index("## 5.")]
    text = (
        page[: page.index("## 1.")]
        + "## 1. Cancel it\n"
        + act.replace("step 2", "step 1")
        + page[page.index("## 7.") :]
    )
    found = linted(text.replace("## 7.", "## 2."))
    assert (19, Level.ERROR, "step 1 has to read: look before changing anything") in found


def test_the_last_step_is_an_end(page):
    found = linted(
        page.replace(
            "```yaml diag:end\nname: not-this\noutcome: not-this\nleave: look elsewhere",
            "```yaml diag:ask\nquestion: x",
        )
    )
    assert (79, Level.ERROR, "the last step, 7, is not an end: the path through it stops nowhere") in found


def test_two_ends_have_two_names(page):
    end = "```yaml diag:end\nname: not-this\noutcome: not-this\nleave: look elsewhere\n```\n"
    found = linted(page.replace(end, f"{end}\n## 8. Again\n{end}"))
    assert (86, Level.ERROR, "the end `not-this` stands twice") in found


def test_every_step_can_be_reached(page):
    assert (79, Level.ERROR, "no path leads to step 7") in linted(page.replace("end/not-this", "step 6"))
    found = linted(page.replace("else: step 6}", "else: step 6, then: step 6}", 1))
    assert (63, Level.ERROR, "no path leads to step 5") in found


def test_a_name_is_told_before_it_is_used(page):
    found = linted(
        page.replace("sql: select pid, backend_start", "sql: select :'a', pid").replace(
            "args: {pid: f", "args: {a: may, pid: f"
        )
    )
    assert (28, Level.ERROR, "step 2 uses `may`, which no parameter or step before it tells") in found
    for old, new, line in (
        ("why: frees the others", 'why: "{{who}} frees"', 50),
        ("leave: look elsewhere", 'leave: "{{who}}"', 79),
        ("question: May", 'question: "{{who}}" # ', 41),
        ("{sessions: 1", "{sessions: who", 50),
        ("no_undo: it", 'no_undo: "{{who}}" # ', 50),
    ):
        found = linted(page.replace(old, new, 1))
        assert any(at == line and "uses `who`" in said for at, _, said in found), (old, found)


def test_the_limits_themselves_are_allowed(page):
    assert linted(page, today=date(2026, 9, 1)) == []
    full = page.replace("**Do not** x.", "**Do not** " + "x" * 69 + "\n" + "y\n" * 6, 1)
    assert linted(full) == []


def test_a_review_that_has_run_out_warns_and_no_more(page):
    last = date(2026, 9, 1) + timedelta(days=180)
    assert linted(page, today=last - timedelta(days=1)) == []
    (problem,) = linted(page, today=last)
    assert problem == (
        12, Level.WARNING,
        "the review of 2026-09-01 held until 2027-02-28: ask database-oncall to read the book again",
    )  # fmt: skip


def test_by_hand_is_stale_after_any_change_of_a_command(page):
    for old, new in (
        ("run: pg-locks\nonly", "run: pg-locks\nnarrow: {table: orders}\nonly"),
        ("20s, else", "30s, else"),
    ):
        stale = page.replace(old, new, 1)
        assert [said for _, _, said in linted(stale) if "by hand" in said], old
        fresh = with_by_hand(parse(stale, source=SOURCE))
        assert linted(fresh) == []
        assert fresh.count("<!-- by hand") == 1


def test_by_hand_is_missing_or_cut(page):
    without = page[: page.index("<!-- by hand")]
    assert linted(without) == [(84, Level.ERROR, "the section `by hand` is missing: `diag runbook lint --write`")]
    cut = page.replace("diag runbook show pg-locks/other\n", "")
    assert [at for at, _, _ in linted(cut)] == [86]


def test_writing_by_hand_changes_nothing_else(page):
    book = parse(page, source=SOURCE)
    assert with_by_hand(book) == page
    after = page + "\n## Sources\nthe manual\n"
    assert with_by_hand(parse(after, source=SOURCE)) == after
    assert f"{book.by_hand}\n" == by_hand(book)
