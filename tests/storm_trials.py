"""Trials of the maths on generated pasts, by seed: sampled in `make test`, in full in `make proof`."""

from __future__ import annotations

import math
import random
import time
from typing import Any

from cache_past import BEGIN_S, DAY_S, HOUR_S, Habits, Past, Struck, habits, past, queried
from msgspec.structs import replace

from diag.analysis.coupling import Coupling, Order, coupling
from diag.analysis.increments import Increments, increments
from diag.analysis.miss_storms import Storm, storms
from diag.analysis.recurrence import Recurrence, Winder, cause, recurrence

WEEK_S = 7 * DAY_S


def both(told: Past) -> tuple[Increments, Increments]:
    return increments(told.at_s, told.misses), increments(told.at_s, told.hits)


def storm_trial(step_s: float, seed: int) -> dict[str, Any]:
    """One storm of 5-30 s at 1 Hz, of 10-15 s at 15 s: was it found, and how far off is its start, in steps?"""
    chance = random.Random(seed)
    usual = habits(chance)
    usual = replace(usual, miss_ratio=min(0.1, usual.miss_ratio))
    span_s, shortest_s, longest_s = (900.0, 5.0, 30.0) if step_s < 2 else (HOUR_S, 10.0, 15.0)
    struck = Struck(
        at_s=BEGIN_S + chance.uniform(60, span_s - 120),
        length_s=chance.uniform(shortest_s, longest_s),
        share=chance.uniform(0.3, 1),
        fades=chance.random() < 0.3,
    )
    found = storms(*both(past(chance, usual, [struck], step_s=step_s, span_s=span_s)))
    near = [one for one in found if one.starts_s - step_s <= struck.at_s + struck.length_s]
    near = [one for one in near if one.ends_s + step_s >= struck.at_s]
    # a storm that fades has a tail for as long as five of its time constants
    stray = [one for one in found if not struck.at_s - step_s <= one.starts_s <= struck.at_s + 5 * struck.length_s]
    off = abs(near[0].starts_s - struck.at_s) / step_s if near else None
    return {"found": bool(near), "off_steps": off, "stray": len(stray)}


def quiet_trial(step_s: float, seed: int, span_s: float) -> dict[str, Any]:
    """Quiet traffic, everything at once: how many false alarms?"""
    chance = random.Random(1_000_000 + seed)
    alarms = storms(*both(past(chance, habits(chance), step_s=step_s, span_s=span_s)))
    return {"weeks": span_s / WEEK_S, "alarms": len(alarms)}


def event(at_s: float) -> Storm:
    """A storm of twelve seconds in the middle of a scrape."""
    return Storm(
        first=0,
        last=0,
        starts_s=at_s - 7.5,
        ends_s=at_s + 7.5,
        centre_s=at_s,
        extra_misses=3_000.0,
        peak_per_s=200.0,
        reads_per_s=250.0,
        depth_ratio=0.8,
    )


def null_trial(seed: int) -> dict[str, Any]:
    """6 to 100 storms of a day that have nothing to do with each other: is there a rhythm?"""
    chance = random.Random(seed)
    count, kind = chance.choice((6, 7, 8, 10, 12, 15, 20, 30, 50, 100)), seed % 4
    if kind == 0:
        moments = [chance.uniform(0, DAY_S) for _ in range(count)]
    elif kind == 1:  # by day only
        moments = [chance.gauss(DAY_S / 2, DAY_S / 8) for _ in range(count)]
    elif kind == 2:  # never soon after each other
        moments = [chance.gammavariate(4, DAY_S / count / 4) for _ in range(count)]
        moments = [sum(moments[: place + 1]) for place in range(count)]
    else:  # several at a time
        heads = [chance.uniform(0, DAY_S) for _ in range(max(2, count // 3))]
        moments = [chance.choice(heads) + chance.expovariate(1 / 600) for _ in range(count)]
    kept: list[float] = []
    for scraped in sorted(math.floor(at / 15) * 15 + 7.5 for at in moments):
        if not kept or scraped - kept[-1] >= 30:
            kept.append(scraped)
    return {"rhythm": recurrence([event(BEGIN_S + at) for at in kept], 15.0) is not None}


def period_trial(kind: str, seed: int, *, count: int = 6, step_s: float = 15.0) -> dict[str, Any]:
    """Hourly storms of 12 s, and two that are unrelated: are period and cause right?

    `kind` is ttl (known to nobody), known (the time to live is told), clock, or foreign (on the clock, with
    a time to live that is told and has nothing to do with it).
    """
    chance = random.Random(seed)
    usual = Habits(reads_per_s=chance.uniform(100, 3_000), miss_ratio=0.02, wobble=0.1, daily=0.3, walk=0.05)
    on_clock = kind in {"clock", "foreign"}
    period_s = HOUR_S if on_clock else HOUR_S + 12
    first_s = BEGIN_S + (HOUR_S + chance.uniform(0, 2) if on_clock else chance.uniform(60, HOUR_S))
    share = chance.uniform(0.6, 0.95)
    struck = [Struck(at_s=first_s + n * period_s, length_s=12.0, share=share) for n in range(count)]
    span_s = first_s - BEGIN_S + (count - 0.3) * period_s
    struck += [Struck(at_s=BEGIN_S + chance.uniform(60, span_s - 60), length_s=12.0, share=share) for _ in range(2)]
    misses, hits = both(past(chance, usual, struck, step_s=step_s, span_s=span_s))
    begun = time.process_time()
    found = recurrence(storms(misses, hits), step_s)
    took_s = time.process_time() - begun
    off_s = found.period_s - period_s if found else None
    return {"found": found is not None, "off_s": off_s, "right": _is_right(found, kind, period_s), "took_s": took_s}


def _is_right(found: Recurrence | None, kind: str, period_s: float) -> bool:
    if found is None or abs(found.period_s - period_s) > 5:
        return False
    told = cause(found, {"known": HOUR_S, "foreign": 7_000.0}.get(kind))
    return told.winder is (Winder.CLOCK if kind in {"clock", "foreign"} else Winder.TTL)


def coupling_trial(kind: str, step_s: float, seed: int) -> dict[str, Any]:
    """Six storms and a database that feels them (coupled), or does not (dips), or is busy by itself (jobs, apart).

    With "before", the database's load comes 5 s before the misses.
    """
    chance = random.Random(seed)
    reads, per_miss = chance.uniform(200, 5_000), chance.uniform(0.5, 5)
    span_s = 4_200.0 if step_s > 2 else 1_200.0
    gap_s = span_s / 6.5

    def spread(length_s: float, share: float) -> list[Struck]:
        at = [BEGIN_S + gap_s * (n + 0.5) + chance.uniform(0, 20) for n in range(6)]
        return [Struck(at_s=one, length_s=length_s, share=share) for one in at]

    struck = [] if kind == "jobs" else spread(chance.uniform(8, 15), chance.uniform(0.3, 0.9))
    jobs = spread(30.0, 2_000.0) if kind in {"jobs", "apart"} else []
    jobs = [replace(job, at_s=job.at_s + gap_s / 2) for job in jobs]
    told = past(chance, Habits(reads_per_s=reads, miss_ratio=0.01, wobble=0.1), struck, step_s=step_s, span_s=span_s)
    asked = queried(
        chance,
        struck,
        reads_per_s=reads,
        per_miss=per_miss if kind in {"coupled", "before"} else 0.0,
        usual_per_s=chance.uniform(100, 1_500),
        later_s=-5.0 if kind == "before" else 0.0,
        jobs=jobs,
        step_s=step_s,
        span_s=span_s,
    )
    misses, hits = both(told)
    found: Coupling | None = coupling(misses, hits, increments(*asked))
    return {
        "slope_off": found.queries_per_miss / per_miss - 1 if found else None,
        "share": found.explained_share if found else 0.0,
        "order": (found.order if found else Order.UNDECIDED).name,
    }
