"""The words about storms that come back: by which figures, what winds the clock, and what to do about each."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from diag.analysis.recurrence import Cause, Recurrence, Winder
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_s: float) -> datetime:
    """Return a moment to the second; farther than a century of periods there is none."""
    return _EPOCH + timedelta(seconds=round(min(max(at_s, 0.0), 1e11)))


def why(winder: Cause) -> Phrase:
    """Return what winds the clock, as far as it was seen."""
    if winder.winder is Winder.TTL and winder.ttl_s is not None and winder.drift_s is not None:
        return say(
            "that fits a time to live of {ttl}, restarted {drift} later by the last write",
            ttl=Quantity(winder.ttl_s, "s"),
            drift=Quantity(winder.drift_s, "s"),
        )
    if winder.winder is Winder.CLOCK and winder.clock_s is not None:
        return say("that keeps to the clock, not to a time to live")
    return say("whether a time to live or the clock winds them is not decidable")


def evidence_of(
    found: Recurrence, winder: Cause, following: tuple[float, float], peak_per_s: float, source: str
) -> Iterator[Evidence]:
    """Yield the figures of the rhythm; `source` says who counted."""
    fit = "least squares over the storms"
    yield Evidence(name="period", value=Quantity(round(found.period_s, 2), "seconds"), source=fit)
    yield Evidence(name="error of the period", value=Quantity(round(found.period_error_s, 2), "seconds"), source=fit)
    yield Evidence(name="storms in that rhythm", value=len(found.storms), source=source)
    yield Evidence(name="storms beside it", value=found.unrelated, source=source)
    yield Evidence(name="last storm", value=instant(found.storms[-1].starts_s), source=source)
    yield Evidence(name="next storm", value=instant(following[0]), source=fit)
    yield Evidence(name="error of the next start", value=Quantity(following[1], "s"), source=fit)
    yield Evidence(name="length of a storm", value=Quantity(found.length_s, "s"), source=source)
    yield Evidence(name="length at least", value=Quantity(found.least_length_s, "s"), source="misses over reads")
    yield Evidence(name="length at most", value=Quantity(found.most_length_s, "s"), source="steps with misses")
    missed = sum(storm.extra_misses for storm in found.storms) / len(found.storms)
    yield Evidence(name="misses of a storm", value=Quantity(round(missed), "misses"), source=source)
    yield Evidence(name="misses a second at the peak", value=Quantity(round(peak_per_s), "misses"), source=source)
    depths = [storm.depth_ratio for storm in found.storms if storm.depth_ratio is not None]
    if depths:
        yield Evidence(name="fall of the hit ratio", value=Quantity(max(depths), "ratio"), source=source)
    yield Evidence(name="wound by", value=winder.winder, source="period, its error, length, round times")
    if winder.drift_s is not None:
        yield Evidence(name="period less time to live", value=Quantity(winder.drift_s, "s"), source=fit)
    if winder.clock_s is not None and winder.offset_s is not None:
        yield Evidence(name="round period", value=Quantity(winder.clock_s, "s"), source=fit)
        yield Evidence(name="begins after the round time", value=Quantity(winder.offset_s, "s"), source=fit)


def ruled_out_for(found: Recurrence, winder: Cause) -> tuple[Phrase, ...]:
    """Return what it is not, by what was seen."""
    chance = say("chance: ln p ≤ {log} for storms that know nothing of each other", log=round(found.log_chance, 1))
    traffic = say("more traffic: misses rise far more than reads do")
    if winder.winder is Winder.TTL:
        return (chance, traffic, say("a job on the clock: no round period lies within three standard errors"))
    if winder.winder is Winder.CLOCK:
        return (chance, traffic, say("a time to live that the storm restarts: the storms do not drift"))
    return (chance, traffic)


def steps_for(found: Recurrence, winder: Cause) -> tuple[Step, ...]:
    """Return the steps, safest first."""
    if winder.winder is Winder.TTL:
        return (_watch_it(found), _LOCK, _EARLY)
    if winder.winder is Winder.CLOCK:
        return (_find_the_job(winder), _watch_it(found), _NO_EMPTYING)
    return (_look_further_back(found), _watch_it(found), _LOCK)


def _watch_it(found: Recurrence) -> Step:
    samples = str(min(120, max(30, round(2 * found.most_length_s) + 20)))
    return Step(
        title=say("Look while the next storm is there, from ten seconds before it"),
        risk=Risk.READ_ONLY,
        command=ShellCommand(("diag", "cache-stampede", "--samples", samples, "--interval", "1")),
        expect=say("the key or the family that is missed, where keyspace events or --match name it"),
    )


def _look_further_back(found: Recurrence) -> Step:
    hours = min(168, max(12, round(24 * found.period_s / 3_600)))
    return Step(
        title=say("Look farther back: each storm more makes the period more exact"),
        risk=Risk.READ_ONLY,
        command=ShellCommand(("diag", "cache-stampede", "--history", f"{hours}h")),
        expect=say("a smaller error, and a time to live or the clock that fits"),
    )


def _find_the_job(winder: Cause) -> Step:
    return Step(
        title=say(
            "Look for the job that runs {offset} after each round {period}: crontabs, timers, schedulers; not the "
            "time to live",
            offset=Quantity(winder.offset_s or 0.0, "s"),
            period=Quantity(winder.clock_s or 0.0, "s"),
        ),
        risk=Risk.READ_ONLY,
        expect=say("one that deletes, rewrites or reloads cached keys, begun just before each storm"),
    )


_LOCK = Step(
    title=say(
        "Let one reader recompute: a lock per key (SET NX PX, released by its token), the old value for the rest"
    ),
    risk=Risk.REVERSIBLE,
    expect=say("at the next expiry one recomputation, and no storm"),
)
_EARLY = Step(
    title=say(
        "Or refresh before the expiry by chance (XFetch): now - D beta ln(random) beyond it, D the recompute time"
    ),
    risk=Risk.REVERSIBLE,
    expect=say("two or three recomputations at each expiry; jitter alone does nothing for one key"),
)
_NO_EMPTYING = Step(
    title=say("Let that job write the new values in place of deleting the old ones, or a batch at a time"),
    risk=Risk.REVERSIBLE,
    expect=say("no storm at the next round time"),
)
