"""The words for a storm over one key, by what made it: no protection, a lock, or a refresh that anybody may do."""

from collections.abc import Iterator

from diag.analysis.miss_shapes import Shape, Storm
from diag.analysis.storm_cost import measured
from diag.checks.cache_stampede._protection_words import against_one_key
from diag.checks.cache_stampede._storm_words import expiry_ruled_out, when
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, Value, say

_MARGIN = 7  # ln 1000: one refresh in a thousand comes too late


def summary(storm: Storm) -> Phrase:
    """Say it in one sentence."""
    stretch = storm.stretch
    key: Value = stretch.key or say("one key (it has no name yet)")
    misses = Quantity(stretch.misses, "times")
    match storm.shape:
        case Shape.LOCK_HELD:
            return say(
                "{key} was missed {misses} {when} behind a lock, and {n} written: {refused} refused",
                key=key,
                misses=misses,
                when=when(storm),
                n=Quantity(storm.recomputations or 0, "values"),
                refused=Quantity(stretch.refused, "SET NX"),
            )
        case Shape.LOCK_SHORT:
            return say(
                "the lock on {key} ends before the value is there: {n} made for one expiry, missed {misses} {when}",
                key=key,
                n=Quantity(storm.recomputations or 0, "values"),
                misses=misses,
                when=when(storm),
            )
        case Shape.EARLY:
            return say(
                "{key} was rewritten at least {n} {when} while nothing was missed: everybody refreshes it early",
                key=key,
                n=Quantity(storm.recomputations or 0, "times"),
                when=when(storm),
            )
    template = (
        "{key} was missed {misses} {when}: {n} recomputed it for nothing"
        if stretch.sets
        else "{key} is missed, {misses} {when}, and no value is written yet: up to {n} recompute it for nothing"
    )
    return say(template, key=key, misses=misses, when=when(storm), n=Quantity(storm.duplicates, "readers"))


def own_evidence(storm: Storm, workers: int) -> Iterator[Evidence]:
    """Return what only this kind of storm has."""
    if storm.shape is Shape.HOT_KEY:
        source = storm.stretch.named_by or "INFO keyspace_misses and commandstats"
        yield Evidence(name="duplicates", value=Quantity(storm.duplicates, "recomputations"), source=source)
    cost = measured(storm, workers)
    if cost:
        reads, source = Quantity(round(cost.reads_per_s), "reads/s"), "INFO keyspace_misses, worst step"
        yield Evidence(name="reads of the key, at least", value=reads, source=source)
        source = f"from the duplicates, for {workers} database workers (limit database_workers)"
        yield Evidence(name="one recomputation alone takes", value=Quantity(cost.recompute_s, "s"), source=source)
    if storm.lock_s is not None:
        held = Quantity(storm.lock_s, "s")
        yield Evidence(name="a lock lives for about", value=held, source="SETs that wrote while others were refused")


def own_ruled_out(storm: Storm) -> Iterator[Phrase]:
    """Say what speaks against the other mechanisms."""
    stretch = storm.stretch
    if storm.shape is Shape.EARLY:
        yield say("an expiry: reads went on at {n}, and the key was there", n=Quantity(stretch.reads_per_s, "reads/s"))
        return
    yield expiry_ruled_out(storm)
    if stretch.sets and storm.shape is Shape.HOT_KEY:
        yield say("keys that do not exist: {n} were written afterwards", n=Quantity(stretch.sets, "values"))
        if stretch.refusals_known:
            yield say("a lock: {n} were refused", n=Quantity(stretch.refused, "SETs"))
    if stretch.key is None:
        yield say(
            "many keys: {expired} expired, {removed} deleted, {created} created in all of it",
            expired=Quantity(stretch.expired, "keys"),
            removed=Quantity(stretch.removed, "keys"),
            created=Quantity(stretch.created, "keys"),
        )


def own_steps(storm: Storm, workers: int) -> tuple[Step, ...]:
    """Return what helps against this mechanism, safest first; with what it would buy where that can be told."""
    cost = measured(storm, workers)
    if cost:
        return against_one_key(cost)
    return {Shape.LOCK_HELD: _HELD, Shape.LOCK_SHORT: _SHORT, Shape.EARLY: _EARLY}.get(storm.shape, _UNPROTECTED)


_POOL = Step(
    title=say("Now: cap the database pool of the readers at about the database's cores"),
    risk=Risk.REVERSIBLE,
    expect=say("at the next expiry as many queries at once as the pool has; the others wait for milliseconds each"),
)
_STALE = Step(
    title=say("Serve the old value while one reader recomputes: keep it for longer than its time to live"),
    risk=Risk.REVERSIBLE,
    expect=say("no reader waits; one SET for each time to live"),
)
_LOCK = Step(
    title=say("Lock: SET key:lock TOKEN NX PX, longer than the slowest recomputation; release it only with the token"),
    risk=Risk.REVERSIBLE,
    expect=say("one recomputation for each expiry; the other readers wait for it, or get the old value"),
)
_UNPROTECTED = (_POOL, _STALE, _LOCK)
_HOLDER = Step(
    title=say("See whether the holder is at work: does the database run its query?"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "pg-locks")),
    expect=say("a query that waits or runs: wait for it; none: the holder is gone, and the lock an orphan"),
)
_FREE = Step(
    title=say("Only if the holder is gone: delete the lock, so that the next reader recomputes"),
    risk=Risk.DISRUPTIVE,
    expect=say("the misses end after one recomputation; with the holder at work there would be two"),
)
_RENEW = Step(
    title=say("Give the lock a short life and let its holder renew it; serve the old value meanwhile"),
    risk=Risk.REVERSIBLE,
    expect=say("a holder that dies costs one short life of the lock, and no reader sees it"),
)
_HELD = (_HOLDER, _RENEW, _FREE)
_LONGER = Step(
    title=say("Give the lock a life beyond the slowest recomputation under load (its p99.9), or renew it half-way"),
    risk=Risk.REVERSIBLE,
    expect=say("one value for each expiry"),
)
_TOKEN = Step(
    title=say("Release the lock only with one's own token: else a late holder frees the lock of the next"),
    risk=Risk.REVERSIBLE,
    expect=say("no second lock is taken while one holder is at work"),
)
_SHORT = (_LONGER, _TOKEN, _STALE)
_GATE = Step(
    title=say("Let one refresh: take a lock (SET NX PX) before it, and read on with the old value without it"),
    risk=Risk.REVERSIBLE,
    expect=say("one SET for each time to live; no reader waits"),
)
_CHANCE = Step(
    title=say(
        "Or refresh by chance: p = {margin} / (reads a second of the key x seconds of the early window)", margin=_MARGIN
    ),
    risk=Risk.REVERSIBLE,
    expect=say("one refresh or two, and a real miss in one expiry of a thousand"),
)
_EARLY = (_POOL, _GATE, _CHANCE)
