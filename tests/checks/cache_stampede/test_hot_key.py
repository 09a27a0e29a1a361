"""The proof of cache-stampede/hot-key: storms over one key by what made them, and what only looks like one."""

from __future__ import annotations

import pytest
from miss_worlds import CALM, look, storm, unnamed_storm, watched
from msgspec.structs import replace
from worlds import gap, judged

from diag.findings import Basis, Outcome, Severity

SLUG = "cache-stampede/hot-key"


def behind_lock(seconds: int, *, values: int = 0, again: int = 0, ended: bool = True):
    """A key behind a lock: readers are refused; `again` more locks are taken, `values` written at the end."""
    held = [{"hits": 100, "misses": 300, "sets": 300, "wrote": 1 if turn <= again else 0} for turn in range(seconds)]
    after = [{"hits": 400, "sets": 1}] * values + [CALM] * 4 if ended else []
    return [*[CALM] * 4, *held, *after]


def blink(misses: int):
    """All of it within one second."""
    one = {"hits": 400 - misses, "misses": misses, "sets": misses, "created": 1, "expired": 1}
    return [*[CALM] * 4, one | {"missed": {"limits:config": misses}}, *[CALM] * 4]


def refreshes(*writes: int, key: str = "menu:main"):
    return [{"hits": 400, "sets": count, "written": {key: count} if count else {}} for count in writes]


def also(command: str, per_frame: int, frames):
    """The same, with calls beside it that change nothing."""
    return [replace(one, calls=one.calls | {command: per_frame * number}) for number, one in enumerate(frames)]


WORLDS = {
    "a key that is not there is asked for, and others are written beside it": (
        look(*[{"hits": 400, "misses": 100, "missed": {"flag:x": 100}, "sets": 2}] * 20),
        [],
    ),
    "a --match that names nothing, while other keys expire": (
        look(
            *[CALM | {"watched": watched("typo:key", exists=False)}] * 4,
            *[{"hits": 100, "misses": 300, "sets": 300, "created": 300, "expired": 300, "stale": 0.3}] * 3,
            *[CALM] * 3,
            watched=watched("typo:key", exists=False),
        ),
        [],
    ),
    "a queue is filled in bursts": (
        look(*[{"hits": 400, "written": {"queue:mail": n} if n else {}} for n in (0, 0, 0, 0, 60, 0, 0, 0, 0, 250, 0)]),
        [],
    ),
    "keys are deleted that were not there": (
        also("del", 200, look(*[{"hits": 300, "misses": 150, "sets": 200, "created": 150, "expired": 150}] * 12)),
        [],
    ),
    "a cache at work": (look(*[CALM] * 12), []),
    "one key expires and everybody recomputes it": (look(*storm()), [(Severity.CRITICAL, "limits:config")]),
    "nobody names the key, and it is one all the same": (look(*unnamed_storm()), [(Severity.CRITICAL, None)]),
    "one short of the limit": (look(*blink(20)), []),
    "at the limit": (look(*blink(21)), [(Severity.WARNING, "limits:config")]),
    "one short of critical": (look(*blink(200)), [(Severity.WARNING, "limits:config")]),
    "at critical": (look(*blink(201)), [(Severity.CRITICAL, "limits:config")]),
    "two samples, and the server names it": (
        look({"hits": 22, "misses": 278, "missed": {"limits:config": 278}}),
        [(Severity.CRITICAL, "limits:config")],
    ),
    "two samples, and values are written over each other": (
        look({"hits": 22, "misses": 278, "sets": 120, "created": 1, "expired": 1}),
        [(Severity.CRITICAL, None)],
    ),
    "two samples, and nothing is written yet: too early to say": (look({"hits": 22, "misses": 278}), []),
    "a key that nobody ever writes is no stampede": (
        look(*[CALM] * 3, *[{"hits": 400, "misses": 90, "missed": {"user:0": 90}}] * 5),
        [],
    ),
    "many keys that do not exist": (
        look(*[CALM] * 4, *[{"hits": 400, "misses": 300, "missed": {f"user:{n}": 1 for n in range(300)}}] * 8),
        [],
    ),
    "misses that each create a key are no duplicates": (
        look(*[CALM] * 4, *[{"hits": 100, "misses": 300, "sets": 300, "created": 300, "expired": 300}] * 3),
        [],
    ),
    "three times the traffic, misses and all": (
        look(*[{"hits": 380, "misses": 20, "sets": 20}] * 6, *[{"hits": 1_140, "misses": 60, "sets": 60}] * 6),
        [],
    ),
    "a monitor that asks for keys that are not there": (
        look(*[CALM] * 4, *[{"hits": 400, "misses": 300, "exists": 300}] * 6),
        [],
    ),
    "memory is short": (
        look(*[CALM] * 4, *[{"hits": 300, "misses": 100, "sets": 100, "created": 100, "evicted": 100}] * 6),
        [],
    ),
    "a restart in the look": (
        look(*[CALM] * 4, {"run_id": "b", "uptime_s": 1.0}, *[{"misses": 400, "sets": 400, "created": 9}] * 3),
        [],
    ),
    "somebody flushes": (
        look(*[CALM] * 4, {"hits": 10, "misses": 300, "sets": 300, "created": 9, "flushes": 1, "deleted": 50_000}),
        [],
    ),
    "a lock, and no value for less than the limit": (look(*behind_lock(2, values=1)), []),
    "a lock, and no value for as long as the limit": (look(*behind_lock(3, values=1)), [(Severity.CRITICAL, None)]),
    "a lock without a value to the end of the look": (look(*behind_lock(6, ended=False)), [(Severity.CRITICAL, None)]),
    "a lock that is taken a second time, and one value": (
        look(*behind_lock(4, values=1, again=1)),
        [(Severity.CRITICAL, None)],
    ),
    "a lock shorter than the recomputation": (look(*behind_lock(3, values=3, again=2)), [(Severity.WARNING, None)]),
    "an early refresh by everybody": (
        look(*refreshes(0, 0, 0, 1, 9, 40, 150, 100, 0, 0, 0, 0)),
        [(Severity.CRITICAL, "menu:main")],
    ),
    "a counter is written all the time": (look(*refreshes(*[50] * 12)), []),
    "a counter that begins in the look": (look(*refreshes(0, 0, 0, *[50] * 9)), []),
    "one process refreshes early": (look(*refreshes(0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0)), []),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    keys = [found.subject.key.raw if found.subject.key else None for found in findings]
    assert list(zip([found.severity for found in findings], keys, strict=True)) == said


def mechanism(found) -> str:
    return " ".join(found.summary.template.split())


def test_each_mechanism_has_its_own_words_and_steps():
    """What helps against one does nothing against the other."""
    worlds = (
        storm(),
        behind_lock(6, ended=False),
        behind_lock(3, values=3, again=2),
        refreshes(0, 0, 0, 1, 9, 40, 150, 100, 0, 0, 0, 0),
    )
    findings = [judged(SLUG, *look(*world))[0][0] for world in worlds]
    assert len({mechanism(found) for found in findings}) == 4
    assert len({tuple(step.title.template for step in found.steps) for found in findings}) == 4


def test_duplicates_are_all_recomputations_but_one():
    for world in (storm(), unnamed_storm()):
        (found,), _ = judged(SLUG, *look(*world))
        (duplicates,) = [one.value.value for one in found.evidence if one.name == "duplicates"]
        assert duplicates == 284


def test_the_key_comes_from_whoever_can_name_it():
    seconds = unnamed_storm()
    seconds[4] = seconds[4] | {"watched": watched("rates:eur", exists=False)}
    seconds[5] = seconds[5] | {"watched": watched("rates:eur", expires_in_s=8.0)}
    (by_name,), _ = judged(SLUG, *look(*seconds, watched=watched("rates:eur", expires_in_s=4.0)))
    assert by_name.subject.key.raw == "rates:eur"
    written = [one | ({"written": {"menu:main": one["sets"]}} if one.get("sets") else {}) for one in unnamed_storm()]
    (by_write,), _ = judged(SLUG, *look(*written))
    assert by_write.subject.key.raw == "menu:main"


def test_without_a_name_it_says_how_to_have_one_and_what_to_put_back():
    (found,), _ = judged(SLUG, *look(*unnamed_storm(), keyspace_events="Kx"))
    (naming,) = [step for step in found.steps if "notify-keyspace-events" in getattr(step.command, "argv", ())]
    assert naming.command.argv[-1][1].raw == "KxEm"
    assert naming.title.values["old"].values["old"].raw == "Kx"
    assert found.basis is Basis.DERIVED
    (named,), _ = judged(SLUG, *look(*storm(), keyspace_events="Em"))
    assert named.basis is Basis.OBSERVED
    assert not [step for step in named.steps if "notify-keyspace-events" in getattr(step.command, "argv", ())]


def test_it_says_that_a_mass_expiry_is_ruled_out_and_by_which_fact():
    (found,), _ = judged(SLUG, *look(*storm()))
    assert "expired_stale_perc" in " ".join(one.template for one in found.ruled_out)


def test_one_reading_is_not_enough():
    findings, outcome = judged(SLUG, *look())
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)


def test_without_calls_by_command_silence_is_unknown():
    frames = [replace(one, calls={}, gaps=(gap("calls"),)) for one in look(*unnamed_storm())]
    findings, outcome = judged(SLUG, *frames)
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
