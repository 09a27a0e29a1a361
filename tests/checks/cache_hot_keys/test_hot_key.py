"""The proof of cache-hot-keys/hot-key: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import random

import pytest
from worlds import gap, judged, redis_keys, redis_load

from diag.analysis.key_use import Scale, accesses, accesses_interval, held_per_s
from diag.findings import Basis, Outcome, Severity
from diag.snapshots.redis import KeyCount, KeyEvents
from diag.text import KeyText

SLUG = "cache-hot-keys/hot-key"
COLD = {f"page:{number}": 0 for number in range(999)}
TEN_S = 10.0


def reads(per_s: float, **last):
    """Two readings ten seconds apart with so many hits a second."""
    return redis_load(), redis_load(after_s=TEN_S, keyspace_hits=round(per_s * TEN_S), **last)


def world(counters: dict[str, int], per_s: float, **more):
    return [redis_keys(counters=counters, **more), *reads(per_s)]


# To hold counter 100 takes 10 x 95 + 1 = 951 accesses a minute: 15.85 a second.
WORLDS = {
    "nobody reads": (world(COLD | {"a": 1}, 0), []),
    "all alike": (world(dict.fromkeys(COLD, 100), 1_000), []),
    "one of ten a little hotter": (world({f"k:{n}": 99 + (n == 0) for n in range(10)}, 155.5), []),
    "just under ten times the median": (world(dict.fromkeys(COLD, 14) | {"a": 95}, 30), []),
    "ten times the median": (world(dict.fromkeys(COLD, 14) | {"a": 96}, 30), [Severity.WARNING]),
    "a tenth of the reads": (world(COLD | {"a": 100}, 158.4), [Severity.WARNING]),
    "just under a tenth": (world(COLD | {"a": 100}, 158.6), []),
    "most of few reads: 9.85 a second are no load": (world(COLD | {"a": 64}, 12), []),
    "10.02 a second of few reads": (world(COLD | {"a": 65}, 12), [Severity.WARNING]),
    "as hot as it can show, and no other explains the reads": (
        world(COLD | {"a": 255}, 9_999),
        [Severity.WARNING],
    ),
    "ten thousand a second": (world(COLD | {"a": 255}, 10_000), [Severity.CRITICAL]),
    "a hundred keys at the end of the counter share them": (
        world(COLD | {f"hot:{n}": 255 for n in range(100)}, 50_000),
        [],
    ),
    "the server was restarted in between": (
        [redis_keys(counters=COLD | {"a": 255}), redis_load(run_id="b"), redis_load(after_s=9, keyspace_hits=10**6)],
        [],
    ),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said


def test_it_names_the_key_its_accesses_and_the_median():
    (found,), _ = judged(SLUG, *world(COLD | {"limits:config": 255}, 5_000))
    assert (found.subject.key.raw, found.basis) == ("limits:config", Basis.DERIVED)
    assert found.summary.values["rate"].value == pytest.approx(5_000)
    assert found.evidence[0].value == 255
    assert found.ruled_out[0].values["n"] == 0


def test_in_a_sample_those_at_the_end_share_what_is_left():
    """1 of 1,000 drawn stands for about 1,000 of a million, 5,600 at most: nobody can call it the one hot key."""
    assert judged(SLUG, *world(COLD | {"a": 255}, 5_000, total_keys=1_000_000))[0] == []


def test_commands_that_do_not_read_keys_are_traffic_too():
    frames = [
        redis_keys(counters=COLD | {"a": 100}),
        redis_load(),
        redis_load(after_s=TEN_S, calls={"publish": 99_999}),
    ]
    assert judged(SLUG, *frames)[0] == []


def events(**counts: int) -> KeyEvents:
    top = tuple(KeyCount(key=KeyText(name), count=count) for name, count in counts.items())
    return KeyEvents(total=sum(counts.values()), distinct=len(counts), top=top)


NAMED = {
    "just under ten misses a second": (events(a=99), []),
    "ten misses a second": (events(a=100), [Severity.WARNING]),
    "just under a tenth of them": (events(a=100, others=901), ["others"]),
    "a tenth of them": (events(a=100, others=900), ["others", "a"]),
}


@pytest.mark.parametrize(("heard", "said"), NAMED.values(), ids=NAMED.keys())
@pytest.mark.parametrize("field", ["missed", "written"])
def test_without_counters_the_keys_that_the_server_names(field, heard, said):
    frames = [redis_keys(), redis_load(), redis_load(after_s=TEN_S, **{field: heard})]
    findings, _ = judged(SLUG, *frames)
    names = [found.subject.key.raw for found in findings]
    assert names == (["a"] if said == [Severity.WARNING] else said)
    assert {found.basis for found in findings} <= {Basis.OBSERVED}


UNANSWERABLE = {
    "no policy that counts, and nothing named": ([redis_keys(), *reads(100)], "noeviction"),
    "only misses are named, and none is hot": (
        [redis_keys(), redis_load(), redis_load(after_s=TEN_S, missed=events())],
        "missed or changed",
    ),
    "the policy was only just set": ([redis_keys(counters=COLD), *reads(100)], "wait a minute"),
}


@pytest.mark.parametrize(("frames", "word"), UNANSWERABLE.values(), ids=UNANSWERABLE.keys())
def test_where_nobody_can_say_it_is_skipped_with_what_would_tell(frames, word):
    findings, outcome = judged(SLUG, *frames)
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
    assert word in str(outcome.because)


def test_a_cold_cache_whose_counters_count_is_clear():
    _, outcome = judged(SLUG, *world(COLD | {"a": 7}, 1_000))
    assert outcome.outcome is Outcome.CLEAR


def test_a_gap_in_what_it_needs_is_unknown():
    frames = [redis_keys(maxmemory_policy="allkeys-lfu", gaps=(gap("frequencies"),)), *reads(100)]
    findings, outcome = judged(SLUG, *frames)
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def counter_after(count: int, log_factor: int, chance: random.Random) -> int:
    """What LFULogIncr of the server makes of so many accesses of a new key."""
    counter = 5
    for _ in range(count):
        if counter < 255 and chance.random() < 1 / (log_factor * max(0, counter - 5) + 1):
            counter += 1
    return counter


@pytest.mark.parametrize("log_factor", [0, 1, 10, 100])
def test_the_counter_stands_for_as_many_accesses_as_it_took(log_factor):
    chance, scale, held = random.Random(5), Scale(log_factor=log_factor, decay_min=1), 0
    for _ in range(100):
        counter = counter_after(2_000, log_factor, chance)
        least, most = accesses_interval(counter, scale)
        held += least <= 2_000 <= most or counter == 255
    assert held >= 88, "of 100, at 95 %: fewer have a chance of one in a thousand"


@pytest.mark.parametrize(("counter", "hits"), [(10, 100), (18, 1_000), (142, 100_000)])
def test_the_table_of_redis_conf_agrees(counter, hits):
    """With the default factor: 100 hits 10, 1000 hits 18, 100K hits 142."""
    scale = Scale(log_factor=10, decay_min=1)
    least, most = accesses_interval(counter, scale)
    assert least < accesses(counter, scale) < most
    assert least <= hits <= most


def test_what_holds_a_counter():
    assert held_per_s(255, Scale(log_factor=10, decay_min=1)) == pytest.approx(2_501 / 60)
    assert held_per_s(5, Scale(log_factor=10, decay_min=1)) == 0.0
    assert held_per_s(255, Scale(log_factor=10, decay_min=0)) == 0.0
