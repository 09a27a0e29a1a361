"""Many keys of one family will expire in the same few seconds.

When they do, every reader misses at once and recomputes. A warm-up or an import that writes
all keys with one time to live makes such a cliff hours before it is felt.

Facts    a random sample of keys and their times to live; DBSIZE
Units    s = seconds after the sample; keys are scaled from the sample, with a 95 % interval
Source   scan statistic, Chernoff bound (see analysis/expiry.py); Wilson 1927
Blind    one hot key is invisible to a sample; whether anybody reads the keys is not seen here
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis import expiry
from diag.analysis.protections import misses_per_s
from diag.checks.cache_stampede._defusing import spread_before
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.redis import RedisExpiry


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a window of expiries a cliff."""

    window_s: float = 5.0  # half of a miss storm of 10 s, the shortest that people called us for
    log_chance: float = -6.9  # ln 0.001: one false alarm in a thousand quiet looks
    burst_factor: float = 5.0  # short times to live, and keys renewed on use, stay near 1
    keys: int = 500  # below this, one query a key is a second of work for a small database
    critical_keys: int = 10_000  # at 2 000 queries/s of a mid-size database: the length of a storm


def judge(sample: RedisExpiry, limits: Limits) -> Iterator[Finding]:
    """Find families with a window too full to be chance."""
    for family in sample.families:
        cliff = expiry.densest_window(family, limits.window_s, len(sample.families))
        if cliff is None or cliff.log_p > limits.log_chance or cliff.burst_factor < limits.burst_factor:
            continue
        keys, (least, most) = expiry.keys_in(cliff, sample), expiry.keys_interval(cliff, sample)
        if keys < limits.keys:
            continue
        at = expiry.moment(sample, cliff)
        yield Finding(
            severity=Severity.CRITICAL if keys >= limits.critical_keys else Severity.WARNING,
            basis=Basis.DERIVED,
            subject=Subject(pattern=family.pattern),
            summary=say(
                "about {keys} of {pattern} expire within {width}, in {wait}, at {at}",
                keys=Quantity(keys, "keys"),
                pattern=family.pattern,
                width=Quantity(cliff.width_s, "s"),
                wait=Quantity(cliff.from_s, "s"),
                at=at,
            ),
            evidence=(
                Evidence(name="keys", value=Quantity(keys, "keys"), source="sample x DBSIZE"),
                Evidence(name="at least", value=Quantity(least, "keys"), source="95 % interval"),
                Evidence(name="at most", value=Quantity(most, "keys"), source="95 % interval"),
                Evidence(name="expires at", value=at, source="PEXPIRETIME"),
                Evidence(name="width", value=Quantity(cliff.width_s, "s"), source="PEXPIRETIME"),
                Evidence(
                    name="misses, if all are read",
                    value=Quantity(round(misses_per_s(keys, cliff.width_s)), "misses/s"),
                    source="keys / width",
                ),
                Evidence(
                    name="share of the family",
                    value=Quantity(cliff.sampled_keys / cliff.family_keys, "ratio"),
                    source="sample",
                ),
                Evidence(name="sampled", value=Quantity(sample.sampled_keys, "keys"), source=sample.method),
                Evidence(
                    name="against the minute beside it",
                    value=Quantity(cliff.burst_factor, "times"),
                    source="sample",
                ),
            ),
            ruled_out=(say("chance: ln p ≤ {log_p} for the best of all windows", log_p=round(cliff.log_p, 1)),),
            steps=spread_before(family.pattern, cliff),
        )


CHECK = Check(title="Keys that expire together", facts=RedisExpiry, needs=("families",), limits=Limits(), judge=judge)
