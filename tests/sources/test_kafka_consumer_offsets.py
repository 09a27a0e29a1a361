"""The log of commits, decoded: every layout, transactions, compaction, codecs, and bytes of any kind."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecordsBuilder

from diag.sources.kafka.consumer_offsets import CommitLog, Generation, partition_of
from diag.sources.kafka.record_batches import batches, records

GROUP, TOPIC, PLACE = "fraud", "payments", ("fraud", "payments", 3)


def text(value, *, flexible=False):
    raw = value.encode()
    return bytes([len(raw) + 1]) + raw if flexible else struct.pack(">h", len(raw)) + raw


def key(version, *fields):
    return struct.pack(">h", version) + b"".join(text(field) for field in fields)


def commit_key(group=GROUP, version=1):
    return key(version, group, TOPIC) + struct.pack(">i", 3)


def commit_value(offset, at_ms, version=3, metadata="by hand"):
    epoch = struct.pack(">i", 7) if version >= 3 else b""
    expires = struct.pack(">q", -1) if version == 1 else b""
    tags = b"\x00" if version >= 4 else b""
    said = text(metadata, flexible=version >= 4)
    return struct.pack(">hq", version, offset) + epoch + said + struct.pack(">q", at_ms) + expires + tags


def member(name, timeout_ms, version, *, flexible):
    blob = b"\x04abc" if flexible else struct.pack(">i", 3) + b"abc"
    instance = (b"\x00" if flexible else struct.pack(">h", -1)) if version >= 3 else b""
    timeout = struct.pack(">i", timeout_ms) if version >= 1 else b""
    names = text(name, flexible=flexible) + instance + text("client", flexible=flexible) + text("/h", flexible=flexible)
    return names + timeout + struct.pack(">i", 10_000) + blob * 2 + (b"\x00" if flexible else b"")


def group_value(generation, names, version=3, timeout_ms=300_000):
    flexible = version >= 4
    count = bytes([len(names) + 1]) if flexible else struct.pack(">i", len(names))
    null = b"\x00" if flexible else struct.pack(">h", -1)
    state = struct.pack(">q", 5) if version >= 2 else b""
    head = struct.pack(">h", version) + text("consumer", flexible=flexible) + struct.pack(">i", generation)
    members = b"".join(member(name, timeout_ms, version, flexible=flexible) for name in names)
    return head + null + null + state + count + members + (b"\x00" if flexible else b"")


def batch(*entries, codec=0, offset=0, producer_id=-1, transactional=False, control=False):
    """Encode a batch; entries are (timestamp, key, value)."""
    epoch = 0 if producer_id >= 0 else -1
    builder = MemoryRecordsBuilder(
        magic=2, compression_type=codec, batch_size=1 << 20, producer_id=producer_id, producer_epoch=epoch,
        base_sequence=epoch, transactional=transactional,
    )  # fmt: skip
    for at_ms, key_, value in entries:
        builder.append(at_ms, key_, value)
    builder.close()
    raw = bytearray(builder.buffer())
    struct.pack_into(">q", raw, 0, offset)
    if control:
        struct.pack_into(">h", raw, 21, struct.unpack_from(">h", raw, 21)[0] | 0x30)
    return bytes(raw)


def end_of(producer_id, *, committed, offset):
    marker = (1, struct.pack(">hh", 0, int(committed)), struct.pack(">hi", 0, 0))
    return batch(marker, offset=offset, producer_id=producer_id, transactional=True, control=True)


def read(*pieces, expected=0, groups=(GROUP,)):
    log = CommitLog(groups)
    log.read(b"".join(pieces), expected)
    return log


HASHED = {
    "": 0,
    "hello": 99_162_322,
    "fraud": 97_692_260,
    "antifraud": -2_113_817_534,
    "名前": 688_096,
    "🦉": 1_772_811,
}


@pytest.mark.parametrize(("group", "hashed"), HASHED.items())
def test_the_hash_is_the_one_that_java_told(group, hashed):
    assert partition_of(group, 50) == abs(hashed) % 50
    assert partition_of(group, 2**31) == abs(hashed)


def test_the_lowest_hash_has_no_positive_and_becomes_zero():
    assert partition_of("polygenelubricants", 50) == 0  # -2147483648


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("key_version", [0, 1])
def test_every_layout_of_a_commit_is_read(version, key_version):
    log = read(batch((9, commit_key(version=key_version), commit_value(77, 1_234, version))))
    assert (log.commits, log.malformed) == ({PLACE: [(1_234, 77)]}, 0)


@pytest.mark.parametrize("version", range(5))
def test_every_layout_of_a_membership_is_read(version):
    log = read(batch((9, key(2, GROUP), group_value(41, ["a-1", "b-2"], version))))
    timeout_ms = 300_000 if version >= 1 else None
    assert (log.generations, log.malformed) == ({GROUP: [Generation(9, 41, ("a-1", "b-2"), timeout_ms)]}, 0)


def test_the_same_generation_again_is_no_rebalance():
    entries = [(at_ms, key(2, GROUP), group_value(number, ["a"])) for at_ms, number in ((1, 4), (2, 4), (3, 5))]
    assert [one.number for one in read(batch(*entries)).generations[GROUP]] == [4, 5]


def test_epochs_and_the_longest_poll_interval_of_a_kip_848_group():
    def joined(name, timeout_ms):
        fields = b"\x00\x00" + text("client", flexible=True) + text("/h", flexible=True)
        topics = b"\x02" + text(TOPIC, flexible=True) + b"\x00"
        return (
            1,
            key(5, GROUP, name),
            struct.pack(">h", 0) + fields + topics + struct.pack(">i", timeout_ms) + b"\x00\x00",
        )

    def epoch(at_ms, number):
        return (at_ms, key(3, GROUP), struct.pack(">hi", 0, number) + b"\x00")

    left = (1, key(5, GROUP, "slow"), None)
    log = read(batch(joined("slow", 600_000), joined("quick", 300_000), epoch(10, 2), left, epoch(20, 3)))
    assert log.generations[GROUP] == [Generation(10, 2, None, 600_000), Generation(20, 3, None, 300_000)]


def test_what_is_newer_or_of_others_is_skipped():
    log = read(
        batch(
            (1, commit_key("others"), commit_value(5, 5)),
            (1, commit_key(), struct.pack(">h", 9) + b"from the future"),
            (1, key(2, GROUP), struct.pack(">h", 9) + b"from the future"),
            (1, key(99, GROUP), b"from the future"),
            (1, commit_key(), None),
            (1, None, b"no key"),
            (1, b"", b"short"),
        )
    )
    assert (log.commits, log.generations, log.malformed) == ({}, {GROUP: []}, 0)


@pytest.mark.parametrize(("committed", "seen"), [(True, {PLACE: [(1, 10)]}), (False, {})])
def test_commits_within_a_transaction_count_once_it_is_committed(committed, seen):
    sent = batch((1, commit_key(), commit_value(10, 1)), producer_id=8, transactional=True)
    assert read(sent).commits == {}
    assert read(sent, end_of(9, committed=True, offset=1)).commits == {}
    assert read(sent, end_of(8, committed=committed, offset=1)).commits == seen


@pytest.mark.parametrize("codec", range(5))
def test_every_codec_is_read(codec):
    entries = [(at, commit_key(), commit_value(at, at)) for at in range(200)]
    assert read(batch(*entries, codec=codec)).commits == {PLACE: [(at, at) for at in range(200)]}


def test_a_bomb_is_given_up():
    body = batch(*[(0, commit_key(), commit_value(1, 1, metadata="x" * 30_000)) for _ in range(30)], codec=4)
    (one,) = batches(body)
    huge = one._replace(record_count=2**31 - 1)
    with pytest.raises(IndexError):
        list(records(huge))


def test_a_hole_of_compaction_is_noticed():
    whole = [batch((at, commit_key(), commit_value(at, at)), offset=at) for at in range(6)]
    assert read(*whole).whole_from_ms is None
    assert read(*whole[:2], *whole[4:]).whole_from_ms == 4
    thinned = bytearray(batch((7, commit_key(), commit_value(7, 7)), (8, commit_key(), commit_value(8, 8)), offset=6))
    struct.pack_into(">i", thinned, 23, 5)  # five offsets further, two records
    assert read(*whole, bytes(thinned)).whole_from_ms == 8


def test_what_was_read_before_is_not_read_twice_and_a_cut_batch_waits():
    first, second = (batch((at, commit_key(), commit_value(at, at)), offset=at) for at in (0, 1))
    log = CommitLog([GROUP])
    assert log.read(first + second[:-1], 0) == 1
    assert log.read(first + second, 1) == 2
    assert log.commits == {PLACE: [(0, 0), (1, 1)]}


def test_an_older_format_is_counted_and_left_out():
    old = bytearray(batch((1, commit_key(), commit_value(1, 1))))
    old[16] = 1
    assert read(bytes(old)).malformed == 1


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_read_to_the_end(noise, at, byte):
    good = batch(
        (1, commit_key(), commit_value(10, 1)),
        (2, key(2, GROUP), group_value(3, ["a"], 4)),
        (3, key(5, GROUP, "m"), noise),
        (4, commit_key(), noise),
    )
    spoilt = bytearray(good)
    spoilt[at % len(spoilt)] = byte
    for fetched in (noise, good + noise, bytes(spoilt), bytes(spoilt) + good):
        read(fetched)


def test_the_time_of_the_broker_counts_where_it_is_the_one_that_is_kept():
    raw = bytearray(batch((1_000, key(2, GROUP), group_value(1, ["a"])), (2_000, key(2, GROUP), group_value(2, ["a"]))))
    struct.pack_into(">h", raw, 21, 0x08)
    assert [one.at_ms for one in read(bytes(raw)).generations[GROUP]] == [2_000, 2_000]
