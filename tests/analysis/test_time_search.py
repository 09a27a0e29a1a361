"""The search for a record's time: on logs of many shapes never off by more than a second, never too old, never long.

The oracle knows all records. f(T) is the first one whose running maximum reaches T; M(c) is the
running maximum at c, or at the first record left after it where compaction removed that very one.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.analysis.time_search import NEWEST, PROBES, Answer, TimeSearch

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MOST_ROUNDS = 9
NOW = 1_760_000_000_000
WEEK = 7 * DAY
RECORDS = 200_000


class Log:
    """A partition: the timestamp of each record, and the offsets they are at (all of them, unless compacted)."""

    def __init__(self, stamps, offsets=None, *, tells_newest=True):
        self.offsets = list(range(len(stamps))) if offsets is None else offsets
        self.highs = list(accumulate(stamps, max))
        self.end = self.offsets[-1] + 1
        self.tells_newest = tells_newest

    def ask(self, asked):
        number = bisect_left(self.highs, self.highs[-1] if asked == NEWEST else asked)
        return Answer(self.offsets[number], self.highs[number]) if number < len(self.highs) else None

    def true_ms(self, place):
        return self.highs[bisect_left(self.offsets, place)]


def searched(log, places, *, compacted=False, ask=None, now_ms=NOW):
    search = TimeSearch(
        places, log_end_offset=log.end, now_ms=now_ms, tells_newest=log.tells_newest, compacted=compacted
    )
    sent = 0
    while probes := search.probes():
        assert len(probes) == len(set(probes)) <= PROBES * len(places)
        assert (NEWEST in probes) <= (search.rounds == 0 and log.tells_newest)
        sent += len(probes)
        search.learn({asked: (ask or log.ask)(asked) for asked in probes})
    assert search.rounds <= MOST_ROUNDS
    return search, sent


def steady(_):
    return [NOW - WEEK + WEEK * number // RECORDS for number in range(RECORDS)]


def diurnal(rng, records=RECORDS):
    """Full by day, a trickle by night."""
    minutes = WEEK // MINUTE
    weights = [1 + 0.95 * math.sin(2 * math.pi * minute / 1440) for minute in range(minutes)]
    chosen = rng.choices(range(minutes), weights, k=records)
    return sorted(NOW - WEEK + minute * MINUTE + rng.randrange(MINUTE) for minute in chosen)


def cron(rng):
    """Five seconds of records every five minutes."""
    runs = WEEK // (5 * MINUTE)
    return sorted(
        NOW - WEEK + run * 5 * MINUTE + rng.randrange(5000) for run in range(runs) for _ in range(RECORDS // runs)
    )


def idle_then_burst(rng):
    week = [NOW - WEEK + rng.randrange(WEEK - HOUR) for _ in range(200)]
    return sorted(week) + sorted(NOW - HOUR + rng.randrange(HOUR) for _ in range(RECORDS - 200))


def out_of_order(rng):
    """Several producers, each some seconds behind another."""
    return [stamp - int(rng.expovariate(1 / 3000)) for stamp in diurnal(rng)]


def log_append_time(rng):
    """The broker dates whole batches."""
    return [stamp for stamp in diurnal(rng, RECORDS // 50) for _ in range(50)]


def long_gap(rng):
    before = sorted(NOW - WEEK + rng.randrange(DAY) for _ in range(RECORDS // 2))
    return before + sorted(NOW - 10 * MINUTE + rng.randrange(10 * MINUTE) for _ in range(RECORDS // 2))


def uneven(rng):
    """No scale at all: gaps from microseconds to hours."""
    gaps = list(accumulate(rng.lognormvariate(0, 3) for _ in range(RECORDS)))
    return [NOW - WEEK + int(WEEK * gap / gaps[-1]) for gap in gaps]


def compacted_log(rng):
    """Of the older six days one record in forty is left."""
    stamps = [NOW - WEEK + WEEK * number // RECORDS for number in range(RECORDS)]
    left = [number for number in range(RECORDS) if stamps[number] > NOW - DAY or rng.random() < 1 / 40]
    return Log([stamps[number] for number in left], left)


SHAPES = [steady, diurnal, cron, idle_then_burst, out_of_order, log_append_time, long_gap, uneven]
MEAN_ROUNDS: dict[str, float] = {}


def logs():
    for shape in SHAPES:
        yield shape.__name__, Log(shape(random.Random(shape.__name__))), False
    yield "compacted", compacted_log(random.Random("compacted")), True


@pytest.fixture(scope="module", params=list(logs()), ids=lambda case: case[0])
def shape(request):
    return request.param


def anywhere(log, rng, count):
    return [rng.randrange(log.end) for _ in range(count)]


def recent(log, rng, count):
    """Places as readers have them: from two seconds to two days behind."""
    lags_ms = [int(math.exp(rng.uniform(math.log(2000), math.log(2 * DAY)))) for _ in range(count)]
    numbers = [min(bisect_left(log.highs, NOW - lag_ms), len(log.highs) - 1) for lag_ms in lags_ms]
    return [log.offsets[number] for number in numbers]


@pytest.mark.parametrize(("places", "mean_rounds"), [(anywhere, 6.5), (recent, 3.5)], ids=["anywhere", "recent"])
def test_every_place_is_dated_to_the_second_and_never_too_old(shape, places, mean_rounds):
    name, log, compacted = shape
    rounds = []
    for place in places(log, random.Random(name), 200):
        search, _ = searched(log, [place], compacted=compacted)
        assert 0 <= search.found[place] - log.true_ms(place) <= SECOND, place
        rounds.append(search.rounds)
    assert sum(rounds) / len(rounds) <= mean_rounds
    MEAN_ROUNDS[f"{name} {places.__name__}"] = sum(rounds) / len(rounds)


def test_the_mean_over_all_shapes_is_below_five_rounds():
    for which, most in (("anywhere", 5.0), ("recent", 2.5)):  # and never more than nine, as `searched` asserts
        means = [mean for name, mean in MEAN_ROUNDS.items() if name.endswith(which)]
        if len(means) == len(SHAPES) + 1:  # else only some of the tests above were run
            assert sum(means) / len(means) <= most, MEAN_ROUNDS


def test_brokers_without_max_timestamp_are_searched_as_well(shape):
    name, log, compacted = shape
    log = Log(log.highs, log.offsets, tells_newest=False)
    for place in anywhere(log, random.Random(name), 50):
        search, _ = searched(log, [place], compacted=compacted)
        assert 0 <= search.found[place] - log.true_ms(place) <= SECOND


def test_groups_on_one_partition_share_the_answers():
    log = Log(diurnal(random.Random(1)))
    places = recent(log, random.Random(2), 12)
    search, together = searched(log, places)
    assert {place: 0 <= ms - log.true_ms(place) <= SECOND for place, ms in search.found.items()} == dict.fromkeys(
        places, True
    )
    alone = sum(searched(log, [place])[1] for place in places)
    assert together < 0.75 * alone


STAMPS = st.lists(st.integers(1, 40), min_size=1, max_size=40)
SCALES = st.sampled_from([1, 100, 1000, MINUTE, HOUR, 3 * HOUR])


@settings(max_examples=400, deadline=None)
@given(stamps=STAMPS, scale=SCALES, tells_newest=st.booleans(), data=st.data())
def test_any_log_in_any_order(stamps, scale, tells_newest, data):
    log = Log([NOW - 41 * scale + stamp * scale for stamp in stamps], tells_newest=tells_newest)
    places = data.draw(st.lists(st.integers(0, log.end - 1), min_size=1, max_size=5, unique=True))
    search, _ = searched(log, places)
    for place in places:
        assert 0 <= search.found[place] - log.true_ms(place) <= SECOND
    assert search.unsettled == ()


@settings(max_examples=400, deadline=None)
@given(stamps=STAMPS, scale=SCALES, data=st.data())
def test_what_compaction_removed_never_makes_a_place_too_old(stamps, scale, data):
    left = sorted(data.draw(st.sets(st.integers(0, 80), min_size=len(stamps), max_size=len(stamps))))
    log = Log([NOW - 41 * scale + stamp * scale for stamp in stamps], left)
    place = data.draw(st.integers(0, log.end - 1))
    search, _ = searched(log, [place], compacted=True)
    assert search.found[place] >= log.true_ms(place)
    if sorted(set(stamps)) == stamps:  # each record newer than the one before it: nothing is left to guess
        assert search.found[place] - log.true_ms(place) <= SECOND
    following = bisect_left(log.highs, log.true_ms(place) + 1)
    assert search.found[place] <= log.highs[min(following, len(log.highs) - 1)] + SECOND


def test_a_removed_record_is_dated_by_the_one_before_it_unless_the_log_is_said_to_be_compacted():
    log = Log([NOW - 3 * HOUR, NOW - HOUR], [0, 20])
    assert searched(log, [10])[0].found[10] - (NOW - 3 * HOUR) <= SECOND
    assert searched(log, [10], compacted=True)[0].found == {10: NOW - HOUR}


class Adversary:
    """Answers so that the bracket shrinks as little as its earlier answers allow; no log can be harder to search.

    It keeps the widest part between two proven timestamps, and names records far from the place.
    """

    def __init__(self, span_ms):
        self.first_ms, self.high_ms, self.place = NOW - span_ms, NOW, 500_000
        self.low_ms = self.first_ms

    def answers(self, probes):
        inside = sorted({asked for asked in probes if self.low_ms < asked <= self.high_ms})
        edges = [self.low_ms, *inside, self.high_ms + 1]
        if inside:
            self.low_ms, above = max(pairwise(edges), key=lambda part: part[1] - part[0])
            self.high_ms = above - 1
        return {asked: self.answer(asked) for asked in probes}

    def answer(self, asked):
        if asked > NOW:
            return None
        if asked == NEWEST:
            return Answer(1_000_000, NOW)
        return Answer(1_000_000 if asked > self.high_ms else 0, max(asked, self.first_ms))


@pytest.mark.parametrize("days", [1 / 24, 1, 7, 30, 190])
def test_nine_rounds_are_enough_for_the_most_awkward_log(days):
    adversary = Adversary(int(days * DAY))
    search = TimeSearch([adversary.place], log_end_offset=1_000_001, now_ms=NOW + 10 * DAY)
    while probes := search.probes():
        search.learn(adversary.answers(probes))
    assert search.rounds <= MOST_ROUNDS
    assert search.found[adversary.place] - adversary.low_ms <= SECOND


def test_a_log_too_long_to_be_sure_of_is_searched_as_long_and_left_undated():
    adversary = Adversary(40 * 365 * DAY)
    search = TimeSearch([adversary.place], log_end_offset=1_000_001, now_ms=NOW + 100 * DAY)
    while probes := search.probes():
        search.learn(adversary.answers(probes))
    assert (search.rounds, search.found, search.unsettled) == (MOST_ROUNDS, {}, (adversary.place,))


def test_years_of_ordinary_records_are_no_trouble():
    log = Log([NOW - 1200 * DAY + number * 10 * MINUTE for number in range(1200 * 144)])
    for place in anywhere(log, random.Random(3), 100):
        search, _ = searched(log, [place])
        assert 0 <= search.found[place] - log.true_ms(place) <= SECOND


def test_the_first_record_and_the_newest_one_take_one_round():
    log = Log(diurnal(random.Random(4), 1000))
    for place in (0, log.end - 1):
        search, sent = searched(log, [place])
        assert (search.rounds, search.found[place]) == (1, log.true_ms(place))
        assert sent <= PROBES


def test_a_single_record():
    assert searched(Log([NOW - DAY]), [0])[0].found == {0: NOW - DAY}


def test_a_place_before_the_first_dated_record_is_dated_by_it():
    log = Log([NOW - DAY, NOW - HOUR], [5, 6])
    assert searched(log, [2])[0].found == {2: NOW - DAY}


def test_records_without_timestamps_stay_undated():
    search = TimeSearch([3], log_end_offset=10, now_ms=NOW)
    search.learn(dict.fromkeys(search.probes()))
    assert (search.undated, search.found, search.probes()) == (True, {}, [])


@pytest.mark.parametrize("tells_newest", [True, False])
def test_records_from_the_future_are_shown_as_such(tells_newest):
    log = Log([NOW + hour * HOUR for hour in range(-20, 20)], tells_newest=tells_newest)
    for place in (25, 39):
        found = searched(log, [place])[0].found[place]
        assert NOW <= found <= log.true_ms(place)
        assert found == log.true_ms(place) or not tells_newest
    assert searched(log, [3])[0].found[3] - log.true_ms(3) <= SECOND


def test_a_newest_record_that_is_not_replicated_yet_is_not_told_and_not_needed():
    log = Log(diurnal(random.Random(5), 5000))
    for place in anywhere(log, random.Random(6), 50):
        search, _ = searched(log, [place], ask=lambda asked: None if asked == NEWEST else log.ask(asked))
        assert 0 <= search.found[place] - log.true_ms(place) <= SECOND


def test_older_brokers_name_the_last_record_of_the_newest_batch():
    stamps = [*diurnal(random.Random(7), 1000), *([NOW - MINUTE] * 50)]
    log = Log(stamps)

    def ask(asked):
        return Answer(log.end - 1, NOW - MINUTE) if asked == NEWEST else log.ask(asked)

    for place in (999, 1000, 1001, 1025, 1049):
        assert 0 <= searched(log, [place], ask=ask)[0].found[place] - log.true_ms(place) <= SECOND


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_answers_that_make_no_sense_end_it_all_the_same(data):
    search = TimeSearch([5, 70], log_end_offset=100, now_ms=NOW, compacted=data.draw(st.booleans()))
    nonsense = st.none() | st.builds(Answer, st.integers(0, 2**63 - 1), st.integers(-1, 2**63 - 1))
    while probes := search.probes():
        assert all(asked == NEWEST or 0 <= asked < 2**63 for asked in probes)
        search.learn({asked: data.draw(nonsense) for asked in probes})
    assert search.rounds <= MOST_ROUNDS
