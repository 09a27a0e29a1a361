"""What was counted during a storm, what that rules out, and how to have the missed key named."""

from collections.abc import Iterator

from diag.analysis.miss_shapes import Storm
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad
from diag.text import KeyText, ServerText


def when(storm: Storm) -> Phrase:
    """Say how long it lasted and since when; the first step is as exact as the samples are apart."""
    length = Quantity(storm.stretch.length_s, "s")
    template = "in {length} from {at}" if storm.stretch.ended else "in {length} so far, from {at}"
    return say(template, length=length, at=storm.began.from_at)


def counted(storm: Storm) -> tuple[Evidence, ...]:
    """Return the figures that every storm has."""
    stretch = storm.stretch
    rows = [
        Evidence(name="misses", value=Quantity(stretch.misses, "misses"), source="INFO keyspace_misses, window"),
        Evidence(name="all reads", value=Quantity(round(stretch.reads_per_s), "reads/s"), source="INFO, worst step"),
        Evidence(name="values written", value=Quantity(stretch.sets, "SETs"), source="INFO commandstats"),
        Evidence(name="keys created by them", value=Quantity(stretch.created, "keys"), source="INFO keyspace"),
    ]
    if stretch.first_set_after_s is not None and stretch.misses:
        after = Quantity(stretch.first_set_after_s + storm.began.span_s, "s")
        rows.append(Evidence(name="first value within", value=after, source="INFO commandstats, step by step"))
    if stretch.refused:
        refused = Quantity(stretch.refused, "SETs")
        rows.append(Evidence(name="refused", value=refused, source="INFO commandstats - rdb_changes_since_last_save"))
    if stretch.distinct is not None:
        named = Quantity(stretch.distinct, "keys")
        rows.append(Evidence(name="different keys missed", value=named, source="keymiss events"))
    return tuple(rows)


def ruled_out(storm: Storm, window: Window[RedisLoad]) -> Iterator[Phrase]:
    """Say what else it could have been and which fact speaks against it."""
    stretch, last = storm.stretch, window.last
    if stretch.calm_reads_per_s is not None and stretch.hits_fell:
        yield say(
            "more traffic: all reads were {now} against {calm} before and after; it is the hits that fell",
            now=Quantity(round(stretch.reads_per_s), "reads/s"),
            calm=Quantity(round(stretch.calm_reads_per_s), "reads/s"),
        )
    yield say("memory: {n} were evicted", n=Quantity(stretch.evicted, "keys"))
    yield say(
        "a restart, a failover or a flush: the run_id is the same, up for {up}, and no FLUSHALL or FLUSHDB came",
        up=Quantity(last.uptime_s, "s"),
    )


def expiry_ruled_out(storm: Storm) -> Phrase:
    """Say why it is not many keys that expired together."""
    return say(
        "a mass expiry: expired_stale_perc rose by {rise} at most, and the {sets} created {created}",
        rise=Quantity(max(0.0, storm.stretch.stale_rise), "ratio"),
        sets=Quantity(storm.stretch.sets, "SETs"),
        created=Quantity(storm.stretch.created, "keys"),
    )


_NAMING = "Em"
LOOK_AGAIN = ("diag", "cache-stampede", "--samples", "30", "--interval", "1")


def look_again(key: KeyText | None) -> Step:
    """Look for half a minute, at the key alone where it is known."""
    command = ShellCommand((*LOOK_AGAIN, ("--match=", key)) if key else LOOK_AGAIN)
    return Step(
        title=say("Look for half a minute, second by second"),
        risk=Risk.READ_ONLY,
        command=command,
        expect=say("whether it goes on or comes again, and how often"),
    )


def naming(last: RedisLoad) -> tuple[Step, ...]:
    """Return the step that has missed keys named, with the old value that has to be put back; none where it is so."""
    old = last.keyspace_events
    if old is not None and "m" in old and "E" in old:
        return ()
    if old is None:
        return (
            Step(
                title=say(
                    "Have missed keys named: notify-keyspace-events with E and m, in the parameter group if managed"
                ),
                risk=Risk.REVERSIBLE,
                expect=say("the next look names the key; put the old value back afterwards"),
            ),
        )
    return (
        Step(
            title=say("Have missed keys named; afterwards put {old} back", old=_shown(old)),
            risk=Risk.REVERSIBLE,
            command=ShellCommand(
                ("redis-cli", "CONFIG", "SET", "notify-keyspace-events", ("", ServerText(_with(old))))
            ),
            expect=say(
                "the next look names the key; about 2 microseconds a miss while diag listens, nothing otherwise"
            ),
        ),
    )


def _with(old: str) -> str:
    return old + "".join(flag for flag in _NAMING if flag not in old)


def _shown(old: str) -> Phrase:
    return say("the old value {old}", old=ServerText(old)) if old else say('the old value, "" (none),')
