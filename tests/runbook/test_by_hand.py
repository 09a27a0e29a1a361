"""The commands of the section "by hand" mean what the step means, to a real shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.cli import options
from diag.runbook.by_hand import by_hand
from diag.runbook.model import DEFAULT_INTERVAL_S, DEFAULT_SAMPLES
from diag.runbook.parse import parse

SOURCE = "pg-locks/sample.md"
STEP_2 = """sql: select pid, backend_start from pg_stat_get_activity(:'pid'::int)
args: {pid: finding("pg-locks/lock-queue").pid}
"""
STUB = """#!/bin/sh
printf '%s|' "${0##*/}" "$@"
case $0 in */psql) cat;; esac
"""


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """Run commands in a shell whose psql, redis-cli, … only say what they were called with."""
    folder = tmp_path_factory.mktemp("commands")
    for tool in ("psql", "redis-cli", "diag", "promtool", "logcli", "kafka-consumer-groups.sh"):
        (folder / tool).write_text(STUB)
        (folder / tool).chmod(0o755)

    def run(text, **variables):
        given_ = {"PATH": f"{folder}:/usr/bin:/bin", **variables}
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=given_, check=False)

    return run


def script(page, *changes):
    for old, new in changes:
        assert old in page
        page = page.replace(old, new, 1)
    return by_hand(parse(page, source=SOURCE)).split("```sh\n")[1].split("```")[0]


def one_step(text, number):
    lines = text.split("\n")
    begin = next(at for at, line in enumerate(lines) if line.startswith(f"# {number}. "))
    end = next((at for at, line in enumerate(lines) if line.startswith(f"# {number + 1}. ")), len(lines))
    return "\n".join(lines[begin:end]) + "\n"


def test_a_shell_reads_the_whole_section(page):
    for shell in ("sh", "bash"):
        checked = subprocess.run([shell, "-n"], input=script(page), capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_the_diagnosis_looks_as_long_as_the_step(page, ran):
    look = "only: pg-locks/lock-queue\n"
    text = script(page, (look, f"{look}samples: 6\ninterval: 3s\nhistory: 60m\n"))
    words = "diag|pg-locks|--only|pg-locks/lock-queue|--samples|6|--interval|3|--history|60m|"
    assert ran(one_step(text, 1)).stdout == words


def test_without_words_a_step_looks_as_long_as_the_command():
    by_default = {one.name: one.default for one in options.COMMON}
    assert (by_default["samples"], by_default["interval"]) == (DEFAULT_SAMPLES, DEFAULT_INTERVAL_S)


def test_values_come_from_variables_and_go_through_psql_quoting(page, ran):
    out = ran(one_step(script(page), 2), lock_queue_pid="7").stdout
    assert out == "psql|-X|-v|pid=7|select pid, backend_start from pg_stat_get_activity(:'pid'::int);\n"
    out = ran(one_step(script(page), 4), head_pid="7", head_backend_start="2026-01-01 03:00:00+00").stdout
    assert "-v|backend_start=2026-01-01 03:00:00+00|select pg_cancel_backend(pid)" in out
    assert "where backend_start = :'backend_start'::timestamptz;" in out


def test_a_value_that_is_not_set_stops_the_command_and_says_where_to_find_it(page, ran):
    done = ran(one_step(script(page), 2))
    assert done.returncode != 0
    assert "lock_queue_pid" in done.stderr
    assert "step 1" in done.stderr
    assert done.stdout == ""


def test_parameters_have_their_default_in_base_units(page, ran):
    text = script(
        page, (STEP_2, "redis: [TTL, '{{min_open}}']\n"), ("expect: head.open_s > min_open", "expect: has(head.ttl)")
    )
    assert ran(one_step(text, 2)).stdout == "redis-cli|-h|127.0.0.1|TTL|30|"
    assert ran(one_step(text, 2), min_open="9").stdout == "redis-cli|-h|127.0.0.1|TTL|9|"


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30))
def test_fixed_words_reach_the_command_as_they_are_written(page, word):
    if "{{" in word or not word.strip():
        return
    quoted = word.strip().replace("'", "''")
    text = script(
        page, (STEP_2, f"redis: [EXISTS, '{quoted}']\n"), ("expect: head.open_s > min_open", "expect: has(head.x)")
    )
    rest = one_step(text, 2).replace("# 2. Who is it?\n", "").replace("\\\n", "")
    assert shlex.split(rest)[-1] == word.strip()


@pytest.mark.parametrize("value", ["a b", "$(touch x)", "`x`", "'; x", '"', "*", "\\", "-x"])
def test_hostile_values_stay_one_word(page, value, ran):
    text = script(
        page,
        (STEP_2, "promql: 'lag{topic=\"{{min_open}}\"}'\n"),
        ("expect: head.open_s > min_open", "expect: has(head.x)"),
    )
    out = ran(one_step(text, 2), min_open=value, PROMETHEUS_URL="u").stdout
    assert out == f'promtool|query|instant|u|lag{{topic="{value}"}}|'


def test_narrowing_and_lines_of_80_columns(page, ran):
    narrow = "narrow: {table: orders, database: '{{min_open}}'}\nonly"
    text = script(page, ("only", narrow))
    assert ran(one_step(text, 1)).stdout == "diag|pg-locks|--only|pg-locks/lock-queue|--table|orders|--database|30|"
    assert max(len(line) for line in text.split("\n")) <= 80


def test_what_is_not_a_command_is_a_comment(page):
    text = script(page)
    for number in (3, 5):
        assert all(line.startswith("#") for line in one_step(text, number).strip().split("\n"))
    assert "# 4. Cancel it CHANGES SOMETHING" in text
    assert "Only if may ==" in text
    assert "7. Not this" not in text


@pytest.mark.parametrize(
    ("query", "called"),
    [
        ('logql: \'{app="{{min_open}}"} |= "timeout"\'', 'logcli|query|{app="30"} |= "timeout"|'),
        ("kafka: [list-groups]", "kafka-consumer-groups.sh|--bootstrap-server|k|--list|--state|"),
        ("kafka: [describe-group, g 1]", "kafka-consumer-groups.sh|--bootstrap-server|k|--describe|--group|g 1|"),
    ],
)
def test_each_language_has_its_own_tool(page, query, called, ran):
    text = script(page, (STEP_2, f"{query}\n"), ("expect: head.open_s > min_open", "expect: has(head.x)"))
    assert ran(one_step(text, 2), KAFKA_BOOTSTRAP_SERVERS="k").stdout == called
