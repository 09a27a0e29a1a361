"""Looks at a cache, one second after the other, as what was counted in each."""

from __future__ import annotations

from typing import Any

from worlds import redis_load

from diag.snapshots.redis import KeyCount, KeyEvents, RedisLoad, WatchedKey
from diag.text import KeyText

CALM = {"hits": 400}
Second = dict[str, Any]


def look(*seconds: Second, **first: Any) -> list[RedisLoad]:
    """Frames a second apart of a server that has been up for a day, with 95 hits in a hundred reads before.

    A second counts `hits`, `misses`, `sets`, `wrote` (changes; as many as SETs unless said), `deleted` by `unlinks`
    calls, `expired`, `evicted`, `created` keys, `exists`, `flushes`, the new `stale` ratio; `missed`, `written` keys.
    """
    totals = {"keyspace_hits": 95_000_000, "keyspace_misses": 5_000_000, "keys": 50_000, "calls": {"set": 5_000_000}}
    frame = redis_load(**totals | {"missed": None} | first)
    frames = [frame]
    for number, one in enumerate(seconds, 1):
        was = frames[-1]
        sets, unlinks, deleted = one.get("sets", 0), one.get("unlinks", 0), one.get("deleted", 0)
        calls = {"set": sets, "unlink": unlinks, "exists": one.get("exists", 0), "flushall": one.get("flushes", 0)}
        gone = deleted + one.get("expired", 0) + one.get("evicted", 0)
        frames.append(
            redis_load(
                after_s=float(number),
                keyspace_hits=was.keyspace_hits + one.get("hits", 0),
                keyspace_misses=was.keyspace_misses + one.get("misses", 0),
                keys=was.keys + one.get("created", 0) - gone,
                expired_keys=was.expired_keys + one.get("expired", 0),
                evicted_keys=was.evicted_keys + one.get("evicted", 0),
                expired_stale_ratio=one.get("stale", was.expired_stale_ratio),
                changes=was.changes + one.get("wrote", sets) + deleted,
                calls={name: was.calls.get(name, 0) + count for name, count in calls.items()},
                missed=named(one.get("missed"), was.missed),
                written=named(one.get("written"), was.written),
                keyspace_events=was.keyspace_events,
                watched=one.get("watched", was.watched),
                run_id=one.get("run_id", was.run_id),
                role=one.get("role", was.role),
                **{"uptime_s": one["uptime_s"]} if "uptime_s" in one else {"uptime_s": was.uptime_s + 1},
            )
        )
    return frames


def named(keys: dict[str, int] | None, was: KeyEvents | None = None) -> KeyEvents | None:
    """Keys and how often each was named; where a listener was there before, it is there now."""
    if keys is None:
        return None if was is None else KeyEvents()
    counted = sorted(keys.items(), key=lambda one: -one[1])
    top = tuple(KeyCount(key=KeyText(key), count=count) for key, count in counted[:20])
    return KeyEvents(total=sum(keys.values()), distinct=len(keys), top=top)


def watched(key: str, *, exists: bool = True, expires_in_s: float | None = None) -> WatchedKey:
    """The key that was asked for by its name."""
    return WatchedKey(key=KeyText(key), exists=exists, expires_in_s=expires_in_s)


def unnamed_storm(recomputations: int = 285) -> list[Second]:
    """One key expires at 300 reads a second, and its values trail in: as it was measured on a real server."""
    late = recomputations - 7
    storm = {"hits": 22, "misses": late, "sets": 1, "created": 1}
    return [
        *[CALM] * 4,
        {"hits": 294, "misses": 7, "expired": 1},
        storm,
        *({"hits": 301, "sets": sets} for sets in (9, 21, 94, max(0, recomputations - 125))),
        *[CALM] * 3,
    ]


def storm(key: str = "limits:config", recomputations: int = 285) -> list[Second]:
    """The same, and the server names what is missed."""
    seconds = [dict(one) for one in unnamed_storm(recomputations)]
    for one in seconds:
        one["missed"] = {key: one["misses"]} if one.get("misses") else {}
    return seconds
