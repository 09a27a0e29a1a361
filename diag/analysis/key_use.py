"""What Redis's LFU counter of a key means in accesses, and which keys take a large part of them.

The counter c of 8 bits rises by 1 with probability 1 / (f m + 1) an access, m = max(0, c - 5), f = lfu-log-factor,
and falls by 1 for every lfu-decay-time minutes without a fall. From 5 to c it takes m + f m (m - 1) / 2
accesses on average, with a relative standard deviation of about 2 / sqrt(3 m). To hold c against the
decay takes f m + 1 accesses in each such time; less is read from a counter that is still climbing,
more from one that is on its way down.
Source: redis.conf, "maxmemory-policy", lfu-log-factor, lfu-decay-time; redis.io, "Key eviction" (LFU).
"""

from __future__ import annotations

import math
from collections import Counter

from msgspec import Struct

from diag.analysis.key_sizes import keys_like
from diag.snapshots.base import Row, Window
from diag.snapshots.redis import KeyEvents, RedisKeys, RedisLoad
from diag.text import KeyText

_INITIAL = 5  # LFU_INIT_VAL: where a new key begins
_MINUTE_S = 60.0
_DEFAULT_LOG_FACTOR, _DEFAULT_DECAY_MIN = 10, 1  # of redis.conf, where the settings cannot be read
_Z95 = 1.959964
SATURATED = 250  # from here to the end, 255, one decay is made good at once by a key that is hotter than it can show


class Scale(Struct, frozen=True, kw_only=True):
    """How a server's counters are to be read: its two settings."""

    log_factor: int
    decay_min: int


def scale_of(keys: RedisKeys) -> Scale:
    """Return the settings of a server; the defaults where they cannot be read."""
    return Scale(
        log_factor=_DEFAULT_LOG_FACTOR if keys.lfu_log_factor is None else keys.lfu_log_factor,
        decay_min=_DEFAULT_DECAY_MIN if keys.lfu_decay_min is None else keys.lfu_decay_min,
    )


def accesses(counter: int, scale: Scale) -> float:
    """Return the accesses it takes, on average, to bring a counter from 0 to here if nothing decays."""
    above = max(0, counter - _INITIAL)
    return min(counter, _INITIAL) + above + scale.log_factor * above * (above - 1) / 2


def accesses_interval(counter: int, scale: Scale) -> tuple[float, float]:
    """Return the 95 % interval of `accesses`."""
    middle, above = accesses(counter, scale), max(0, counter - _INITIAL)
    relative = _Z95 * 2 / math.sqrt(3 * above) if above and scale.log_factor else 0.0
    return middle * max(0.0, 1 - relative), middle * (1 + relative)


def held_per_s(counter: int, scale: Scale) -> float:
    """Return the accesses a second that hold a counter against its decay; 0 where nothing decays or nothing shows."""
    above = counter - _INITIAL
    if above <= 0 or scale.decay_min <= 0:
        return 0.0
    return (scale.log_factor * above + 1) / (scale.decay_min * _MINUTE_S)


def median_counter(keys: RedisKeys) -> int:
    """Return the median counter of the sample; 0 without one."""
    half, seen = (sum(keys.counters) + 1) // 2, 0
    for counter, count in enumerate(keys.counters):
        seen += count
        if seen >= half > 0:
            return counter
    return 0


class Hot(Struct, frozen=True, kw_only=True):
    """One key that takes `share` (0-1) of all commands or reads of the window, `per_s` a second.

    `saturated`: its counter is at its end, so the rate is what no other counter explains. `alike` keys of
    the whole database are estimated to be as hot as their counter can show.
    """

    key: KeyText
    counter: int
    per_s: float
    share: float
    saturated: bool
    alike: int = 0


def asked_per_s(window: Window[RedisLoad]) -> float:
    """Return reads or commands a second, whichever are more; 0 when the counters began anew in between."""
    first, last = window.first, window.last
    if first.run_id != last.run_id or window.span_s <= 0:
        return 0.0
    reads = last.keyspace_hits + last.keyspace_misses - first.keyspace_hits - first.keyspace_misses
    calls = sum(last.calls.values()) - sum(first.calls.values())
    return max(0, reads, calls) / window.span_s


def hits_per_s(window: Window[RedisLoad]) -> float:
    """Return reads a second that found their key; 0 when the counters began anew in between."""
    first, last = window.first, window.last
    if first.run_id != last.run_id or window.span_s <= 0:
        return 0.0
    return max(0, last.keyspace_hits - first.keyspace_hits) / window.span_s


def hot_by_counter(keys: RedisKeys, window: Window[RedisLoad]) -> tuple[Hot, ...]:
    """Return the hottest keys of the sample, with what each takes of the window's traffic.

    A counter that has come to its end shows only the least. Reads that no other counter explains (keys
    at 1 to 5 count as one access a decay time, which is the most they can have) are shared among those at the end.
    """
    asked, scale = asked_per_s(window), scale_of(keys)
    scaled_by = keys.total_keys / sum(keys.counters) if any(keys.counters) else 0.0
    at_end, at_end_most = keys_like(sum(keys.counters[SATURATED:]), keys)
    explained = scaled_by * sum(
        count * max(held_per_s(counter, scale), 1 / (max(1, scale.decay_min) * _MINUTE_S))
        for counter, count in enumerate(keys.counters[1:SATURATED], start=1)
    )
    left_per_s = max(0.0, hits_per_s(window) - explained) / max(1, at_end_most)
    hot = []
    for one in keys.hottest:
        saturated = one.counter >= SATURATED
        per_s = max(held_per_s(one.counter, scale), left_per_s if saturated else 0.0)
        share = min(1.0, per_s / asked) if asked else 0.0
        hot.append(
            Hot(key=one.key, counter=one.counter, per_s=per_s, share=share, saturated=saturated, alike=max(1, at_end))
        )
    return tuple(hot)


class Named(Struct, frozen=True, kw_only=True):
    """One key among those that the server named itself: `per_s` a second, `share` of all it named."""

    key: KeyText
    per_s: float
    share: float
    distinct: int


def named(window: Window[RedisLoad], *, changed: bool) -> tuple[Named, ...]:
    """Return the keys named most often since the first frame: those missed, or those changed under the prefix."""
    frames = window.frames[1:] if window.span_s > 0 else ()
    heard: list[KeyEvents] = [one for frame in frames if (one := frame.written if changed else frame.missed)]
    counts: Counter[KeyText] = Counter()
    for events in heard:
        counts.update({one.key: one.count for one in events.top})
    total = sum(events.total for events in heard)
    distinct = max((events.distinct for events in heard), default=0)
    return tuple(
        Named(key=key, per_s=count / window.span_s, share=min(1.0, count / total), distinct=distinct)
        for key, count in counts.most_common(5)
        if total
    )


class HotKeyRow(Row, frozen=True, kw_only=True):
    """One row of `facts.hot_keys[]`; `accesses` and `held_per_s` are what the counter stands for."""

    key: KeyText
    counter: int
    accesses: int
    held_per_s: float


def hot_key_rows(keys: RedisKeys) -> tuple[HotKeyRow, ...]:
    """Return the most used keys of the sample, most used first."""
    scale = scale_of(keys)
    return tuple(
        HotKeyRow(
            target=keys.target.name,
            key=one.key,
            counter=one.counter,
            accesses=round(accesses(one.counter, scale)),
            held_per_s=round(held_per_s(one.counter, scale), 2),
        )
        for one in keys.hottest
    )
