"""Hostile names in every sink: shown exactly, obeyed never."""

from __future__ import annotations

import functools
import json
import re

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from worlds import NOW, backend, consumer_group, family, kafka_lag, lock, pg_locks, redis_expiry

from diag.config import Context
from diag.diagnosis import Request, plan
from diag.diagnosis.judge import judge
from diag.findings import Evidence, Footprint, Outcome, Quantity, Report, ReportError, Verdict
from diag.report.json import json as to_json
from diag.report.markdown import code_span, fenced, markdown
from diag.report.nagios import nagios
from diag.report.terminal import text as to_terminal
from diag.snapshots.base import Gap
from diag.snapshots.postgres import LockMode, Relation
from diag.text import ServerText, SqlText, visible

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x07link",
    "\x9b31mc1",
    "two\nlines",
    "carriage\rreturn",
    "a|b",
    "||",
    "\\|",
    *["`" * run for run in range(1, 6)],
    "``a`b```c",
    "`edge",
    "edge`",
    "[/]",
    "jobs:[/]",
    "[red]",
    "[link=http://evil]x[/link]",
    "[bold",
    "\u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "<script>alert(1)</script>",
    "<!-- hidden -->",
    "&lt;b&gt;",
    "x](javascript:alert(1))",
    "![img](http://evil/pixel.png)",
    "http://autolink.example @mention #1",
    "# heading",
    "- item",
    "---",
    "***bold*** _it_ ~~s~~",
    "{template} {{ 7 * 7 }} {% raw %} %s",
    " ",
    "   ",
    " lead and trail ",
    "\\",
    "ends in \\",
    "\udc9b\udcff",
    "名前 🦉 é",
    "1. x",
    ":smile:",
    "\x00",
]
BYTES = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=("Cs",))  # what was not UTF-8
ANY_NAME = st.text(st.characters(exclude_categories=("Cs",)) | BYTES, min_size=1, max_size=40) | st.text(
    st.sampled_from("`|\\[]()<>!&*_#-\n\r\x1b\x9b\u202e/ {}%'\"a1\udc9b"), min_size=1, max_size=20
)
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def diagnosed(command, *frames, gaps=(), **limits):
    request = Request(
        command=command, context=Context(), limits=tuple(f"{name}={value}" for name, value in limits.items())
    )
    lost = [("default", one) for one in gaps]
    cost = {frames[0].target.kind: Footprint(requests=3, took_s=0.031)}
    return judge(plan(request), {("default", type(frames[0])): list(frames)}, lost, cost)


def locked(name):
    """A queue on a relation of that name, by clients and statements of that name."""
    statement = msgspec.structs.replace(backend(2), query=SqlText(name), application_name=ServerText(name))
    facts = pg_locks(
        lock(LockMode.ACCESS_EXCLUSIVE, pid=1),
        lock(LockMode.ACCESS_SHARE, pid=2, waited_s=41.0),
        backends=(msgspec.structs.replace(statement, pid=1), statement),
    )
    named = tuple(Relation(oid=one.oid, name=ServerText(name)) for one in facts.relations)
    return diagnosed("pg-locks", msgspec.structs.replace(facts, relations=named))


def behind(name):
    """A group and a topic of that name, without members, and a gap that says it too."""
    said = Gap(source="kafka", fact="members", what=ServerText(name), why=ServerText(name), fix=ServerText(name))
    group = consumer_group(name, state="Empty", members=0)
    return diagnosed("kafka-lag", kafka_lag(group, (300, 1_000, 420.0), topic=name), gaps=(said,))


def expiring(name):
    """A family of keys of that name about to expire."""
    return diagnosed("cache-stampede", redis_expiry(family(name, *[290 + at / 1_500 for at in range(600)])))


WORLDS = {"relation, client, statement": locked, "group, topic, gap": behind, "key pattern": expiring}
WORLD = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@WORLD
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_harmless_in_every_sink(world, name):
    report = world(name)
    assert report.findings, "the world must find something to name"
    check_terminal(report, name)
    check_markdown(report, name, plain(world))
    check_json(report, name)
    check_nagios(report)


@WORLD
@SLOW
@given(name=ANY_NAME)
def test_any_name_is_harmless_on_a_terminal(world, name):
    check_terminal(world(name), name)


@WORLD
@SLOW
@given(name=ANY_NAME)
def test_any_name_is_harmless_in_markdown(world, name):
    check_markdown(world(name), name, plain(world))


@WORLD
@SLOW
@given(name=ANY_NAME)
def test_any_name_is_whole_in_json(world, name):
    check_json(world(name), name)


@WORLD
@SLOW
@given(name=ANY_NAME)
def test_any_name_stays_on_the_line_of_a_monitor(world, name):
    check_nagios(world(name))


def check_terminal(report, name):
    for width in (20, 80, 120):
        shown = to_terminal(report, width=width, verbose=True)
        assert all(line.isprintable() for line in shown.split("\n"))
        assert shown.endswith("\n")
    assert visible(name).rstrip() in to_terminal(report, width=4_000)
    coloured = to_terminal(report, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == to_terminal(report)


def parsed(text):
    """Return tokens by type, with the inline ones beside the others."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [*tokens, *(child for token in tokens for child in token.children or ())]


def shape(tokens):
    """Count everything that a name could add to: headings, links, cells, list items, HTML."""
    counted: dict[str, int] = {}
    for token in tokens:
        if token.type not in ("text", "softbreak", "inline", "paragraph_open", "paragraph_close", "fence"):
            counted[token.type] = counted.get(token.type, 0) + 1
    return counted


@functools.cache
def plain(world):
    """The same report with an ordinary name in it."""
    return markdown(world("plain"))


def check_markdown(report, name, ordinary_page):
    page = markdown(report)
    tokens, ordinary = parsed(page), parsed(ordinary_page)
    assert shape(tokens) == shape(ordinary)
    assert not {"link_open", "image", "html_inline", "html_block"} & set(shape(tokens))
    spans = [token.content for token in tokens if token.type == "code_inline"]
    expected = [token.content for token in ordinary if token.type == "code_inline"]
    wanted = visible(name).replace("|", "\\u007c")
    assert spans == [wanted if span == "plain" else span for span in expected]
    assert wanted in spans
    assert bars(page) == bars(ordinary_page)


def bars(page):
    """Count the bars of each table row."""
    return [line.count("|") for line in page.splitlines() if line.startswith("|")]


def raw_or_visible(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return visible(name)
    return name


def check_json(report, name):
    made = json.loads(to_json(report))
    assert made["schema"] == "diag.report"
    subjects = [value for finding in made["findings"] for value in finding["subject"].values()]
    assert raw_or_visible(name) in subjects
    rows = [rows for rows in made["facts"].values() if isinstance(rows, list)][-1]  # the command's own table is last
    assert raw_or_visible(name) in rows[0].values()
    for finding in made["findings"]:
        assert finding["summary"].isprintable()
        for step in finding["steps"]:
            assert step["command"] is None or step["command"].isprintable()
    assert all(part.isprintable() for gap in made["gaps"] for part in gap.values() if part is not None)
    assert "\n" not in to_json(report)


def check_nagios(report):
    line = nagios(report)
    assert line.isprintable()
    words, bar, perfdata = line.partition("|")
    assert bar
    assert "|" not in perfdata
    assert words.startswith(tuple(f"DIAG {report.command} {word} - " for word in ("CRITICAL", "WARNING")))
    assert re.fullmatch(r"(?: '[^'=|]+'=-?\d+(?:\.\d+)?[a-zA-Z%]*)+", perfdata), perfdata


@given(ANY_NAME)
def test_a_code_span_holds_exactly_the_text(name):
    for around in ("{}", "a {} b", "x `q` {} `q` y", "- {}", "| {} |"):
        spans = [
            token.content for token in parsed(around.format(code_span(ServerText(name)))) if token.type == "code_inline"
        ]
        assert visible(name).replace("|", "\\u007c") in spans


def test_an_empty_name_is_said_to_be_empty():
    assert code_span(ServerText("")) == "`(empty)`"


@given(st.text(st.characters(exclude_categories=("C", "Z")) | st.just("`"), min_size=1))
def test_a_fence_holds_exactly_the_line(line):
    assume(line.strip() == line)
    (token,) = [token for token in parsed(fenced(line)) if token.type == "fence"]
    assert token.content == line + "\n"


def test_a_command_in_markdown_can_be_copied_whole():
    tokens = parsed(markdown(locked("orders")))
    fences = [token.content for token in tokens if token.type == "fence"]
    steps = json.loads(to_json(locked("orders")))["findings"][0]["steps"]
    assert [line.strip() for line in fences] == [step["command"] for step in steps if step["command"]]


def test_a_command_on_a_terminal_is_never_cut_in_two():
    for width in (20, 80):
        shown = to_terminal(locked("orders"), width=width)
        steps = json.loads(to_json(locked("orders")))["findings"][0]["steps"]
        assert [step["command"] for step in steps if step["command"] and step["command"] not in shown] == []


def test_a_long_statement_is_cut_in_a_table_and_whole_in_json():
    long = "SELECT " + "x" * 500
    assert long not in to_terminal(locked(long), width=120)
    assert json.loads(to_json(locked(long)))["facts"]["waits"][0]["query"] == long


def test_monitors_get_figures_without_exponents():
    report = behind("orders")
    evidence = (
        Evidence(name="lag", value=Quantity(1_203_411, "records"), source="x"),
        Evidence(name="it's|a=b", value=Quantity(0.000_05, "s"), source="x"),
        Evidence(name="free", value=Quantity(12.5, "bytes"), source="x"),
        Evidence(name="no figure", value=Quantity(float("inf"), "s"), source="x"),
    )
    finding = msgspec.structs.replace(report.findings[0], evidence=evidence)
    line = nagios(msgspec.structs.replace(report, findings=(finding,)))
    assert line.partition(" | ")[2] == "'lag'=1203411 'it_s_a_b'=0.00005s 'free'=12.5B"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_figures_that_are_no_numbers_stop_no_sink(value):
    report = behind("orders")
    evidence = (Evidence(name="lag", value=Quantity(value, "s"), source="x"),)
    odd = msgspec.structs.replace(report, findings=(msgspec.structs.replace(report.findings[0], evidence=evidence),))
    assert json.loads(to_json(odd))["findings"][0]["evidence"][0]["value"] is None
    assert to_terminal(odd)
    assert markdown(odd)
    assert nagios(odd)


def test_an_error_is_a_whole_report_in_every_sink():
    failed = ReportError(code=65, message="the file is damaged", hint="take it again")
    report = Report(command="pg-locks", context="", verdict=Verdict.UNKNOWN, error=failed)
    made = json.loads(to_json(report))
    assert made["error"] == {"code": 65, "message": "the file is damaged", "hint": "take it again"}
    assert (made["verdict"], made["findings"], made["checks"], made["gaps"]) == ("unknown", [], [], [])
    assert nagios(report).startswith("DIAG pg-locks UNKNOWN - the file is damaged")
    for paper in (to_terminal(report), markdown(report)):
        assert "the file is damaged" in paper
        assert "take it again" in paper


def test_times_in_json_are_utc_and_end_in_z():
    made = json.loads(to_json(behind("orders")))
    assert made["window"]["to"] == NOW.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("word", ["\x1b[31mStable", "`|`", "<b>", "[x](http://evil)"])
def test_a_word_that_should_be_the_servers_own_is_no_way_in_either(word):
    def report(state):
        return diagnosed("kafka-lag", kafka_lag(consumer_group("g", state=state), (300, 1_000, 420.0)))

    assert all(line.isprintable() for line in to_terminal(report(word)).split("\n"))
    hostile, ordinary = shape(parsed(markdown(report(word)))), shape(parsed(markdown(report("Stable"))))
    assert hostile.pop("code_inline") > ordinary.pop("code_inline"), "shown literally, in a code span"
    assert hostile == ordinary
    assert bars(markdown(report(word))) == bars(markdown(report("Stable")))


def many(groups):
    """That many groups without members, each behind."""
    each = [
        kafka_lag(consumer_group(f"group-{number:02}", state="Empty", members=0), (300, 1_000, 420.0))
        for number in range(groups)
    ]
    together = msgspec.structs.replace(
        each[0],
        groups=tuple(one.groups[0] for one in each),
        commits=tuple(one.commits[0] for one in each),
    )
    return diagnosed("kafka-lag", together)


@pytest.mark.parametrize(("groups", "named", "left_out"), [(5, 0, 0), (6, 1, 0), (25, 20, 0), (26, 20, 1)])
def test_of_many_findings_the_worst_stand_in_full_and_the_rest_on_a_line_each(groups, named, left_out):
    report = many(groups)
    assert len(report.findings) == groups
    text, page = to_terminal(report), markdown(report)
    assert (text.count("runbook: diag"), page.count("\nRunbook: `diag")) == (5, 5)
    lines = text.splitlines()
    assert sum(line.startswith(("  warning  kafka-lag/", "  critical  kafka-lag/")) for line in lines) == named
    assert sum(line.startswith(("| critical |", "| warning |")) for line in page.splitlines()) == min(groups, 25)
    assert (f"and {left_out} more findings" in text, f"And {left_out} more findings" in page) == (bool(left_out),) * 2


def test_checks_skipped_or_unknown_for_one_reason_share_a_line():
    text = to_terminal(behind("orders"))
    (line,) = [part for part in text.split("\n  skipped: ")[1:] if "15 s" in part]
    assert {"crash-loop", "downstream-outage", "under-capacity"} <= set(
        line.partition(":")[0].replace("\n", " ").replace(",", " ").split()
    )
    assert "kafka-lag/" not in line


def test_a_verdict_says_how_many_checks_did_not_run():
    healthy = diagnosed("kafka-lag", kafka_lag(consumer_group("orders"), (1_000, 1_000, 0.0)))
    ran = [one for one in healthy.checks if one.outcome is not Outcome.SKIPPED]
    left = len(healthy.checks) - len(ran)
    assert left
    assert f"nothing wrong was seen by {len(ran)} checks ({left} skipped)" in to_terminal(healthy).replace("\n", " ")


@pytest.mark.parametrize(("topics", "named", "more"), [(5, 5, ""), (7, 5, "explains 2 more findings")])
def test_what_one_finding_explains_is_named_up_to_five(topics, named, more):
    empty = consumer_group("orders", state="Empty", members=0)
    each = [kafka_lag(empty, (300, 1_000, 420.0), topic=f"topic-{number}") for number in range(topics)]
    together = msgspec.structs.replace(
        each[0],
        commits=tuple(one.commits[0] for one in each),
        log_ends=tuple(one.log_ends[0] for one in each),
    )
    text = to_terminal(diagnosed("kafka-lag", together))
    assert text.count("explains kafka-lag/time-lag") == named
    assert more in text
