"""A single key is so big that reading it whole, deleting it or its expiry stops every other client.

Redis works off one command after the other. What an element costs is small, but a hash of half a
million fields is one command to HGETALL, DEL or an expiry. Also said: that keys the sample did not meet
hold a large part of the memory.

Facts    MEMORY USAGE of a random sample of keys, collections by five elements; TYPE of the biggest; INFO memory
Units    bytes with the key's own overhead; ratio of the server's used memory; keys scaled with a 95 % interval
Source   redis.io, "MEMORY USAGE", "UNLINK", "INFO" (used_memory_dataset); Wilson 1927
Blind    in a large database a single key is seldom drawn: the gap says how seldom; modules; other databases
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.key_sizes import memory_share, unmet_bytes
from diag.checks.cache_hot_keys._big_words import evidence_of, harm_of, search_steps, steps_for, unmet_evidence
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.redis import KeySize, RedisKeys


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When one key is in the way of the others."""

    string_bytes: int = 1_048_576  # a reply of 1 MiB takes 8 ms of a 1 Gbit/s line: 120 readers a second fill it
    collection_bytes: int = 10_485_760  # of 150,000 short fields: HGETALL 70 ms, DEL 130 ms, measured on 7.0
    critical_bytes: int = 104_857_600  # the same goes on for more than a second: clients time out, failovers begin
    most: int = 5  # findings: who has more of them has one cause, and the table names twenty
    unmet_ratio: float = 0.25  # of the dataset: what versions book differently and errors of a sample stay below


def judge(keys: RedisKeys, limits: Limits) -> Iterator[Finding]:
    """Find the biggest keys of the sample, and whether it has missed bigger ones."""
    big = [one for one in keys.biggest if one.size_bytes >= _limit(one, limits)]
    for one in big[: limits.most]:
        share = memory_share(keys, one.size_bytes)
        yield Finding(
            severity=Severity.CRITICAL if one.size_bytes >= limits.critical_bytes else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(key=one.key),
            summary=say(
                "{kind} {key} takes {size}{share}: {harm}",
                kind=one.kind or "key",
                key=one.key,
                size=Quantity(one.size_bytes, "bytes"),
                share=say(", {ratio} of used memory", ratio=Quantity(share, "ratio")) if share else say(""),
                harm=harm_of(one.kind),
            ),
            evidence=tuple(evidence_of(one, len(big), keys)),
            steps=tuple(steps_for(one)),
        )
    unmet = unmet_bytes(keys)
    if unmet >= max(limits.unmet_ratio * keys.dataset_bytes, limits.collection_bytes):
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.DERIVED,
            subject=Subject(),
            summary=say(
                "keys that a sample of {n} did not meet hold {unmet} or more: few and very big ones",
                n=Quantity(keys.sampled_keys, "keys"),
                unmet=Quantity(unmet, "bytes"),
            ),
            evidence=tuple(unmet_evidence(unmet, keys)),
            steps=search_steps(),
        )


def _limit(one: KeySize, limits: Limits) -> int:
    return limits.string_bytes if one.kind == "string" else limits.collection_bytes


CHECK = Check(title="Keys that are too big", facts=RedisKeys, needs=("sizes",), limits=Limits(), judge=judge)
