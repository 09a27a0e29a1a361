"""What a cache can be in, on a real server, and what has to be said of it: the right slug first, or nothing at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from running import diagnosed

from diag.lab.cache_stampede import _load, _storms
from diag.lab.cache_stampede._load import Load
from diag.lab.filling import filling
from diag.lab.servers import RedisServer, Servers

HOT_KEY, MISS_BURST = "cache-stampede/hot-key", "cache-stampede/miss-burst"
LOW, EVICTIONS = "cache-hit/low-hit-ratio", "cache-hit/evictions"
_LATER_S = 4.0
_SHORTER = ("--samples", "9", "--interval", "1")  # for what must stay silent


class Situation(Struct, frozen=True, kw_only=True):
    """`entered` is in effect during a look with `command`; `first` is the slug that comes first (empty: none may).

    `word` stands in its summary; `named` says that the hot key is its subject; `match` that the look asks for that key.
    """

    entered: Callable[..., Any]
    first: str = ""
    word: str = ""
    named: bool = False
    match: bool = False
    command: str = "cache-stampede"
    options: tuple[str, ...] = _storms.OPTIONS


@contextlib.contextmanager
def _evictions(servers: Servers, seed: int = 0) -> Iterator[Load]:
    """A writer fills the memory, and what is read is thrown away."""
    assert servers.redis is not None
    fast = _load.shared(0.01)
    with (
        _load.reading(servers.redis.url, _storms.page_readers(seed, 300), database=fast, seed=seed) as load,
        filling(servers.redis, "allkeys-lru", "evicted_keys"),
    ):
        yield load


def _later(entered: Callable[..., Any]) -> Callable[..., Any]:
    return lambda servers, seed: entered(servers, seed, first_s=_LATER_S)


def _silent(entered: Callable[..., Any]) -> Situation:
    return Situation(entered=entered, options=_SHORTER)


def _ratio(entered: Callable[..., Any], word: str, first: str = LOW) -> Situation:
    return Situation(entered=entered, first=first, word=word, command="cache-hit", options=())


SITUATIONS = {
    "1 one hot key, named by keymiss": Situation(
        entered=_storms.hot_key, first=HOT_KEY, word="recomputed it for nothing", named=True
    ),
    "1 one hot key, without a name": Situation(
        entered=_storms.unnamed_hot_key, first=HOT_KEY, word="recomputed it for nothing"
    ),
    "3 a mass expiry that nobody reads": _silent(_storms.unread_expiry),
    "3 a mass expiry that is read": Situation(entered=_storms.mass_expiry, first=MISS_BURST, word="expired together"),
    "4 a job deletes a family": Situation(entered=_storms.invalidation, first=MISS_BURST, word="DEL or UNLINK"),
    "5 an early refresh by everybody": Situation(
        entered=_storms.early_refresh, first=HOT_KEY, word="refreshes it early", named=True, match=True
    ),
    "6 a lock that is too short": Situation(entered=_storms.lock_too_short, first=HOT_KEY, word="ends before"),
    "7 a lock without its holder": Situation(entered=_storms.lock_orphaned, first=HOT_KEY, word="behind a lock"),
    "8 evictions are no stampede": _silent(_evictions),
    "8 evictions": _ratio(_evictions, "evicted", EVICTIONS),
    "9 a cold cache is no stampede": _silent(_storms.cold_cache),
    "9 a cold cache": _ratio(_storms.cold_cache, "was started"),
    "9 a flush is no stampede": _silent(_storms.flushed),
    "10 a release reads another name": Situation(entered=_storms.new_keys, first=MISS_BURST, word="never there"),
    "11 keys that do not exist are no stampede": _silent(_later(_storms.absent_keys)),
    "11 keys that do not exist": _ratio(_storms.absent_keys, "cache penetration"),
    "12 limits with a short time to live": _silent(_storms.rate_limits),
    "13 another tool's look-ups are no stampede": _silent(_later(_storms.a_monitor)),
    "13 another tool's look-ups": _ratio(_storms.a_monitor, "EXISTS"),
    "more traffic of the same kind": _silent(_storms.more_traffic),
}


@contextlib.contextmanager
def looked_at(situation: Situation, server: RedisServer, seed: int = 0) -> Iterator[tuple[dict[str, Any], Load]]:
    """Look at the situation as the person on call would; yields the report, and the load for the truth."""
    options = situation.options
    if situation.match:
        options = (*options, "--match", _storms.key_of(seed))
    with situation.entered(Servers(redis=server), seed) as load:
        yield diagnosed(situation.command, "--redis-url", server.url, *options), load


def problem(situation: Situation, report: dict[str, Any], seed: int = 0) -> str:
    """Say what is wrong with a report; empty when all is right."""
    findings = report["findings"]
    slugs = [found["check"] for found in findings]
    if report["gaps"]:
        return f"gaps: {report['gaps']}"
    if not situation.first:
        return f"said {slugs}: {[found['summary'] for found in findings]}" if slugs else ""
    if slugs[:1] != [situation.first]:
        return f"first: {slugs[:1]}; storms: {report['facts'].get('storms')}"
    found = findings[0]
    if situation.word not in found["summary"]:
        return found["summary"]
    wrong_key = situation.named and found["subject"].get("key") != _storms.key_of(seed)
    return f"subject: {found['subject']}" if wrong_key else ""


def duplicates_error(report: dict[str, Any], load: Load, seed: int = 0) -> float | None:
    """Return how far the duplicates said are from those made, as a share; None where none are said or made."""
    said = [one["value"] for found in report["findings"] for one in found["evidence"] if one["name"] == "duplicates"]
    made = load.misses[_storms.key_of(seed)] - 1
    return abs(said[0] - made) / made if said and made > 0 else None
