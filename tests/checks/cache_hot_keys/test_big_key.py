"""The proof of cache-hot-keys/big-key: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import random

import pytest
from worlds import gap, judged, redis_keys

from diag.analysis.key_sizes import family_rows, family_share, keys_like, meeting_chance, most_unseen, unmet_bytes
from diag.findings import Basis, Outcome, Severity, ShellCommand

SLUG = "cache-hot-keys/big-key"
MIB = 1 << 20
SMALL = {"page:{n}": [200] * 1_000}


def one(kind: str, size: int):
    return redis_keys(sizes=SMALL | {"the-one": [size]}, kinds={"the-one": kind})


WORLDS = {
    "an empty database": (redis_keys(sizes={}), []),
    "small keys": (redis_keys(sizes=SMALL), []),
    "a string just under a mebibyte": (one("string", MIB - 1), []),
    "a string of a mebibyte": (one("string", MIB), [Severity.WARNING]),
    "a hash of a mebibyte": (one("hash", MIB), []),
    "a hash just under ten": (one("hash", 10 * MIB - 1), []),
    "a hash of ten": (one("hash", 10 * MIB), [Severity.WARNING]),
    "just under a hundred": (one("zset", 100 * MIB - 1), [Severity.WARNING]),
    "a hundred": (one("zset", 100 * MIB), [Severity.CRITICAL]),
    "a type we may not ask for counts as a collection": (one("", 10 * MIB - 1), []),
    "six of them are five findings": (
        redis_keys(sizes={f"h:{n}": [20 * MIB] for n in range(6)}, kinds={f"h:{n}": "hash" for n in range(6)}),
        [Severity.WARNING] * 5,
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def test_it_names_key_size_share_and_the_harmless_way_out():
    (found,), _ = judged(SLUG, one("hash", 30 * MIB))
    assert found.subject.key.raw == "the-one"
    assert found.summary.values["size"].value == 30 * MIB
    assert found.evidence[1].value.value == pytest.approx(0.96, abs=0.01)
    commands = [step.command.argv for step in found.steps if isinstance(step.command, ShellCommand)]
    assert [words[-2] for words in commands] == ["HLEN", "UNLINK"]
    assert not [words for words in commands if "DEL" in words]


def test_a_key_that_nobody_drew_is_betrayed_by_the_memory():
    sizes = {"page:{n}": [150] * 5_000}
    ordinary = redis_keys(sizes=sizes, total_keys=1_000_000, dataset_bytes=170_000_000)
    assert judged(SLUG, ordinary)[0] == []
    whale = redis_keys(sizes=sizes, total_keys=1_000_000, dataset_bytes=400_000_000)
    (found,), _ = judged(SLUG, whale)
    assert (found.basis, found.severity) == (Basis.DERIVED, Severity.WARNING)
    assert 100_000_000 < found.summary.values["unmet"].value < 250_000_000
    assert "--memkeys" in found.steps[0].command.argv


@pytest.mark.parametrize(("dataset", "said"), [(305_333_333, 0), (305_333_340, 1)])
def test_a_quarter_that_is_not_met_is_the_limit(dataset, said):
    world = redis_keys(sizes={"page:{n}": [150] * 5_000}, total_keys=1_000_000, dataset_bytes=dataset)
    assert len(judged(SLUG, world)[0]) == said, "229 MB = 1,000,000 x (150 x 1.1 + 64) is what is met at most"


@pytest.mark.parametrize("more", [{"other_keys": 1}, {"narrowed": True}, {"dataset_bytes": 0}])
def test_nothing_is_made_of_memory_that_other_keys_may_hold(more):
    world = redis_keys(sizes=SMALL, total_keys=10**6, **{"dataset_bytes": 10**12} | more)
    assert unmet_bytes(world) == 0


def test_what_a_sample_cannot_see_is_said():
    world = redis_keys(sizes={"page:{n}": [150] * 5_000}, total_keys=1_500_000)
    assert meeting_chance(world) == pytest.approx(1 - (1 - 1 / 1_500_000) ** 5_000, rel=1e-6)
    assert most_unseen(world) == pytest.approx(3 / 5_000 * 1_500_000, rel=0.01), "the rule of three"
    assert meeting_chance(redis_keys(sizes=SMALL)) == 1.0


def test_the_interval_of_a_familys_share_holds_the_truth():
    chance = random.Random(11)
    population = [("page", chance.lognormvariate(5, 1)) for _ in range(70_000)]
    population += [("session", chance.lognormvariate(6, 1)) for _ in range(30_000)]
    truth = sum(size for name, size in population if name == "page") / sum(size for _, size in population)
    held = 0
    for _ in range(200):
        drawn = chance.choices(population, k=2_000)
        sizes = {f"{one}:{{n}}": [int(size) for name, size in drawn if name == one] for one in ("page", "session")}
        world = redis_keys(sizes=sizes, total_keys=100_000)
        share = family_share(world, world.families[0])
        held += share.low <= truth <= share.high
    assert held >= 182, "of 200, at 95 %: fewer than 182 have a chance of one in a thousand"


def test_a_key_by_its_whole_name_stands_for_itself_and_the_others_for_all():
    sizes = {"page:{n}": [150] * 4_999, "big": [20 * MIB]}
    world = redis_keys(sizes=sizes, kinds={"big": "hash"}, total_keys=10**6, used_memory_bytes=210 * MIB)
    page, big = family_rows(world)
    assert (page.pattern.raw, page.keys, big.keys) == ("page:{n}", 999_999, 1)
    assert big.share == pytest.approx(20 * MIB / (20 * MIB + 999_999 * 150), abs=1e-4)
    assert big.least_share <= big.share <= big.most_share


def test_as_many_as_memory_can_hold_and_no_more():
    sizes = {"page:{n}": [150] * 4_999, "big": [20 * MIB]}
    world = redis_keys(sizes=sizes, kinds={"big": "hash"}, total_keys=10**6, used_memory_bytes=210 * MIB)
    (found,), _ = judged(SLUG, world)
    assert found.evidence[2].value.values == {"met": 1, "most": 10}
    roomy = redis_keys(sizes=sizes, kinds={"big": "hash"}, total_keys=10**6, used_memory_bytes=10**15)
    (found,), _ = judged(SLUG, roomy)
    assert found.evidence[2].value.values == {"met": 1, "most": keys_like(1, roomy)[1]}


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, redis_keys(sizes={}, gaps=(gap("sizes"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_a_gap_elsewhere_is_not():
    _, outcome = judged(SLUG, redis_keys(sizes=SMALL, gaps=(gap("rare_keys"), gap("frequencies"))))
    assert outcome.outcome is Outcome.CLEAR
