"""The words for misses of many keys at once, by what took the keys away."""

from collections.abc import Iterator

from diag.analysis.miss_shapes import Shape, Storm
from diag.checks.cache_stampede._storm_words import when
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.findings.commands import redis_cli


def summary(storm: Storm) -> Phrase:
    """Say it in one sentence."""
    return say(
        "{misses} of many keys {when}: {cause}",
        misses=Quantity(storm.stretch.misses, "misses"),
        when=when(storm),
        cause=_cause(storm),
    )


def _cause(storm: Storm) -> Phrase:
    stretch = storm.stretch
    match storm.shape:
        case Shape.EXPIRY:
            return say("they had expired together ({n} counted so far)", n=Quantity(stretch.expired, "keys"))
        case Shape.INVALIDATION:
            return say("DEL or UNLINK of {n} precedes them", n=Quantity(stretch.removed, "keys"))
    return say("they were never there under that name, and {n} were created", n=Quantity(stretch.created, "keys"))


def own_evidence(storm: Storm) -> Iterator[Evidence]:
    """Return what tells the mechanisms apart."""
    stretch = storm.stretch
    stale = Quantity(max(0.0, stretch.stale_rise), "ratio")
    yield Evidence(name="stale keys rose by", value=stale, source="INFO expired_stale_perc")
    yield Evidence(name="expired", value=Quantity(stretch.expired, "keys"), source="INFO expired_keys")
    yield Evidence(name="deleted", value=Quantity(stretch.removed, "keys"), source="INFO commandstats and changes")
    if stretch.top:
        yield Evidence(name="most often missed", value=stretch.top[0], source="keymiss events")


def own_ruled_out(storm: Storm) -> Iterator[Phrase]:
    """Say what speaks against the other mechanisms."""
    stretch = storm.stretch
    yield say(
        "one hot key: the {sets} created {n}", sets=Quantity(stretch.sets, "SETs"), n=Quantity(stretch.created, "keys")
    )
    yield say("keys that do not exist: values were written after the misses")
    if storm.shape is not Shape.EXPIRY:
        rise = Quantity(max(0.0, stretch.stale_rise), "ratio")
        expired = Quantity(stretch.expired, "keys")
        yield say("a mass expiry: {n} expired, expired_stale_perc rose by {rise}", n=expired, rise=rise)
    if storm.shape is not Shape.INVALIDATION:
        yield say("a job that deletes them: {n} were deleted", n=Quantity(stretch.removed, "keys"))


def own_steps(storm: Storm) -> tuple[Step, ...]:
    """Return what helps against this mechanism, safest first."""
    return {Shape.INVALIDATION: _INVALIDATION, Shape.NEW_KEYS: _NEW_KEYS}.get(storm.shape, _EXPIRY)


_POOL = Step(
    title=say("Now: cap the readers' database pool, so that reads queue before the database"),
    risk=Risk.REVERSIBLE,
    expect=say("query times fall back to normal while the cache fills"),
)
_CLIFF = Step(
    title=say("See whether more keys are due together"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "cache-stampede", "--only", "cache-stampede/expiry-cliff")),
    expect=say("the next moment, with the family and its number of keys"),
)
_JITTER = Step(
    title=say("Spread the time to live by 20 % both ways where the keys are written"),
    risk=Risk.REVERSIBLE,
    expect=say("misses come one by one over the spread; expired_stale_perc stays flat"),
)
_EXPIRY = (_CLIFF, _POOL, _JITTER)
_WHO_DELETES = Step(
    title=say("Find the job: which clients delete, and when"),
    risk=Risk.READ_ONLY,
    command=redis_cli("CLIENT", "LIST"),
    expect=say("a client with cmd=del or cmd=unlink; the misses come by its clock, not by a time to live"),
)
_IN_BATCHES = Step(
    title=say("Let the job refresh the keys in place (SET), or delete them in batches over minutes"),
    risk=Risk.REVERSIBLE,
    expect=say("hits stay where they are while it runs"),
)
_INVALIDATION = (_WHO_DELETES, _POOL, _IN_BATCHES)
_RELEASE = Step(
    title=say("Compare with the last release: has the prefix or the version of the keys changed?"),
    risk=Risk.READ_ONLY,
    expect=say("a release at that moment, and keys under the old name that nobody reads any more"),
)
_PREWARM = Step(
    title=say("Fill the new names before the readers change over, or read the old name where the new one lacks"),
    risk=Risk.REVERSIBLE,
    expect=say("the next change of names brings no misses"),
)
_NEW_KEYS = (_RELEASE, _POOL, _PREWARM)
