"""The words about a cache and the database behind it: how they go together, and who began."""

from collections.abc import Iterator

from diag.analysis.coupling import FLUSH_S, Coupling, Order
from diag.checks.cache_stampede._counters import Counted
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say


def order_words(order: Order) -> Phrase:
    """Return who began, as far as the steps allow to say."""
    match order:
        case Order.DATABASE:
            return say("the database's trouble precedes the misses, which add to it")
        case Order.MISSES:
            return say("the misses precede it")
        case _:
            return say("which began is not decidable at these steps")


def evidence_of(found: Coupling, both: Counted, order: Order, slower_s: float | None) -> Iterator[Evidence]:
    """Yield the figures of both sides."""
    caches, database = both.caches_words, both.database_words
    each = Quantity(round(found.queries_per_miss, 3), "queries")
    yield Evidence(name="queries a miss", value=each, source="extra queries over extra misses")
    error = Quantity(round(found.queries_error, 3), "queries")
    yield Evidence(name="their standard error", value=error, source="the database's usual noise")
    yield Evidence(name="explained", value=Quantity(found.explained_share, "ratio"), source="of all extra queries")
    yield Evidence(name="extra queries", value=Quantity(round(found.extra_queries), "queries"), source=database)
    yield Evidence(name="a second at the peak", value=Quantity(round(found.extra_per_s), "queries"), source=database)
    missed = sum(effect.extra_misses for effect in found.effects)
    yield Evidence(name="extra misses", value=Quantity(round(missed), "misses"), source=caches)
    yield Evidence(name="storms of misses", value=len(found.effects), source=caches)
    yield Evidence(name="surges of the database without one", value=found.surges, source=database)
    yield Evidence(name="correlation around the storms", value=Quantity(found.together, "ratio"), source=database)
    if found.lag_s is not None:
        yield Evidence(name="queries later by", value=Quantity(found.lag_s, "s"), source="cross-correlation")
    yield Evidence(name="no finer than", value=Quantity(found.resolution_s, "s"), source="both steps together")
    yield Evidence(name="reported late by up to", value=Quantity(FLUSH_S, "s"), source="PostgreSQL's statistics")
    if slower_s is not None:
        source = "pg_stat_database active_time"
        yield Evidence(name="statements slower before the misses by", value=Quantity(slower_s, "s"), source=source)
    yield Evidence(name="order", value=order, source="lag against both steps")


def ruled_out_for(found: Coupling) -> tuple[Phrase, ...]:
    """Return what it is not, by what was seen."""
    if found.surges:
        return (say("a load of its own: {n} surges without misses are less than what comes with them", n=found.surges),)
    return (say("a load of its own, such as a batch job: the database has no surge without a storm of misses"),)


def steps_for(order: Order) -> tuple[Step, ...]:
    """Return the steps, safest first."""
    if order is Order.DATABASE:
        return (_LOCKS, _TRANSACTIONS, _POOL)
    return (_NAME_IT, _POOL, _LOCK)


_LOCKS = Step(
    title=say("Look for what holds the database up: it was slower before the cache missed more"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "pg-locks")),
    expect=say("a queue behind a lock, or nothing"),
)
_TRANSACTIONS = Step(
    title=say("Look for transactions that stay open"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "pg-long-tx")),
    expect=say("the one that began before it, or nothing"),
)
_NAME_IT = Step(
    title=say("Find out which keys are missed, while it happens"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "cache-stampede", "--samples", "60", "--interval", "1")),
    expect=say("one key, one family, or many that never were"),
)
_POOL = Step(
    title=say("Cap the readers' database pool at about the database's cores"),
    risk=Risk.REVERSIBLE,
    expect=say("requests wait for a connection; the queries of one storm stay fast, and it ends sooner"),
)
_LOCK = Step(
    title=say("Let one reader recompute each key: a lock (SET NX PX), the old value for the rest"),
    risk=Risk.REVERSIBLE,
    expect=say("queries a miss as before, and far fewer misses at a time"),
)
