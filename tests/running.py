"""Run the real command line in a process of its own, as a person or a script would."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any

from diag.lab.servers import Servers


def diag(
    *words: str, environment: dict[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `diag` with these words; its own configuration and variables are out of the way."""
    others = ("PG", "DIAG_", "REDIS_", "KAFKA_", "PROMETHEUS_", "DATABASE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return subprocess.run(
        [sys.executable, "-m", "diag", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=clean | {"XDG_CONFIG_HOME": "/nonexistent"} | (environment or {}),
    )


def diagnosed(*words: str) -> dict[str, Any]:
    """Run a diagnostic command and return its JSON object."""
    ran = diag(*words, "--format", "json")
    assert "Traceback" not in ran.stderr, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def target(command: str, servers: Servers) -> tuple[str, ...]:
    """Return the flags that point a command at the lab; at Kafka's cluster where the servers have one."""
    match command:
        case "pg-locks" | "pg-long-tx" | "pg-cache-hit":
            postgres = servers.postgres_standby or servers.postgres
            assert postgres is not None
            return ("--dsn", postgres.dsn)
        case "kafka-lag":
            kafka = servers.kafka_cluster or servers.kafka
            assert kafka is not None
            return ("--bootstrap-servers", kafka.bootstrap_servers)
        case "cache-stampede":
            assert servers.redis is not None
            witnesses = [("--prometheus-url", servers.prometheus.url)] if servers.prometheus else []
            witnesses += [("--dsn", servers.postgres.dsn)] if servers.postgres else []
            return ("--redis-url", servers.redis.url, *(word for flag in witnesses for word in flag))
        case _:
            assert servers.redis is not None
            return ("--redis-url", servers.redis.url)


def scenario_of(slug: str) -> Any:
    """Return the module of a check's scenario (see `diag.lab.scenario` for what is in it)."""
    return importlib.import_module(f"diag.lab.{slug.replace('-', '_').replace('/', '.')}")


def seen(slug: str, scenario: Any, servers: Servers) -> dict[str, Any]:
    """Look at the scenario's servers with its check's command, as the scenario says it must be looked at."""
    command = slug.partition("/")[0]
    return diagnosed(command, *target(command, servers), *getattr(scenario, "OPTIONS", ()))


def hidden(report: dict[str, Any]) -> set[str]:
    """Return the facts of which something could not be seen; a shared server has groups of other tests, too."""
    return {gap["fact"] for gap in report["gaps"]} - {"other_groups"}
