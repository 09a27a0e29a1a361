"""What is known of the keys that never expire, and what to do about them, safest first."""

import re
from collections.abc import Iterator

from diag.analysis.cache_use import evictable
from diag.analysis.lasting_keys import lasting, lasting_families
from diag.checks.cache_hit._memory import WHAT_IS_BIG
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisExpiry, RedisLoad
from diag.text import KeyText

_FAMILIES = 3


def largest(expiry: RedisExpiry | None) -> Phrase:
    """Name the family with most such keys, and its part of all keys."""
    families = lasting_families(expiry) if expiry else ()
    if not families:
        return say("")
    first = families[0]
    return say(", most of {pattern} ({share})", pattern=first.pattern, share=Quantity(first.share, "ratio"))


def evidence_of(window: Window[RedisLoad], expiry: RedisExpiry | None) -> Iterator[Evidence]:
    """Yield counts, room, growth, and the largest families with their intervals."""
    last, kept = window.last, lasting(window)
    yield Evidence(name="never expire", value=Quantity(kept.lasting, "keys"), source="INFO keyspace")
    yield Evidence(name="keys it may evict", value=Quantity(evictable(last), "keys"), source="INFO keyspace")
    yield Evidence(name="used memory", value=Quantity(last.used_memory_bytes, "bytes"), source="INFO used_memory")
    if kept.span_s > 0:
        yield Evidence(name="added in the look", value=Quantity(kept.added, "keys"), source="INFO keyspace, window")
    for family in lasting_families(expiry)[:_FAMILIES] if expiry else ():
        yield Evidence(
            name="never expire, of all keys",
            value=say(
                "{pattern}: {share} ({low} to {high})",
                pattern=family.pattern,
                share=Quantity(family.share, "ratio"),
                low=Quantity(family.low, "ratio"),
                high=Quantity(family.high, "ratio"),
            ),
            source="sample of times to live, 95 % interval",
        )
    if expiry:
        yield Evidence(name="sampled", value=Quantity(expiry.sampled_keys, "keys"), source=expiry.method)


def steps_for(expiry: RedisExpiry | None) -> tuple[Step, ...]:
    """Return the steps: look, give times to live where keys are written, then to those that are there."""
    families = lasting_families(expiry) if expiry else ()
    return (_weigh(families[0].pattern) if families else WHAT_IS_BIG, _AT_THE_WRITER, _THOSE_THERE)


def _weigh(pattern: KeyText) -> Step:
    parts = re.split(r"\{(?:n|s|hash|uuid)\}", pattern.raw)
    glob = KeyText("*".join(re.sub(r"([*?\[\]\\])", r"\\\1", part) for part in parts))
    return Step(
        title=say("See what this family weighs"),
        risk=Risk.READ_ONLY,
        command=ShellCommand(("diag", "cache-hot-keys", ("--match=", glob))),
        expect=say("the size of a key and its part of the memory; ask its owner whether it was meant to last"),
    )


_AT_THE_WRITER = Step(
    title=say("Where it is a cache: give its keys a time to live where they are written (SET … EX, spread by 20 %)"),
    risk=Risk.REVERSIBLE,
    expect=say("in the next look no more keys without a time to live are added"),
)
_THOSE_THERE = Step(
    title=say("Then give the keys that are there a time to live (EXPIRE … NX, from 7.0), in batches of 500, spread"),
    risk=Risk.REVERSIBLE,
    expect=say(
        "expires rises in INFO keyspace, and used memory falls as they expire; PERSIST takes it back until then"
    ),
)
