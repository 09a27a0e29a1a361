"""A check that may ask other systems: who is asked, who speaks for whom, and what is said when nobody does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct
from worlds import NOW, pg_cache, redis_load

from diag.config import Context, HttpTarget, PostgresTarget, RedisTarget
from diag.diagnosis.hand import target_names
from diag.diagnosis.judge import judge, judge_check
from diag.diagnosis.plan import Plan, Planned, Request, _needs
from diag.findings import Basis, Check, Finding, Outcome, Severity, Subject, say
from diag.report.phrasing import in_sight, phrased
from diag.snapshots.base import Gap, Target, Window
from diag.snapshots.postgres import PgCache
from diag.snapshots.prometheus import CacheHistory
from diag.snapshots.redis import RedisLoad
from diag.text import ServerText


class Facts(Struct, frozen=True, kw_only=True):
    """One fact that is needed, and two witnesses of which one is enough."""

    load: Window[RedisLoad]
    history: CacheHistory | None
    cache: Window[PgCache] | None


class Limits(Struct, frozen=True, kw_only=True):
    """How long a look must be."""

    observed_for_s: float = 0.0


WANTS = "needs --prometheus-url or --dsn"


def too_little(facts: Facts, _: Limits) -> Any:
    return None if facts.history or facts.cache else say(WANTS)


def judge_nothing(facts: Facts, _: Limits):
    if facts.history and facts.history.hits:
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(),
            summary=say("seen"),
            evidence=(),
            steps=(),
        )


def planned(facts: Any = Facts, **limits: float) -> Planned:
    check = Check(
        title="t",
        facts=facts,
        needs=("hits",),
        limits=Limits(),
        judge=judge_nothing,
        min_frames=2,
        too_little=too_little,
    )
    return Planned(slug="cache-stampede/made-up", check=check, limits=Limits(**limits), needs=_needs(facts))


def plan(*checks: Planned, unnamed: tuple[str, ...] = (), **targets: Any) -> Plan:
    context = Context(redis=(RedisTarget(),), postgres=(PostgresTarget(),), **targets)
    return Plan(request=Request(command="cache-stampede", context=context, unnamed=unnamed), checks=checks)


PROMETHEUS = (HttpTarget(url="http://h:9090"),)


def history(**more: Any) -> CacheHistory:
    return CacheHistory(target=Target(kind="prometheus", address="h"), observed_at=NOW, span_s=21_600, **more)


def lost(kind: str, name: str = "default", fact: str = "*") -> tuple[str, Gap]:
    return name, Gap(source=kind, fact=fact, what=ServerText(f"{kind} {name}"), why=ServerText("refused"))


LOADS = (redis_load(), redis_load(after_s=2))
REDIS = {("default", RedisLoad): LOADS}
HISTORY = {("default", CacheHistory): (history(),)}


def ended(frames: dict[Any, Any], *gone: tuple[str, Gap], target: str = "default", **limits: float) -> tuple[str, str]:
    windows = {key: Window(frames=tuple(taken)) for key, taken in frames.items()}
    _, outcome = judge_check(planned(**limits), target, windows, gone)
    return outcome.outcome, phrased(outcome.because, in_sight) if outcome.because else ""


def test_a_window_or_none_is_an_optional_window():
    needs = {need.name: (need.type, need.windowed, need.optional, need.kind) for need in planned().needs}
    assert needs == {
        "load": (RedisLoad, True, False, "redis"),
        "history": (CacheHistory, False, True, "prometheus"),
        "cache": (PgCache, True, True, "postgres"),
    }


@pytest.mark.parametrize(
    ("unnamed", "targets", "asked"),
    [
        (("redis", "prometheus", "postgres"), {}, ("redis",)),
        (("redis", "postgres"), {"prometheus": PROMETHEUS}, ("redis", "prometheus")),
        (("redis", "prometheus"), {}, ("redis", "postgres")),
        ((), {"prometheus": PROMETHEUS}, ("redis", "prometheus", "postgres")),
        ((), {}, ("redis", "postgres")),
    ],
)
def test_a_default_address_is_dialled_only_for_what_a_check_cannot_do_without(unnamed, targets, asked):
    settled = plan(planned(), unnamed=unnamed, **targets)
    assert settled.asked == asked
    assert settled.kinds == ("redis", "prometheus", "postgres")


class OnlyWitnesses(Struct, frozen=True, kw_only=True):
    """Nothing that is needed by itself."""

    load: Window[RedisLoad] | None
    history: CacheHistory | None


def test_what_is_not_asked_for_lengthens_no_look():
    settled = plan(planned(OnlyWitnesses), unnamed=("redis",), prometheus=PROMETHEUS)
    assert settled.asked == ("prometheus",)
    assert settled.span_s == 0
    assert plan(planned(OnlyWitnesses), prometheus=PROMETHEUS).span_s == 2.0


def test_a_witness_nobody_named_is_no_gap_and_the_check_is_skipped_for_a_reason():
    assert ended(REDIS) == (Outcome.SKIPPED, WANTS)
    report = judge(plan(planned()), REDIS, [], {})
    assert (report.verdict, report.gaps) == ("clear", ())


def test_targets_stand_in_the_order_of_the_checks_whichever_answered_first():
    report = judge(plan(planned()), HISTORY | REDIS, [], {})
    assert [target.kind for target in report.targets] == ["redis", "prometheus"]


def test_a_witness_that_was_named_and_failed_is_unknown():
    assert ended(REDIS, lost("prometheus")) == (Outcome.UNKNOWN, "prometheus default: refused")
    assert ended(REDIS, lost("postgres")) == (Outcome.UNKNOWN, "postgres default: refused")


def test_a_witness_that_was_named_and_refused_one_fact_is_unknown_unless_another_was_enough():
    refused = lost("prometheus", fact="history")
    assert ended(REDIS, refused) == (Outcome.UNKNOWN, "prometheus default: refused")
    assert ended(REDIS | {("default", PgCache): (pg_cache(), pg_cache(after_s=2))}, refused) == (Outcome.CLEAR, "")


def test_a_failed_witness_counts_also_where_another_one_has_nothing_to_say():
    assert ended(REDIS | HISTORY, lost("postgres")) == (Outcome.UNKNOWN, "postgres default: refused")


def test_one_witness_is_enough():
    assert ended(REDIS | HISTORY) == (Outcome.CLEAR, "")
    assert ended(REDIS | {("default", PgCache): (pg_cache(), pg_cache(after_s=2))}) == (Outcome.CLEAR, "")


def test_a_needed_fact_that_the_witness_could_not_read_is_unknown():
    gap = Gap(source="prometheus", fact="hits", what=ServerText("hits"), why=ServerText("no series"))
    assert ended(REDIS | {("default", CacheHistory): (history(gaps=(gap,)),)}) == (Outcome.UNKNOWN, "hits: no series")


def test_a_witness_with_too_few_samples_is_left_out_and_said():
    once = {("default", PgCache): (pg_cache(),)}
    assert ended(REDIS | once) == (Outcome.SKIPPED, "needs 2 samples")
    assert ended(REDIS | once | HISTORY) == (Outcome.CLEAR, "")


def test_a_need_that_cannot_be_done_without_is_still_unknown_or_skipped():
    assert ended(HISTORY, lost("redis")) == (Outcome.UNKNOWN, "redis default: refused")
    assert ended(HISTORY) == (Outcome.UNKNOWN, "the facts were not taken")
    assert ended({("default", RedisLoad): LOADS[:1]} | HISTORY) == (Outcome.SKIPPED, "needs 2 samples")


def test_a_history_is_a_look_as_long_as_it_goes_back():
    assert ended(REDIS, observed_for_s=3600)[0] == Outcome.SKIPPED
    assert ended(REDIS, lost("prometheus"), observed_for_s=3600)[0] == Outcome.UNKNOWN
    assert ended(REDIS | HISTORY, observed_for_s=3600)[0] == Outcome.CLEAR


TWO = {("a", RedisLoad): LOADS, ("b", RedisLoad): LOADS}


def test_checks_run_on_the_targets_they_cannot_do_without():
    assert target_names(planned(), TWO | HISTORY, []) == ["a", "b"]
    assert target_names(planned(), TWO | HISTORY, [lost("redis", "c"), lost("postgres", "d")]) == ["a", "b", "c"]
    assert target_names(planned(OnlyWitnesses), HISTORY, []) == ["default"]
    assert target_names(planned(), HISTORY, []) == ["default"]


def test_the_only_witness_speaks_for_every_target():
    assert ended(TWO | HISTORY, target="a") == (Outcome.CLEAR, "")
    assert ended(TWO, lost("prometheus"), target="b") == (Outcome.UNKNOWN, "prometheus default: refused")


def test_of_several_witnesses_the_namesake_speaks():
    named = {("a", CacheHistory): (history(),), ("c", CacheHistory): (history(),)}
    assert ended(TWO | named, target="a") == (Outcome.CLEAR, "")
    said = (Outcome.SKIPPED, "none of the prometheus targets is named after this one")
    assert ended(TWO | named, target="b") == said
    assert ended(TWO | named, lost("prometheus", "c"), target="a") == (Outcome.CLEAR, "")
