"""Regenerate the evidence of `diag demo` from the lab: `python -m diag.lab.demo`.

Three faults of real incidents are in effect at once on real servers; what the sources see is
kept as `demo.diag`, which ships in the wheel.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from diag import __version__, places
from diag.config import Context, KafkaTarget, PostgresTarget, RedisTarget
from diag.diagnosis import Request, diagnose, plan
from diag.lab import services
from diag.lab.cache_stampede import expiry_cliff
from diag.lab.kafka_lag import dead_group
from diag.lab.pg_locks import lock_queue
from diag.lab.servers import Servers
from diag.store.evidence import EvidenceWriter

_COMMANDS = ("kafka-lag", "pg-locks", "cache-stampede")


def main() -> None:
    """Start three servers, break them, look once, keep what was seen."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        place = Path(folder)
        place.chmod(0o755)
        postgres = services.start_postgres(place / "postgres")
        running.callback(services.stop, postgres)
        redis = services.start_redis(place / "redis")
        running.callback(services.stop, redis)
        kafka = services.start_kafka(place / "kafka")
        running.callback(services.stop, kafka)
        servers = Servers(postgres=postgres, redis=redis, kafka=kafka)
        running.enter_context(dead_group.broken(servers, topic="events", group="notifications"))
        running.enter_context(expiry_cliff.broken(servers))
        running.enter_context(lock_queue.broken(servers))
        context = Context(
            kafka=(KafkaTarget(bootstrap_servers=kafka.bootstrap_servers),),
            postgres=(PostgresTarget(dsn=postgres.dsn),),
            redis=(RedisTarget(url=redis.url),),
        )
        manifest = {"diag_version": __version__, "command": "demo", "context": "demo"}
        with EvidenceWriter(places.demo_evidence(), manifest, force=True) as writer:
            request = Request(command="demo", commands=_COMMANDS, context=context, unnamed=("prometheus",))
            diagnose(plan(request), writer=writer)


if __name__ == "__main__":
    main()
