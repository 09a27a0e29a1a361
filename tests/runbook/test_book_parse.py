"""Each rule of the strict parser: the line it names and the sentence it says."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from diag.errors import RunbookError
from diag.runbook.model import Act, Ask, Check, End, Halt, Include, Jump, Query, StepClass, Wait
from diag.runbook.parse import parse

SOURCE = "pg-locks/sample.md"
CHECK = "step 1: "


def problems(text: str, source: str = SOURCE) -> tuple[str, ...]:
    with pytest.raises(RunbookError) as caught:
        parse(text, source=source)
    return caught.value.problems


def test_the_sample_is_read_as_it_is_written(book):
    assert [type(step) for step in book.steps] == [Check, Query, Ask, Act, Wait, Include, End]
    assert [step.step_class for step in book.steps].count(StepClass.ACT) == 1
    assert (book.slug, book.owner, book.escalate.after_s) == ("pg-locks/sample", "database-oncall", 900.0)
    assert (book.params[0].default.value, book.params[0].most.value) == (30.0, 600.0)
    assert [(alert.name, alert.labels) for alert in book.alerts] == [("QueueHigh", {"tier": "db"})]
    assert book.reviewed.expires.isoformat() == "2027-02-28"
    assert book.lead.startswith("**Means** x.")
    assert book.lead.endswith("**Do not** x.")
    check, query, ask, act, wait, include, end = book.steps
    assert check.expectation.on_unknown == Halt(question="granted?")
    assert check.expectation.otherwise == Jump(end="not-this")
    assert query.expectation.otherwise == Jump(step=6)
    assert query.arguments["pid"].finding == "pg-locks/lock-queue"
    assert ask.answers == ("yes", "no")  # plain text, although YAML 1.1 reads both as booleans
    assert (act.blast.limit, act.verify.within_s, act.verify.repeat) == (1.0, 20.0, 2)
    assert (wait.every_s, wait.within_s, wait.expectation.then) == (5.0, 60.0, Jump(end="not-this"))
    assert (include.sha256, end.name, end.line) == ("0" * 64, "not-this", 79)


TWO_ARGUMENTS = "{pid: head.pid, backend_start: head.backend_start}"
BLAST = "blast: {sessions: 1, limit: 1, reason: one is named}\n"
LIST_FENCE = "- x\n\n  ```yaml diag:ask\n  a: b\n  ```\n```text"
LATE_STEP = "## Notes\n\n## 8. X\n```yaml diag:end\na: b\n```\n\n<!-- by hand"

BEGIN, END = "<!-- by hand: made by diag runbook lint --write -->", "<!-- end of by hand -->"

SPOILED = {
    # front matter
    "no front matter": ("---\ndiag:", "diag:", 1, "a book begins with front matter between two lines `---`"),
    "another format": ("runbook/1", "runbook/2", 2, "front matter: `diag` is `runbook/1`, the form this program reads"),
    "id is not the path": ("id: pg-locks/sample", "id: pg-locks/x", 3, "`id` is `pg-locks/x`, so the file has to be"),
    "id is no slug": ("id: pg-locks/sample", "id: PG", 3, "front matter: `id` cannot be `PG`"),
    "title missing": ("title: A sample\n", "", 2, "front matter: `title` is missing"),
    "title differs": ("# A sample", "# Another", 14, "the heading `# Another` is not the title `A sample`"),
    "no title": ("# A sample\n", "", 14, "the title, a line `# …`, is missing"),
    "two titles": ("**Do not** x.", "# A sample", 17, "a second title"),
    "key without value": ("title: A sample", "title:", 4, "`title` has no value"),
    "unknown key": ("owner:", "colour: red\nowner:", 10, "front matter: unknown key `colour`"),
    "key twice": ("owner:", "title: B\nowner:", 10, "front matter: the key `title` stands twice"),
    "YAML that is none": ("owner: d", "owner: {d", 11, "front matter: not YAML: "),
    "an anchor": ("owner: ", "owner: &a ", 10, "front matter: anchors and aliases (& and *) are not allowed"),
    "a tag": ("owner: ", "owner: !!str ", 10, "front matter: tags (!) are not allowed"),
    "a person as owner": ("owner: database-oncall", "owner: Ann Lee", 10, "`owner` cannot be `Ann Lee`"),
    "a person as reviewer": ("by: database-oncall", "by: A.Lee", 12, "reviewed: `by` cannot be `A.Lee`"),
    "escalation without time": (", after 15 min", "", 11, "`escalate` has the form `role, after 15 min`"),
    "a day that is none": ("2026-09-01", "2026-02-30", 12, "`date` is not a day: `2026-02-30`"),
    "a review for ever": ("good_for: 180d", "good_for: 400d", 12, "`good_for` is longer than a year"),
    "a system nobody knows": ("needs: {pg", "needs: {oracle", 7, "needs: `oracle` is not one of pg, kafka"),
    "an alert without name": ("{name: QueueHigh, ", "{", 5, "alerts: `name` is missing"),
    "default above max": ("default: 30s", "default: 11m", 9, "params: min_open: `default` is above `max`"),
    "needs is no mapping": ("needs: {pg: [pg_monitor]}", "needs: pg", 7, "needs has to be a mapping of keys to values"),
    "title is no text": ("title: A sample", "title: [A]", 4, "front matter: `title` has to be text"),
    "alerts is no list": (
        "alerts: [{name: QueueHigh, labels: {tier: db}}]",
        "alerts: x",
        5,
        "`alerts` has to be a list",
    ),
    "a review for no time": ("good_for: 180d", "good_for: 0d", 12, "`good_for` has to be longer than zero"),
    "below zero": ("default: 30s", "default: -3s", 9, "`default` has to be a duration such as 30s, not `-3s`"),
    "parameter name": ("  min_open:", "  Min-Open:", 9, "params: Min-Open: a parameter has a name like min_wait"),
    "default below min": ("max: 10m", "min: 31s", 9, "params: min_open: `default` is below `min`"),
    "default of another unit": (
        "default: 30s",
        "default: 3%",
        9,
        "`default` has to be a duration such as 30s, not `3%`",
    ),
    "parameter without reason": (", why: younger ones pass", "", 9, "params: min_open: `why` is missing"),
    "parameter type": ("type: duration", "type: colour", 9, "`type` cannot be `colour`; it is one of duration,"),
    "finding is no slug": ("findings: [pg-locks/lock-queue]", "findings: [x]", 6, "`findings` cannot hold `x`"),
    "text for a list": ("findings: [pg-locks/lock-queue]", "findings: a/b", 6, "`findings` has to be a list"),
    # Markdown
    "a tab": ("**Do not** x.", "**Do not**\tx.", 17, "holds a character that cannot be seen"),
    "step number": ("## 3. May", "## 4. May", 41, "step 4 should be step 3: steps are numbered without gaps"),
    "step without number": ("## 1. Is it there?", "## Is it there?", 19, "a step heading has the form `## N. Title`"),
    "underlined heading": ("**Do not** x.", "**Do not** x.\n---", 16, "headings begin with `#`"),
    "two fences": ("```sql", "```yaml diag:end", 28, "step 2 has 2 fences `yaml diag:…`; it needs one"),
    "no fence": ("```yaml diag:ask", "```text", 41, "step 3 has 0 fences `yaml diag:…`; it needs one"),
    "a shell step": ("```yaml diag:ask", "```yaml diag:shell", 42, "a fence is `yaml diag:KIND` with a kind of check"),
    "a fence of another kind": ("```sql", "```python", 29, "or an illustration: sql, sh, text; not `python`"),
    "a fence that does not say": ("```sql", "```", 29, "not ``"),
    "fence in a list": ("```yaml diag:ask", LIST_FENCE, 44, "at the margin"),
    "fence above the steps": (
        "## 1. Is",
        "```yaml diag:end\na: b\n```\n## 1. Is",
        19,
        "stands below the heading of that step",
    ),
    "fence not closed": ("```\n<!-- end of by hand -->", "", 88, "the fence is not closed"),
    "one marker": ("<!-- end of by hand -->", "", 86, "the markers of the section `by hand` have to stand in a pair"),
    "a step after the end": ("<!-- by hand", LATE_STEP, 88, "steps come first"),
    "marker twice": ("<!-- end of by hand -->", f"{END}\n\n{END}", 113, f"the marker `{END}` stands twice"),
    "by hand among steps": (
        "## 7. Not",
        f"{BEGIN}\n{END}\n\n## 7. Not",
        79,
        "the section `by hand` comes after the last",
    ),
    # steps
    "narrowed by what": (
        "only: pg-locks",
        "narrow: {colour: x}\nonly: pg-locks",
        22,
        "narrow: `colour` is not one of group",
    ),
    "args beside redis": ("sql: select pid", "redis: [PING]\nSQL: x", 35, "`args` belongs to sql; the other languages"),
    "act: instruction": (
        "why: frees",
        "instruction: x\nwhy: frees",
        54,
        "`instruction` belongs to `action: by-person`",
    ),
    "act: blast in seconds": (
        "{sessions: 1,",
        "{sessions: 1s,",
        58,
        "`sessions` is not readable: `1s` is not a plain count",
    ),
    "unknown key in a step": ("save: may", "save: may\nname: x", 45, "step 3: unknown key `name`"),
    "expect without else": ("else: end/not-this\n", "", 21, "step 1: `else` is missing"),
    "expect without on_unknown": ('on_unknown: ask "granted?"\n', "", 21, "step 1: `on_unknown` is missing"),
    "else without expect": ('expect: may == "yes"\n', "", 45, "step 3: `else` needs an `expect` beside it"),
    "jump to nowhere": (
        "else: end/not-this",
        "else: the end",
        24,
        "`else` has to be `step N` or `end/NAME`, not `the end`",
    ),
    "unknown nonsense": ("on_unknown: stop\n```", "on_unknown: maybe\n```", 38, "`on_unknown` has to be `stop`, `ask "),
    "condition": ("queue_length > 0", "queue_length >", 23, "`expect` is not readable: expected a name or a value"),
    "check of another command": ("only: pg-locks", "only: kafka-lag", 22, "`only` names a check of another command"),
    "no language": ("sql: select pid", "SQL: select pid", 33, "step 2: exactly one of promql, logql, sql"),
    "writing SQL": ("sql: select pid", "sql: delete pid", 33, "step 2: `sql` has to begin with select, with or show"),
    "argument not used": (
        "args: {pid: find",
        "args: {a: may, pid: find",
        33,
        "uses the parameters pid, but args has a, pid",
    ),
    "placeholder": ("{{head.pid}}", "{{head pid}}", 43, "`question` is not readable: did not expect `pid` here"),
    "open placeholder": ("{{head.pid}}", "{{head.pid", 43, "`question` is not readable: `{{` is not closed"),
    "wait without until": ("until: ", "expect: ", 65, "step 5: `until` is missing"),
    "a wait below its pause": ("within: 1m", "within: 1s", 66, "`within` is shorter than one pause"),
    "a wait without unit": ("within: 1m", "within: 10", 66, "`within` has to be a duration such as 30s, not `10`"),
    "repeat is no step": ("repeat: step 1", "repeat: end/x", 65, "`repeat` has to be of the form `step N`"),
    "act: unknown action": ("pg-cancel", "pg-vacuum", 52, "`action` cannot be `pg-vacuum`; it is one of pg-cancel,"),
    "act: arguments": (TWO_ARGUMENTS, "{pid: head.pid}", 53, "takes the arguments: pid, back"),
    "act: without why": ("why: frees the others\n", "", 52, "step 4: `why` is missing"),
    "act: without before": ("before: ", "expect: ", 52, "step 4: `before` is missing"),
    "act: without blast": (BLAST, "", 52, "step 4: `blast` is missing"),
    "act: blast of what": (
        "{sessions: 1",
        "{things: 1",
        58,
        "blast: exactly one of sessions, transactions, slots, keys,",
    ),
    "act: blast without limit": (", limit: 1", "", 58, "step 4: blast: `limit` is missing"),
    "act: blast above limit": ("{sessions: 1", "{sessions: 2", 58, "`limit` is below the sessions it would touch"),
    "act: without verify": ("verify: {expect", "test: {expect", 52, "step 4: `verify` is missing"),
    "act: verify without else": (", within: 20s, else: step 6", ", within: 20s", 59, "verify: `else` is missing"),
    "act: neither undo": ("no_undo: it has to be run again\n", "", 52, "exactly one of `undo` and `no_undo`"),
    "act: both undos": ("no_undo: it", "undo: x\nno_undo: it", 52, "exactly one of `undo` and `no_undo`"),
    "act: then before acting": ("why: frees the others", "why: x\nthen: step 7", 55, "step 4: unknown key `then`"),
    "include without pin": ('sha256: "', 'sha256: "x', 76, "step 6: `sha256` cannot be `x0000"),
    "end without outcome": ("outcome: not-this\n", "", 81, "step 7: `outcome` is missing"),
    "end of another outcome": (
        "outcome: not-this",
        "outcome: fine",
        82,
        "`outcome` cannot be `fine`; it is one of mitigated",
    ),
}


def test_one_mistake_is_told_once(page):
    found = problems(page.replace('expect: may == "yes"\n', ""))
    assert [one.split(": ", 2)[2] for one in found] == [
        "`else` needs an `expect` beside it",
        "`on_unknown` needs an `expect` beside it",
    ]


def test_a_block_with_too_many_entries_says_so(page):
    many = "\n".join(f"k{number}: x" for number in range(600))
    assert any("a block has at most 500 entries" in one for one in problems(page.replace("save: may", many)))


def test_a_book_has_steps(page):
    found = problems(page[: page.index("## 1.")])
    assert found == (f"{SOURCE}:19: a book has at least one step, a heading `## 1. …`",)


@pytest.mark.parametrize(("old", "new", "line", "sentence"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_page_names_line_and_rule(page, old, new, line, sentence):
    assert old in page
    if old.startswith("## 7. "):  # the section made by hand has to go first
        page = page[: page.index(BEGIN)]
    found = problems(page.replace(old, new, 1))
    assert any(one.startswith(f"{SOURCE}:{line}: ") and sentence in one for one in found), "\n".join(found)


def test_all_problems_are_told_at_once_in_the_order_of_the_lines(page):
    spoiled = page.replace("owner: database-oncall", "owner: Ann Lee").replace("outcome: not-this", "outcome: x")
    found = problems(spoiled.replace("pg-cancel", "pg-x"))
    assert [int(one.split(":")[1]) for one in found] == [10, 52, 82]


def test_the_path_has_to_be_the_slug(page):
    assert "has to be pg-locks/sample.md" in problems(page, "pg-locks/other.md")[0]
    assert parse(page, source="/somewhere/else/pg-locks/sample.md").slug == "pg-locks/sample"


def test_hostile_text_is_shown_with_visible_escapes(page):
    found = problems(page.replace("title: A sample", r'title: "\e]52;x"', 1))
    assert any(r"\e]52" in one for one in found)
    assert all(one.isprintable() for one in found)


BOMBS = {
    "billion laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
    "deep flow": "a: " + "[" * 20_000,
    "deep block": "\n".join(" " * depth + "a:" for depth in range(300)),
    "many keys": "\n".join(f"k{number}: x" for number in range(5_000)),
    "merge": "<<: {a: b}\na: c",
    "long scalar": "a: " + "x" * 60_000,
    "escape beyond Unicode": 'a: "\\UFFFFFFFF"',
    "python object": "a: !!python/object/apply:os.system [echo]",
    "too large": "a: x\n" * 20_000,
}


@pytest.mark.parametrize("yaml", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_fast(page, yaml):
    began = time.process_time()
    assert problems(f"---\n{yaml}\n---\n# A sample\n")
    assert problems(page.replace("save: may", yaml))
    assert time.process_time() - began < 2.0  # seconds; a bomb that works takes minutes


@given(st.text(max_size=400))
@example("---\n---\n")
@example('---\na: "\\UFFFFFFFF"\n---\n## 1. a\n```yaml diag:end\n*a\n```')
@example("---\n? [a]\n: b\n---\n")
@example("---\n%YAML 1.1\n---\n")
@example("---\nx\n---\n```")
@example("\ud800")
def test_any_text_is_a_book_or_a_runbook_error(text):
    try:
        parse(text, source=SOURCE)
    except RunbookError as error:
        assert error.problems  # noqa: PT017  a book is allowed too


PIECES = st.sampled_from(
    ["---", "# A sample", "## 1. x", "## 2. y", "```yaml diag:act", "```yaml diag:end", "```", "name: x",
     "expect: a == 1", "blast: {keys: 1}", "verify: {expect: x}", "args: [a]", "x: {", "- a", "&a", "on_unknown: stop",
     "<!-- end of by hand -->", "<!-- by hand: made by diag runbook lint --write -->", "params: {a: b}", "needs: x",
     "reviewed: {date: 2026-01-01, good_for: 1d, by: a}", "escalate: a, after 1 min", "alerts: [x, {labels: y}]"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30))
def test_pieces_in_any_order_are_a_book_or_a_runbook_error(pieces):
    try:
        parse("---\n" + "\n".join(pieces), source=SOURCE)
    except RunbookError as error:
        assert error.problems  # noqa: PT017  a book is allowed too


@given(st.data())
def test_a_page_with_lines_lost_or_moved_is_a_book_or_a_runbook_error(page, data):
    lines = page.split("\n")
    at, cut = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, 6))
    try:
        parse("\n".join(lines[:at] + lines[at + cut :] + lines[at : at + cut]), source=SOURCE)
    except RunbookError as error:
        assert error.problems  # noqa: PT017  a book is allowed too
