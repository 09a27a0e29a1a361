"""What is known of a big key, and what to do about it, safest first."""

from collections.abc import Iterator

from diag.analysis.key_sizes import keys_like, meeting_chance, memory_share, most_unseen, weights
from diag.findings import Evidence, Phrase, Quantity, Risk, Step, say
from diag.findings.commands import redis_cli
from diag.snapshots.redis import KeySize, RedisKeys

_COUNTED_BY = {"string": "STRLEN", "hash": "HLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "stream": "XLEN"}


def harm_of(kind: str) -> Phrase:
    """Say what a key of such a size does to others."""
    if kind == "string":
        return say("every reader is sent all of it")
    return say("others wait while one command reads it whole, deletes it or lets it expire")


def evidence_of(one: KeySize, big: int, keys: RedisKeys) -> Iterator[Evidence]:
    """Yield its size, its part of the memory, how many like it there are, and what the sample can tell."""
    yield Evidence(name="size", value=Quantity(one.size_bytes, "bytes"), source="MEMORY USAGE, 5 elements")
    if (share := memory_share(keys, one.size_bytes)) is not None:
        yield Evidence(name="of used memory", value=Quantity(share, "ratio"), source="INFO used_memory")
    if not keys.exhaustive:
        _, most = keys_like(big, keys)
        fit = keys.used_memory_bytes // one.size_bytes if keys.used_memory_bytes else most
        interval = say("{met} to {most} keys", met=big, most=max(big, min(most, fit)))
        yield Evidence(name="as big, in all", value=interval, source="sample x DBSIZE (95 %), and what memory holds")
    yield from _sample(keys)


def _sample(keys: RedisKeys) -> Iterator[Evidence]:
    yield Evidence(name="sampled", value=Quantity(keys.sampled_keys, "keys"), source=keys.method)
    if keys.exhaustive:
        return
    chance = Quantity(meeting_chance(keys), "ratio")
    yield Evidence(name="chance to meet one given key", value=chance, source="1 - (1 - 1/N)^n")
    unseen = Quantity(most_unseen(keys), "keys")
    yield Evidence(name="unseen kind of key, at most", value=unseen, source="95 %: N (1 - 0.05^(1/n))")


def steps_for(one: KeySize) -> Iterator[Step]:
    """Yield the steps: count, read in parts, split, and only then remove, without blocking."""
    if counted_by := _COUNTED_BY.get(one.kind):
        yield Step(
            title=say("Count what is in it: that is quick whatever its size"),
            risk=Risk.READ_ONLY,
            command=redis_cli(counted_by, one.key),
            expect=say("compare with what its owner expects: one that only grows lacks a limit or an expiry"),
        )
    yield Step(title=_in_parts(one.kind), risk=Risk.REVERSIBLE, expect=say("no command on it stands in SLOWLOG"))
    yield Step(
        title=say("Split it where it is written: one key for each user, day or hash bucket"),
        risk=Risk.REVERSIBLE,
        expect=say("the next look names smaller keys in its place"),
    )
    yield Step(
        title=say("Only if it may go for good: UNLINK it, never DEL: it is freed beside the commands of others"),
        risk=Risk.DISRUPTIVE,
        command=redis_cli("UNLINK", one.key),
        expect=say("lazyfree_pending_objects falls to 0 in INFO, and used memory with it"),
    )


def _in_parts(kind: str) -> Phrase:
    match kind:
        case "hash" | "set" | "zset":
            command = {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}[kind]
            return say("Let its readers ask in parts: {command} or single elements, not all at once", command=command)
        case "list" | "stream":
            return say("Let its readers ask for a bounded range, not for all of it")
        case _:
            return say("Let its readers ask for less: compressed, or only the part they need")


def unmet_evidence(unmet: float, keys: RedisKeys) -> Iterator[Evidence]:
    """Yield what the server counts, what the sample adds up to, and how seldom a sample meets one key."""
    weighed = weights(keys).all_bytes
    yield Evidence(name="keys and values", value=Quantity(keys.dataset_bytes, "bytes"), source="INFO memory, dataset")
    yield Evidence(name="by the sample", value=Quantity(weighed, "bytes"), source="MEMORY USAGE, mean x DBSIZE")
    yield Evidence(name="not met, at least", value=Quantity(unmet, "bytes"), source="beyond the 95 % interval")
    yield from _sample(keys)


def search_steps() -> tuple[Step, ...]:
    """Return how to find a key that no sample meets."""
    return (
        Step(
            title=say("Look at every key, on a replica if there is one: the biggest of each type are named"),
            risk=Risk.READ_ONLY,
            command=redis_cli("--memkeys", "-i", "0.01"),
            expect=say("one or a few keys that make up what is missing here"),
        ),
        Step(
            title=say("Or narrow: diag cache-hot-keys --match with the beginning of a suspected family"),
            risk=Risk.READ_ONLY,
            expect=say("every key of it is weighed, up to the cap of a walk"),
        ),
    )
