"""What is known of a hot key, why sometimes nothing can be, and what to do, safest first."""

from collections.abc import Iterator

from diag.analysis.key_sizes import meeting_chance
from diag.analysis.key_use import Hot, Named, accesses_interval, asked_per_s, held_per_s, median_counter, scale_of
from diag.findings import Basis, Evidence, Finding, Phrase, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import redis_cli
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisKeys, RedisLoad


def by_counter(hot: Hot, keys: RedisKeys, load: Window[RedisLoad], severity: Severity, basis: Basis) -> Finding:
    """Say which key it is by its LFU counter."""
    return Finding(
        severity=severity,
        basis=basis,
        subject=Subject(key=hot.key),
        summary=say(
            "{key} takes about {share} of all accesses, {rate} a second{ends}",
            key=hot.key,
            share=Quantity(hot.share, "ratio"),
            rate=Quantity(round(hot.per_s, 1), "accesses"),
            ends=say(": its counter is at its end, and no other explains them") if hot.saturated else say(""),
        ),
        evidence=tuple(_counter_evidence(hot, keys, load)),
        ruled_out=(say("keys used alike: the median one has counter {n}", n=median_counter(keys)),),
        steps=(
            Step(
                title=say("Ask for its counter again in a minute: what is no longer used falls"),
                risk=Risk.READ_ONLY,
                command=redis_cli("OBJECT", "FREQ", hot.key),
                expect=say("it stays or rises: it is hot now, not only before"),
            ),
            *_RELIEF,
        ),
    )


def _counter_evidence(hot: Hot, keys: RedisKeys, load: Window[RedisLoad]) -> Iterator[Evidence]:
    scale = scale_of(keys)
    least, most = accesses_interval(hot.counter, scale)
    yield Evidence(name="LFU counter", value=hot.counter, source="OBJECT FREQ, 0 to 255")
    counted = say("{least} to {most} accesses", least=round(least), most=round(most))
    yield Evidence(name="it stands for", value=counted, source="redis.conf lfu-log-factor, 95 % interval")
    held = Quantity(round(held_per_s(hot.counter, scale), 1), "accesses")
    yield Evidence(name="held, a second, by", value=held, source="redis.conf lfu-decay-time")
    yield Evidence(name="reads or commands", value=Quantity(asked_per_s(load), "a second"), source="INFO stats, window")
    settings = say("{factor} and {decay}", factor=scale.log_factor, decay=Quantity(scale.decay_min * 60.0, "s"))
    by_default = keys.lfu_log_factor is None
    source = "redis.conf defaults: not readable here" if by_default else "CONFIG GET lfu-*"
    yield Evidence(name="log factor and decay time", value=settings, source=source)
    yield Evidence(name="sampled", value=Quantity(keys.sampled_keys, "keys"), source=keys.method)
    at_zero = Quantity(keys.counters[0] / max(1, sum(keys.counters)), "ratio")
    yield Evidence(
        name="of these at 0", value=at_zero, source="OBJECT FREQ: not used for minutes, or since LFU was set"
    )
    if hot.saturated and not keys.exhaustive:
        alike = Quantity(hot.alike, "keys")
        yield Evidence(
            name="as hot, in all", value=alike, source="sample x DBSIZE: their counters, too, are at the end"
        )
    if not keys.exhaustive:
        chance = Quantity(meeting_chance(keys), "ratio")
        yield Evidence(name="chance to meet one given key", value=chance, source="1 - (1 - 1/N)^n")


def by_name(one: Named, severity: Severity, *, changed: bool) -> Finding:
    """Say which key it is by the events that named it."""
    source = "CLIENT TRACKING BCAST, at least: changes in one pass merge" if changed else "keymiss events"
    template = (
        "{key} is changed {rate} a second, {share} of all changes under the asked prefix"
        if changed
        else "{key} is asked for and missed {rate} a second, {share} of all misses"
    )
    return Finding(
        severity=severity,
        basis=Basis.OBSERVED,
        subject=Subject(key=one.key),
        summary=say(
            template, key=one.key, rate=Quantity(round(one.per_s, 1), "times"), share=Quantity(one.share, "ratio")
        ),
        evidence=(
            Evidence(name="named a second", value=Quantity(round(one.per_s, 1), "times"), source=source),
            Evidence(name="share", value=Quantity(one.share, "ratio"), source=source),
            Evidence(name="keys named in a look", value=Quantity(one.distinct, "keys"), source=source),
        ),
        steps=_RELIEF,
    )


_RELIEF = (
    Step(
        title=say("See which clients send the most, and what they run"),
        risk=Risk.READ_ONLY,
        command=redis_cli("CLIENT", "LIST", "TYPE", "normal"),
        expect=say("one service, or one of its releases, behind most connections"),
    ),
    Step(
        title=say("Let the readers keep it in memory for some seconds, or have changes pushed (client-side caching)"),
        risk=Risk.REVERSIBLE,
        expect=say("accesses fall to about one for each process and each such time"),
    ),
    Step(
        title=say(
            "Write it under several names and read any of them; a counter: one for each writer, summed on reading"
        ),
        risk=Risk.REVERSIBLE,
        expect=say("in the next look each takes its part of the share"),
    ),
)


_TURN_ON = "the runbook cache-hot-keys/hot-key has the commands that turn it on for a while and back"


def unanswerable(keys: RedisKeys, load: Window[RedisLoad]) -> Phrase | None:
    """Return why nobody can say which key is hot on this server; None where the counters can."""
    if "lfu" not in keys.maxmemory_policy:
        heard = load.last.missed is not None or load.last.written is not None
        seen = say("only missed or changed keys were seen") if heard else say("no key is named either")
        return say(
            "reads by key are not counted under {policy}, and {seen}: {how}",
            policy=keys.maxmemory_policy or "an unknown policy",
            seen=seen,
            how=_TURN_ON,
        )
    if keys.sampled_keys and not any(keys.counters[1:]):
        return say(
            "all {n} sampled keys report 0 accesses: counters only count since the policy is an LFU one; wait a minute",
            n=keys.sampled_keys,
        )
    return None
