"""A look at Redis with witnesses, live and replayed: who is dialled, what is recorded, what a failure costs."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

import pytest
import running
from faultproxy import Fault, FaultProxy
from msgspec import Struct

from diag.config import Context, PostgresTarget, PrometheusTarget, RedisTarget
from diag.diagnosis import Request, diagnose, replay
from diag.diagnosis.plan import Plan, Planned, _needs
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.lab.openmetrics import Sample
from diag.lab.prometheus import recorded
from diag.redaction import refuse_secrets
from diag.report.json import json as as_json
from diag.report.terminal import text as as_text
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgCache
from diag.snapshots.prometheus import CacheHistory
from diag.snapshots.redis import RedisLoad
from diag.store import evidence as store

GRACE_S = 0.5


class Facts(Struct, frozen=True, kw_only=True):
    load: Window[RedisLoad]
    history: CacheHistory | None
    cache: Window[PgCache] | None


class Limits(Struct, frozen=True, kw_only=True):
    misses: int = 1


def judge_misses(facts: Facts, limits: Limits):
    """Find misses in the past: all of the recorded figures stand in the finding."""
    history = facts.history
    if history is None or history.misses is None or history.misses.totals[-1] < limits.misses:
        return
    yield Finding(
        severity=Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(),
        summary=say("{n} misses, the last at {at}", n=history.misses.totals[-1], at=history.misses.at_s[-1]),
        evidence=tuple(
            Evidence(name=str(at_s), value=Quantity(total, "misses"), source="Prometheus")
            for at_s, total in zip(history.misses.at_s, history.misses.totals, strict=True)
        ),
        steps=(),
    )


def too_little(facts: Facts, _: Limits) -> Any:
    return None if facts.history or facts.cache else say("needs --prometheus-url or --dsn")


CHECK = Check(
    title="made up",
    facts=Facts,
    needs=("misses",),
    limits=Limits(),
    judge=judge_misses,
    min_frames=2,
    too_little=too_little,
)


def plan_of(redis_server: Any, deadline_s: float = 5.0, **more: Any) -> Plan:
    unnamed = more.pop("unnamed", ("prometheus", "postgres"))
    context = Context(redis=(RedisTarget(url=redis_server.url),), **more)
    request = Request(
        command="cache-stampede", context=context, unnamed=unnamed, interval_s=0.05, deadline_s=deadline_s
    )
    planned = Planned(slug="cache-stampede/made-up", check=CHECK, limits=Limits(), needs=_needs(Facts))
    return Plan(request=request, checks=(planned,))


def diagnosed(plan: Plan, **more: Any) -> tuple[dict[str, Any], str]:
    """Return the JSON report, and all that any sink says; no credential stands in it."""
    report, masks, _ = diagnose(plan, **more)
    said = as_json(report) + as_text(report, colour=False, width=100, quiet=False, verbose=True)
    refuse_secrets(said, masks)
    return json.loads(as_json(report)), said


@contextlib.contextmanager
def nobody_may_come():
    """A port that counts who dials it."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        ended = threading.Event()

        def count():
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connected, who = listening.accept()
                    connected.close()
                    came.append(who)

        thread = threading.Thread(target=count)
        thread.start()
        yield listening.getsockname()[1], came
        ended.set()
        thread.join()


def test_a_default_address_is_not_dialled_for_a_witness(redis_server):
    with nobody_may_come() as (port, came):
        there = {
            "postgres": (PostgresTarget(dsn=f"host=127.0.0.1 port={port}"),),
            "prometheus": (PrometheusTarget(url=f"http://127.0.0.1:{port}"),),
        }
        report, _ = diagnosed(plan_of(redis_server, **there))
        assert came == []
        assert (report["verdict"], report["gaps"]) == ("clear", [])
        assert list(report["footprint"]) == ["redis"]
        (ended,) = report["checks"]
        assert (ended["outcome"], ended["because"]) == ("skipped", "needs --prometheus-url or --dsn")
        named, _ = diagnosed(plan_of(redis_server, **there, unnamed=()))
        assert len(came) >= 2
        assert {gap["source"] for gap in named["gaps"]} == {"postgres", "prometheus"}
        assert named["verdict"] == "unknown"


MISSES = "redis_keyspace_misses_total"
PAST = [Sample(MISSES, {"instance": "cache-1:9121"}, 0.0, float(number)) for number in range(60)]


def past():
    now = int(time.time())
    return [one._replace(at_s=now - 15.0 * (len(PAST) - number)) for number, one in enumerate(PAST)]


def prometheus_at(url: str, **more: str) -> dict[str, Any]:
    return {"prometheus": (PrometheusTarget(url=url, **more),), "unnamed": ("postgres",)}


def test_a_replay_says_what_was_said_live(redis_server, prometheus, tmp_path):
    plan = plan_of(redis_server, **prometheus_at(prometheus.url))
    with recorded(prometheus, past()), store.EvidenceWriter(tmp_path / "seen.diag", {}) as writer:
        live, _ = diagnosed(plan, writer=writer)
    (finding,) = live["findings"]
    assert [row["value"] for row in finding["evidence"]] == [float(number) for number in range(60)]
    assert {gap["fact"] for gap in live["gaps"]} == {"hits", "queries"}
    assert live["footprint"]["prometheus"]["requests"] == 4
    unasked = plan_of(redis_server)  # a replay needs no address
    with store.Evidence(tmp_path / "seen.diag") as evidence:
        again = json.loads(as_json(replay(unasked, evidence)))
    for part in ("verdict", "findings", "checks", "gaps", "targets", "window", "footprint"):
        assert again[part] == live[part], part


def test_a_failed_witness_is_recorded_too(redis_server, tmp_path):
    plan = plan_of(redis_server, **prometheus_at("http://127.0.0.1:1"))
    with store.EvidenceWriter(tmp_path / "seen.diag", {}) as writer:
        live, _ = diagnosed(plan, writer=writer)
    (gap,) = live["gaps"]
    assert (gap["source"], gap["fact"], gap["rung"]) == ("prometheus", "*", "connect")
    assert [check["outcome"] for check in live["checks"]] == ["unknown"]
    with store.Evidence(tmp_path / "seen.diag") as evidence:
        again = json.loads(as_json(replay(plan_of(redis_server), evidence)))
    assert (again["gaps"], again["checks"]) == (live["gaps"], live["checks"])


def test_a_silent_witness_costs_the_deadline_and_not_what_redis_said(redis_server):
    with FaultProxy(1, Fault("silence")) as proxy:
        plan = plan_of(redis_server, 1.0, **prometheus_at(f"http://127.0.0.1:{proxy.port}"))
        started = time.monotonic()
        report, _ = diagnosed(plan)
        took_s = time.monotonic() - started
    assert took_s <= 1.0 + plan.span_s + GRACE_S
    assert [target["kind"] for target in report["targets"]] == ["redis"]
    assert [(gap["source"], gap["rung"]) for gap in report["gaps"]] == [("prometheus", "query")]
    assert report["verdict"] == "unknown"


SECRET = "Zq9secret/@|`"


@pytest.mark.parametrize("how", ["token", "password", "basic", "url"])
def test_no_credential_is_in_any_output(redis_server, prometheus, how, tmp_path):
    """A server that does not ask for one is as good: what was given is not said."""
    where = {
        "token": prometheus_at(prometheus.url, token=SECRET),
        "password": prometheus_at(prometheus.url, password=SECRET),
        "basic": prometheus_at(prometheus.url, username="oncall", password=SECRET),
        "url": prometheus_at(prometheus.url.replace("://", "://oncall:Zq9secret%2F@")),
    }[how]
    with recorded(prometheus, past()), store.EvidenceWriter(tmp_path / "seen.diag", {}) as writer:
        report, said = diagnosed(plan_of(redis_server, **where), writer=writer)
    assert "Zq9" not in said
    assert report["findings"]
    with store.Evidence(tmp_path / "seen.diag") as evidence:
        assert not any(b"Zq9" in reading.body for reading in evidence.readings())


def test_a_server_that_echoes_the_token_is_masked(redis_server, prometheus):
    """As part of a series' name, which the gap and the evidence quote."""
    target = prometheus_at(prometheus.url, token="Zq9secret")
    named = [one._replace(labels={"instance": name}) for name in ("Zq9secret:1", "b") for one in past()]
    with recorded(prometheus, named):
        report, said = diagnosed(plan_of(redis_server, **target))
    assert "Zq9" not in said
    assert "‹masked›" in next(gap["fix"] for gap in report["gaps"] if gap["fact"] == "instances")


def test_the_command_dials_redis_alone_unless_a_witness_is_named(redis_server):
    report = running.diagnosed("cache-stampede", "--redis-url", redis_server.url, "--interval", "0.1")
    assert list(report["footprint"]) == ["redis"]
    assert report["gaps"] == []
