"""The words about lag that comes in waves: who makes them, by which figures, and where to look."""

from collections.abc import Iterator
from datetime import datetime

from diag.analysis.waves import Wave
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Evidence, Phrase, Quantity, Risk, Step, say
from diag.snapshots.kafka import KafkaHistory

_MOSTLY, _HARDLY = 0.7, 0.3  # share of the changes of lag; in between both sides have a part in it
_PRODUCED, _COMMITTED = "ListOffsets by timestamp", "__consumer_offsets"


def _by_producers(wave: Wave) -> bool:
    return wave.written_share is not None and wave.written_share >= _MOSTLY


def _by_consumers(wave: Wave) -> bool:
    return wave.written_share is not None and wave.written_share <= _HARDLY


def cause_of(wave: Wave) -> Phrase:
    """Return whose rhythm it is."""
    if _by_producers(wave):
        return say("bursts of its producers make them")
    if _by_consumers(wave):
        return say("pauses of its readers make them") if wave.standstill_s else say("slow spells of its readers do")
    return say("what is written and what is read both vary")


def evidence_of(wave: Wave) -> Iterator[Evidence]:
    """Yield the figures of the wave."""
    both = f"{_PRODUCED}, {_COMMITTED}"
    yield Evidence(name="period", value=Quantity(wave.period_s, "s"), source=both)
    yield Evidence(name="regularity", value=Quantity(wave.regularity, "ratio"), source="autocorrelation of the lag")
    yield Evidence(name="waves", value=len(wave.rises), source=both)
    yield Evidence(name="since", value=_since(wave), source=both)
    yield Evidence(name="amplitude", value=Quantity(round(wave.amplitude_records), "records"), source=both)
    yield Evidence(name="amplitude in time", value=Quantity(wave.amplitude_s, "s"), source=both)
    if wave.written_share is not None:
        share = min(1.0, max(0.0, wave.written_share))
        yield Evidence(name="share of producers", value=Quantity(share, "ratio"), source="covariance with the lag")
    yield Evidence(name="written each second", value=Quantity(wave.produce_per_s, "records"), source=_PRODUCED)
    yield Evidence(name="at most, in a burst", value=Quantity(wave.burst_per_s, "records"), source=_PRODUCED)
    yield Evidence(name="read at most, each second", value=Quantity(wave.capacity_per_s, "records"), source=_COMMITTED)
    yield Evidence(name="longest standstill", value=Quantity(wave.standstill_s, "s"), source=_COMMITTED)


def _since(wave: Wave) -> datetime | Phrase:
    return wave.onset or say("before {begin}", begin=wave.series.begins_at)


def rebalances_of(wave: Wave, history: KafkaHistory) -> Iterator[Evidence]:
    """Yield how many waves coincide with a rebalance, where rebalances could be read."""
    if not history.lacks("rebalances"):
        yield Evidence(name="waves with a rebalance", value=wave.rebalances, source=_COMMITTED)


def ruled_out_for(wave: Wave, history: KafkaHistory) -> tuple[Phrase, ...]:
    """Return what it is not, by what was seen."""
    found = []
    if (interval_s := wave.series.commit_interval_s) is not None:
        found.append(say("the sawtooth of commits: they come every {interval}", interval=Quantity(interval_s, "s")))
    if _by_producers(wave) and not wave.standstill_s:
        found.append(say("readers that pause: they commit all the time there is something to read"))
    if _by_consumers(wave):
        found.append(say("bursts of producers: what is written hardly varies with the lag"))
    if not wave.rebalances and not history.lacks("rebalances"):
        found.append(say("rebalances: no wave begins with one"))
    return tuple(found)


def steps_for(wave: Wave) -> tuple[Step, ...]:
    """Return the steps, safest first."""
    group, topic, period = wave.series.group, wave.series.topic, Quantity(wave.period_s, "s")
    look = look_at_group(group)
    if _by_producers(wave):
        return (
            *look,
            Step(
                title=say(
                    "Find what writes to {topic} every {period}; it began {since}",
                    topic=topic,
                    period=period,
                    since=_begun(wave),
                ),
                risk=Risk.READ_ONLY,
                expect=say("a job of that rhythm, each run at the beginning of a wave"),
            ),
            Step(
                title=say("Let that job spread what it writes over its period"),
                risk=Risk.REVERSIBLE,
                expect=say("the same records, written more evenly; the next peak is lower"),
            ),
        )
    return (
        *look,
        Step(
            title=say(
                "Find what holds the members of {group} up every {period}: their logs, and the latency of what "
                "they call, at the beginning of a wave",
                group=group,
                period=period,
            ),
            risk=Risk.READ_ONLY,
            expect=say("something of that rhythm: a batch job on their database, a slow call, garbage collection"),
        ),
        Step(
            title=say("Move that work out of the way of the members, or bound how long they wait for it"),
            risk=Risk.REVERSIBLE,
            expect=say("commits go on through the next wave, and its peak is lower"),
        ),
    )


def _begun(wave: Wave) -> Phrase:
    return say("at {onset}", onset=wave.onset) if wave.onset else say("before {begin}", begin=wave.series.begins_at)
