"""Queries of a book read and nothing else: what each allow-list lets through and what not."""

from __future__ import annotations

import pytest

from diag.runbook.reading import expression_problem, kafka_problem, redis_problem, sql_problem


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "SELECT count(*) from pg_locks where not granted and relation = to_regclass(:'relation')",
        "with a as (select 1 as x) select x from a where x in (1, 2) and exists (select 1)",
        "show server_version",
        "select 'drop table x; --'",
        "select 'it''s' from pg_stat_get_activity(null)",
        "select updated_at, created from t where id = :'relation'::int",
    ],
)
def test_sql_that_reads(text):
    assert sql_problem(text, ("relation",) if ":'relation'" in text else ()) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("update t set a = 1", "has to begin with select, with or show"),
        ("explain select 1", "has to begin with select, with or show"),
        ("selection", "has to begin with select"),
        ("select 1; drop table t", "holds a second statement"),
        ("with a as (delete from t returning 1) select * from a", "holds `delete`"),
        ("select 1 for update", "holds `update`"),
        ("select 1 for share", "holds `share`"),
        ("select 1 into t", "holds `into`"),
        ("select pg_terminate_backend(1)", "calls `pg_terminate_backend`, which is not on the list"),
        ("select pg_catalog.pg_cancel_backend (1)", "calls `pg_catalog.pg_cancel_backend`"),
        ("select set_config('a', 'b', false)", "calls `set_config`"),
        ("select pg_total_relation_size('t')", "calls `pg_total_relation_size`"),
        ('select "pg_cancel_backend"(1)', "holds a quoted name"),
        ("select $$x$$", "holds a dollar quote"),
        ("select 1 -- x", "holds a comment"),
        ("select pg_cancel_backend/**/(1)", "holds a comment"),
        (r"select E'\' , pg_cancel_backend(1), '", "calls `pg_cancel_backend`"),
        (r"select a\b", "holds a backslash"),
        ("select {{head.pid}}", "holds a placeholder"),
        ("select :'a'", "uses the parameters a, but args has none"),
        ("select " + "1," * 1000 + "1", "characters; 2000 are allowed"),
    ],
)
def test_sql_that_may_not_be_asked(text, problem):
    assert problem in sql_problem(text, ())


def test_sql_arguments_are_used():
    assert sql_problem("select 1", ("pid",)) == "uses the parameters none, but args has pid"


@pytest.mark.parametrize(
    "words",
    [("PING",), ("info", "stats"), ("TTL", "{{key}}"), ("memory", "usage", "k"), ("SCAN", "0", "COUNT", "500"),
     ("CONFIG", "GET", "maxmemory-policy"), ("OBJECT", "FREQ", "k"), ("SLOWLOG", "GET", "10")],
)  # fmt: skip
def test_redis_that_reads(words):
    assert redis_problem(words) == ""


@pytest.mark.parametrize(
    "words",
    [("KEYS", "*"), ("MONITOR",), ("EVAL", "x", "0"), ("DEBUG", "SLEEP", "1"), ("CONFIG", "SET", "maxmemory", "1"),
     ("CONFIG",), ("GET", "k"), ("DEL", "k"), ("FLUSHALL",), ("SLOWLOG", "RESET"), ("CLIENT", "KILL", "x"),
     ("MEMORY", "PURGE"), ("PEXPIRE", "k", "1"), ("SHUTDOWN",), ("info;", "x")],
)  # fmt: skip
def test_redis_that_may_not_be_asked(words):
    assert "is not on the list of reading commands" in redis_problem(words)


def test_redis_settings_that_hold_secrets_and_batches_that_hurt():
    for words in (("CONFIG", "GET", "requirepass"), ("CONFIG", "GET", "*"), ("CONFIG", "GET", "hz", "requirepass")):
        assert "others hold secrets" in redis_problem(words)
    assert "at most 500" in redis_problem(("SCAN", "0", "COUNT", "501"))
    assert "at most 500" in redis_problem(("SCAN", "0", "count", "{{n}}"))
    assert redis_problem(("TTL", "a{{key}}")) == "`a{{key}}`: a placeholder is a whole word"


def test_kafka_describes_and_lists():
    assert kafka_problem(("list-groups",)) == ""
    assert kafka_problem(("describe-group", "{{g}}")) == ""
    for words in (("reset-offsets", "g"), ("delete-group", "g"), ("--reset-offsets",)):
        assert "is not one of list-groups" in kafka_problem(words)
    assert kafka_problem(("describe-group",)) == "`describe-group` takes 1 name, not 0"
    assert kafka_problem(("list-topics", "--delete")) == "`list-topics` takes 0 name, not 1"


def test_placeholders_of_expressions_stand_in_quotes():
    assert expression_problem('max(lag{topic="{{t}}", group="{{g}}"}) > 1') == ""
    assert expression_problem("up") == ""
    assert "outside double quotes" in expression_problem("rate(x[{{w}}])")
    assert "outside double quotes" in expression_problem('a{b="c"} > {{n}}')
    assert expression_problem(r'a{b="\"{{x}}"}') == ""
