"""Run the real command line in a process of its own, as a person or a script would."""

from __future__ import annotations

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
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "DIAG_", "REDIS_", "KAFKA_"))
    }
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
    """Return the flags that point a command at the lab."""
    match command:
        case "pg-locks":
            assert servers.postgres is not None
            return ("--dsn", servers.postgres.dsn)
        case "kafka-lag":
            assert servers.kafka is not None
            return ("--bootstrap-servers", servers.kafka.bootstrap_servers)
        case _:
            assert servers.redis is not None
            return ("--redis-url", servers.redis.url)
