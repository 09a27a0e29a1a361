"""One source is down and another one is fine: what the healthy one found still appears."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from faultproxy import Fault, FaultProxy
from faults.command import CLEAR, GRACE_S, UNKNOWN, run, words_for
from faults.contract import is_whole, outcomes

from diag.config import Context, PostgresTarget, RedisTarget
from diag.diagnosis import Request, diagnose, plan
from diag.report.json import json as as_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.fixtures import InTime, Look, Proxied

    from diag.lab.servers import PostgresServer, RedisServer

_DEADLINE_S = 1.2
_SOON_S = 10.0
_KEYS = 3_000
_CHECK_OF = {"postgres": "pg-locks/lock-queue", "redis": "cache-stampede/expiry-cliff"}
_TABLE_OF = {"postgres": "waits", "redis": "expiry_clusters"}
_FAULTS = {"refused": None, "silent": Fault("silence"), "hanging": Fault("hang", 400), "reset": Fault("reset", 400)}
_FIELD = {"postgres": "dsn", "redis": "url", "kafka": "bootstrap_servers"}


@pytest.fixture
def queue(postgres: PostgresServer) -> Iterator[None]:
    """Somebody waits for a table that somebody else has locked."""
    with contextlib.ExitStack() as held:
        owner, holder, waiter = (
            held.enter_context(contextlib.closing(psycopg.connect(postgres.dsn, autocommit=True))) for _ in range(3)
        )
        owner.execute("CREATE TABLE held_for_faults ()")
        held.callback(owner.execute, "DROP TABLE held_for_faults")
        holder.execute("BEGIN; LOCK TABLE held_for_faults")
        held.callback(holder.close)
        waiter.pgconn.send_query(b"SELECT FROM held_for_faults")
        until = time.monotonic() + _SOON_S
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while owner.execute(waits).fetchone() != (1,) and time.monotonic() < until:
            time.sleep(0.01)
        yield


@pytest.fixture
def cliff(redis_server: RedisServer) -> Iterator[None]:
    """Many keys that expire in one second."""
    names = [f"held:for:faults:{number}" for number in range(_KEYS)]
    with redis.Redis.from_url(redis_server.url) as client, client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.set(name, "x", ex=600)
        pipeline.execute()
        yield
        client.delete(*names)


@contextlib.contextmanager
def _broken(port: int, fault: Fault | None) -> Iterator[int]:
    """Give a port at which the server's answers break so; without a fault a port at which nobody listens."""
    if fault is None:
        yield 1
    else:
        with FaultProxy(port, fault) as proxy:
            yield proxy.port


def _diagnosed(ports: dict[str, int]) -> dict[str, Any]:
    """Look at PostgreSQL and Redis at once, as a command that has checks on both will; return the JSON report."""
    dsn, url = f"postgresql://postgres@127.0.0.1:{ports['postgres']}/postgres", f"redis://127.0.0.1:{ports['redis']}/0"
    context = Context(postgres=(PostgresTarget(dsn=dsn),), redis=(RedisTarget(url=url),))
    request = Request(
        command="pg-locks",
        commands=("pg-locks", "cache-stampede"),
        context=context,
        deadline_s=_DEADLINE_S,
        samples=1,
        limits=("pg-locks/lock-queue.waited_s=0",),
    )
    settled = plan(request)
    started = time.monotonic()
    report, _, interrupted = diagnose(settled)
    assert time.monotonic() - started <= _DEADLINE_S + GRACE_S
    assert not interrupted
    return json.loads(as_json(report))


@pytest.mark.usefixtures("queue", "cliff")
@pytest.mark.parametrize("how", _FAULTS)
@pytest.mark.parametrize(("down", "fine"), [("postgres", "redis"), ("redis", "postgres")])
def test_the_findings_of_the_healthy_source_still_appear(
    postgres: PostgresServer, redis_server: RedisServer, how: str, down: str, fine: str
) -> None:
    ports = {"postgres": postgres.port, "redis": redis_server.port}
    with _broken(ports[down], _FAULTS[how]) as port:
        report = _diagnosed(ports | {down: port})
    assert [finding["check"] for finding in report["findings"]] == [_CHECK_OF[fine]]
    assert report["facts"][_TABLE_OF[fine]]
    assert [target["kind"] for target in report["targets"]] == [fine]
    ended = {check["check"]: check["outcome"] for check in report["checks"]}
    assert ended.pop(_CHECK_OF[fine]) == "found"
    command = _CHECK_OF[down].partition("/")[0]
    assert {outcome for check, outcome in ended.items() if check.startswith(command)} == {"unknown"}
    assert [(gap["source"], gap["fact"]) for gap in report["gaps"]] == [(down, "*")]
    assert report["verdict"] in ("warning", "critical")


@pytest.mark.usefixtures("queue", "cliff")
def test_both_findings_appear_when_both_are_fine(postgres: PostgresServer, redis_server: RedisServer) -> None:
    report = _diagnosed({"postgres": postgres.port, "redis": redis_server.port})
    assert {finding["check"] for finding in report["findings"]} == set(_CHECK_OF.values())
    assert report["gaps"] == []


def test_one_of_two_targets_of_a_kind_is_down(
    home: Path, tmp_path: Path, proxied: Proxied, kind: str, in_time: InTime
) -> None:
    """The command says so, shows what the other one has, and ends with 3."""
    (name, flag, form), field = words_for(kind, "{}")[:3], _FIELD[kind]
    with proxied(kind) as fine, proxied(kind, Fault("silence")) as down:
        targets = [
            f'[[contexts.two.{kind}]]\nname = "{called}"\n{field} = "{form.format(f"127.0.0.1:{port}")}"\n'
            for called, port in (("fine", fine.port), ("down", down.port))
        ]
        settings = tmp_path / "diag.toml"
        settings.write_text("\n".join(targets))
        words = (name, "--config", str(settings), "--context", "two", "--samples", "1")
        ran = run(words, _DEADLINE_S, home)
    assert flag not in words
    is_whole(ran)
    in_time(ran, kind, _DEADLINE_S)
    assert ran.code == UNKNOWN
    assert [target["name"] for target in ran.report["targets"]] == ["fine"]
    assert "down" in ran.gap["what"]
    by_target = {
        name: [check for check in ran.report["checks"] if check["target"] == name] for name in ("fine", "down")
    }
    assert outcomes({"checks": by_target["fine"]}) == {"clear"}
    assert outcomes({"checks": by_target["down"]}) == {"unknown"}


def test_a_source_that_falls_silent_between_two_samples_is_not_called_clear(
    look: Look, proxied: Proxied, in_time: InTime
) -> None:
    """The first sample is shown; what the second would have said is unknown."""
    two = ("--samples", "2", "--interval", "0.1")
    with proxied("kafka") as proxy:
        ran = look("kafka", f"127.0.0.1:{proxy.port}", _SOON_S)
    assert ran.code == CLEAR
    with proxied("kafka", Fault("hang", len(proxy.answers))) as proxy:
        ran = look("kafka", f"127.0.0.1:{proxy.port}", _DEADLINE_S, *two)
    is_whole(ran)
    in_time(ran, "kafka", _DEADLINE_S + 0.1)
    assert len(ran.report["targets"]) == 1
    assert ran.report["facts"]["partitions"]
    assert ran.gap["rung"] == "query"
    assert ran.report["verdict"] == "unknown"
    assert ran.code == UNKNOWN
