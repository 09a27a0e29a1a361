"""Keys whose expiry is known, and what one look says of them: the forecast and what it cost the server."""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from worlds import judged

from diag.analysis.expiry import densest_window, keys_interval
from diag.config import RedisTarget
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

CHECK = "cache-stampede/expiry-cliff"
WINDOW_S = 5.0
CLIFF_SHARE, CLIFF_MS, SPREAD_S = 0.3, 2_000, 25_200
_BATCH = 20_000
_EXPIRE = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  local at = tonumber(ARGV[3]) + 600000 + (number * 7919) % tonumber(ARGV[5])
  if number % 1000 < tonumber(ARGV[4]) then at = tonumber(ARGV[3]) + 3600000 + (number * 613) % tonumber(ARGV[6]) end
  redis.call('PEXPIREAT', 'page:' .. number, string.format('%.0f', at))
end
"""


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=60)


def fill(url: str, keys: int, cliff_share: float) -> float:
    """Make keys of which `cliff_share` expire within 2 s in an hour, the rest evenly over 7 hours from 10 minutes on.

    Returns when the cliff begins, in seconds since 1970.
    """
    now_ms = int(time.time() * 1000)
    with client(url) as writer:
        writer.execute_command("DEBUG", "POPULATE", keys, "page", 3)
        expire = writer.register_script(_EXPIRE)
        for start in range(0, keys, _BATCH):
            end = min(keys, start + _BATCH)
            expire(args=[start, end, now_ms, int(cliff_share * 1000), SPREAD_S * 1000, CLIFF_MS])
    return now_ms / 1000 + 3600


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One look: how long it took, what it cost the server beyond doing nothing, and what it said."""

    took_s: float
    cpu_ms: float
    sampled: int
    alarm: bool
    begins_at: float
    at_least: int
    at_most: int


def forecast(url: str) -> Forecast:
    """Look once, on a connection of its own."""
    with client(url) as oracle:
        idle = _cpu_s(oracle)
        time.sleep(0.3)
        idle = _cpu_s(oracle) - idle
        before = _cpu_s(oracle)
        probe = Probe(Deadline(10.0), client_name="diag/test")
        with probe, source.connect(RedisTarget(url=url), probe) as session:
            seen = source.redis_expiry(session, Scope())
        cpu_s = _cpu_s(oracle) - before - idle * seen.took_s / 0.3
    findings, _ = judged(CHECK, seen)
    cluster = max(
        (one for family in seen.families if (one := densest_window(family, WINDOW_S, len(seen.families)))),
        key=lambda one: one.sampled_keys,
    )
    at_least, at_most = keys_interval(cluster, seen)
    return Forecast(
        took_s=seen.took_s,
        cpu_ms=cpu_s * 1000,
        sampled=seen.sampled_keys,
        alarm=bool(findings),
        begins_at=seen.observed_at.timestamp() + cluster.from_s,
        at_least=at_least,
        at_most=at_most,
    )


def _cpu_s(oracle: redis.Redis) -> float:
    """Return what the server's main thread has used."""
    used = oracle.info("cpu")
    return used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"]
