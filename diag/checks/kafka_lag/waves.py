"""A consumer group falls behind again and again, in a rhythm, and is late at every peak.

A look between two peaks finds nothing, so waves are found in the past. A rhythm has a cause
with the same rhythm: a job that writes a burst, or something that stops the readers. A burst
that is read before anybody is late is healthy, and so is the sawtooth of commits.

Facts    with --history: ListOffsets by timestamp (produce curve), `__consumer_offsets` (commits, rebalances)
Units    s = age of the next unread record, period and pauses; lag counts records; ratio 0 to 1
Source   autocorrelation of the detrended lag (Box & Jenkins, ch. 2); origin by shares of covariance
Blind    waves without a rhythm, or of which fewer than three fit into the history; times are the records' own
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.waves import waves
from diag.checks.kafka_lag._wave_words import cause_of, evidence_of, rebalances_of, ruled_out_for, steps_for
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.kafka import KafkaHistory


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a rhythm is an incident."""

    late_s: float = 30.0  # the limit of kafka-lag/time-lag: later, and somebody waits
    waves: int = 3  # two alike can be chance
    regularity: float = 0.3  # correlation with itself one period later; chance stays below 0.2 in ten minutes
    over_periods: float = 2.5  # so long without a wave, and it is a matter of the past
    observed_for_s: float = 600.0  # ten minutes: three waves of the shortest jobs, run every few minutes


def judge(history: KafkaHistory, limits: Limits) -> Iterator[Finding]:
    """Find groups whose lag comes in waves that are late at their peaks."""
    for wave in waves(history, limits.late_s):
        if len(wave.rises) < limits.waves or wave.regularity < limits.regularity:
            continue
        if wave.ended_s >= limits.over_periods * wave.period_s:
            continue
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.DERIVED,
            subject=Subject(group=wave.series.group, topic=wave.series.topic),
            summary=say(
                "group {group} falls behind on {topic} in waves: every {period}, up to {late} and {records}; {cause}",
                group=wave.series.group,
                topic=wave.series.topic,
                period=Quantity(wave.period_s, "s"),
                late=Quantity(wave.peak_s, "s"),
                records=Quantity(wave.peak_records, "records"),
                cause=cause_of(wave),
            ),
            evidence=(*evidence_of(wave), *rebalances_of(wave, history)),
            ruled_out=ruled_out_for(wave, history),
            steps=steps_for(wave),
        )


CHECK = Check(
    title="Lag in waves",
    facts=KafkaHistory,
    needs=("produced", "committed"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag", "kafka-lag/under-capacity"),
)
