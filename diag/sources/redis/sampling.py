"""Draw keys and ask when they expire: names by SCAN or RANDOMKEY, times by PEXPIRETIME or PTTL.

SCAN's cursor is the bucket number with its bits reversed, so that the cursors in the order of a walk are
evenly spread places of the table: equally spaced places with one random offset give blocks that do not overlap,
and how far a walk came says which share of the table it saw. Buckets are a seeded hash of the names, hence
contiguous ones are a fair sample, except in a cluster, whose servers keep one table for each slot; there only
RANDOMKEY is fair. Each batch asks for the times of the keys before and for the next keys, in one round trip.
On a primary, whatever meets a key that is due deletes it, as any read would.
Source: redis.io, "SCAN", "RANDOMKEY", "PEXPIRETIME"; the comment on dictScan in dict.c.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from msgspec import Struct, field
from redis.exceptions import ResponseError

from diag.sources.redis.connection import Reply, Session, receive, send, shaped
from diag.sources.redis.faults import is_elsewhere
from diag.sources.redis.pace import BATCH_KEYS, Pace, clock_s

_BITS = 64
_BLOCKS = 20
_GONE, _LASTING = -2, -1  # PEXPIRETIME's answers for a key that is not there, and for one that never expires
_LOOK_UP = b"*2\r\n$11\r\nPEXPIRETIME\r\n$%d\r\n%b\r\n"
_LOOK_UP_BEFORE = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"
_FAR_S = 0.005  # a round trip so long that fewer, larger SCANs cost less than they spare
_MOST_COUNT = 500  # blocks the server for about 0.65 ms
_EMPTY_SCANS = 20  # times the batches that a table without empty buckets would need


class Sample(Struct):
    """What was drawn: each key with its time to live in ms (PEXPIRETIME: since 1970), -1 for none.

    `whole` says that every key was met, `seen_ratio` which share of the table was walked (a walk only). Of `met` keys
    every `stride`-th is kept, so that no more than twice `most` are.
    `undrawn` is the refusal of the command that draws names, `refusal` the first one to a look-up, of `refused`.
    """

    expiries: list[tuple[bytes, int]] = field(default_factory=list)
    met: int = 0
    most: int = 0
    stride: int = 1
    whole: bool = False
    seen_ratio: float = 0.0
    undrawn: ResponseError | None = None
    refusal: ResponseError | None = None
    refused: int = 0

    @property
    def hopeless(self) -> bool:
        """True when further batches would be refused as well; some keys alone may be forbidden."""
        forbidden = self.refusal is not None and ("NOPERM" not in str(self.refusal) or not self.expiries)
        return forbidden or self.undrawn is not None


class Walk(Struct):
    """A walk with SCAN from a cursor on: of the share `until` of the table, or, when that is 1, until it comes round.

    `scans` is how many batches it may still have, `seen` what is not to be met again: all names or, unless it
    `remembers`, those of its first step, into which the last step of another walk may reach.
    """

    command: ClassVar[str] = "scan"
    seen: set[bytes] = field(default_factory=set)
    remembers: bool = True
    cursor: int = 0
    until: float = 1.0
    match: bytes = b""
    count: int = BATCH_KEYS
    scans: int = 0
    walked: float = 0.0
    ended: bool = False

    def words(self) -> tuple[bytes, int]:
        """Return one SCAN."""
        if self.ended or self.scans <= 0:
            return b"", 0
        narrowed = (b"MATCH", self.match) if self.match else ()
        return packed(b"SCAN", b"%d" % self.cursor, *narrowed, b"COUNT", b"%d" % self.count), 1

    def drew(self, replies: Sequence[Reply]) -> list[bytes] | ResponseError:
        """Return the names that are new, and keep the cursor."""
        if isinstance(replies[0], ResponseError):
            return replies[0]
        written, found = shaped(replies[0], tuple[bytes, list[bytes]])
        cursor = int(written) if written.isdigit() else 0
        self.scans -= 1
        first = not self.walked
        self.walked += (place_of(cursor) - place_of(self.cursor)) % 1.0
        self.ended = cursor == 0 if self.until == 1.0 else self.walked >= self.until or cursor == self.cursor
        self.cursor = cursor
        names = [name for name in dict.fromkeys(found) if name not in self.seen]
        if self.remembers or first:
            self.seen.update(names)
        return names


class Draws(Struct):
    """Random keys with replacement; `draws` is how many are still to come."""

    command: ClassVar[str] = "randomkey"
    draws: int = 0

    def words(self) -> tuple[bytes, int]:
        """Return a batch of RANDOMKEY."""
        count = min(BATCH_KEYS, self.draws)
        return packed(b"RANDOMKEY") * count, count

    def drew(self, replies: Sequence[Reply]) -> list[bytes] | ResponseError:
        """Return the names; there are none when the database is empty."""
        self.draws -= len(replies)
        refusal = next((one for one in replies if isinstance(one, ResponseError)), None)
        return refusal or [name for name in replies if isinstance(name, bytes)]


Turn: TypeAlias = Walk | Draws
"""One chain of batches that draw names, each of which begins where the one before ended."""


def packed(*words: bytes) -> bytes:
    """Return one command as it goes over the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def look_ups(names: Sequence[bytes], *, modern: bool) -> bytes:
    """Return the commands that ask when keys expire, packed; a full pass spends its time here."""
    form = _LOOK_UP if modern else _LOOK_UP_BEFORE
    return b"".join([form % (len(name), name) for name in names])


def place_of(cursor: int) -> float:
    """Return where in the order of a walk a cursor is, from 0 to 1."""
    return int(f"{cursor % (1 << _BITS):0{_BITS}b}"[::-1], 2) / (1 << _BITS)


def cursor_at(place: float) -> int:
    """Return the cursor at a place from 0 to 1 of the order of a walk."""
    return int(f"{int(place % 1.0 * (1 << _BITS)):0{_BITS}b}"[::-1], 2)


class Server(Struct, frozen=True, kw_only=True):
    """Where keys are drawn, how fast, and which: all, or those of a pattern.

    `names_only`: their times to live are not asked, and stand as -1.
    """

    session: Session
    pace: Pace
    modern: bool
    match: str = ""
    names_only: bool = False

    @property
    def pattern(self) -> bytes:
        """The pattern as it goes over the wire."""
        return self.match.encode("utf-8", "surrogateescape")


def walk(server: Server, size: int, most: int) -> Sample:
    """Walk a whole database of about `size` keys, of which no more than `most` are met."""
    count = _MOST_COUNT if server.pace.bare_s > _FAR_S else BATCH_KEYS
    scans = min(_EMPTY_SCANS * (size // count + 1), most // count)
    turn = Walk(match=server.pattern, count=count, scans=scans)
    sample = drawn(server, [turn])
    sample.whole = turn.ended
    sample.seen_ratio = 1.0 if turn.ended else min(1.0, turn.walked)
    return sample


def every(server: Server, most: int, chains: int) -> Sample:
    """Walk a whole database, however large, in large steps; about `most` of its keys are kept, evenly.

    Several chains, each of its own part of the table, keep the server at work while we read: one in a cluster.
    """
    seen, part = set[bytes](), 1 / chains
    turns = [
        Walk(seen=seen, remembers=False, cursor=cursor_at(part * n), until=part, count=_MOST_COUNT, scans=sys.maxsize)
        for n in range(chains)
    ]
    sample = drawn(server, turns, most=most)
    sample.whole = all(turn.ended for turn in turns)
    sample.seen_ratio = 1.0 if sample.whole else min(1.0, sum(turn.walked for turn in turns))
    return sample


def blocks(server: Server, wanted: int, most: int) -> Sample:
    """Sample blocks at equally spaced places until `wanted` keys are drawn or about `most` were looked through."""
    offset, seen = random.random(), set[bytes]()  # noqa: S311  a sample, no secret
    scans = -(-most // (BATCH_KEYS * _BLOCKS))
    turns = [
        Walk(
            seen=seen,
            cursor=cursor_at(offset + number / _BLOCKS),
            until=1 / _BLOCKS,
            match=server.pattern,
            scans=scans if server.match else _EMPTY_SCANS * scans,
        )
        for number in range(_BLOCKS)
    ]
    sample = drawn(server, turns, enough=wanted)
    sample.whole = all(turn.ended for turn in turns) and len(sample.expiries) < wanted
    sample.seen_ratio = min(1.0, sum(turn.walked for turn in turns))
    return sample


def draws(server: Server, wanted: int) -> Sample:
    """Draw `wanted` keys with RANDOMKEY."""
    chains = server.pace.together
    turns = [Draws(draws=len(range(number, wanted, chains))) for number in range(chains)]
    return drawn(server, turns, enough=wanted)


def drawn(server: Server, turns: Sequence[Turn], enough: int | None = None, most: int = 0) -> Sample:
    """Go round the chains until all have ended, `enough` keys were looked up, or the pace says stop.

    Each batch looks up the names that the one before drew, which the server's processor still has at hand.
    """
    session, pace, sample, waiting = server.session, server.pace, Sample(most=most), deque(turns)
    names: deque[list[bytes]] = deque()
    while (waiting or names) and not sample.hopeless and (enough is None or len(sample.expiries) < enough):
        met = len(sample.expiries) + sum(map(len, names))
        if pace.stopped or (enough is not None and met >= enough):
            waiting.clear()
        under_way = [
            _sent(server, names.popleft() if names else [], waiting.popleft() if waiting else None)
            for _ in range(min(pace.together, max(len(waiting), len(names))))
        ]
        for batch in under_way:
            replies = receive(session.connection, session.probe, len(batch.names) + batch.count)
            pace.took(clock_s() - batch.clock_s)
            session.own.called("pexpiretime" if server.modern else "pttl", replies[: len(batch.names)])
            _keep(session, sample, batch.names, replies[: len(batch.names)])
            if batch.turn is not None and batch.count:
                session.own.called(batch.turn.command, replies[len(batch.names) :])
                found = batch.turn.drew(replies[len(batch.names) :])
                waiting.append(batch.turn)
                if isinstance(found, ResponseError):
                    sample.undrawn = found
                elif server.names_only:
                    batch.names = found
                    sample.expiries += [(name, _LASTING) for name in found]
                elif found:
                    names.append(found)
            pace.rest(batch.sent_at, len(batch.names))
    if enough is not None:
        del sample.expiries[enough:]
    return sample


class Batch(Struct):
    """What is under way: look-ups of `names`, then `count` commands of a chain."""

    names: list[bytes]
    turn: Turn | None
    count: int
    sent_at: float
    clock_s: float


def _sent(server: Server, names: list[bytes], turn: Turn | None) -> Batch:
    """Send one batch, and leave the server its rest when others are sent before the replies are read."""
    session = server.session
    words, count = turn.words() if turn else (b"", 0)
    batch = Batch(names=names, turn=turn, count=count, sent_at=time.monotonic(), clock_s=clock_s())
    if names or count:
        send(session.connection, session.probe, look_ups(names, modern=server.modern) + words)
        if server.pace.together > 1:
            server.pace.rest(batch.sent_at, len(names))
    return batch


def _keep(session: Session, sample: Sample, names: list[bytes], replies: list[Reply]) -> None:
    """Keep what was told of each key, and count what the server counts as a look-up."""
    if any(type(reply) is not int for reply in replies):
        refusals = [reply for reply in replies if isinstance(reply, ResponseError) and not is_elsewhere(reply)]
        if refusals:
            sample.refusal = sample.refusal or refusals[0]
            sample.refused += len(refusals)
        pairs = zip(names, replies, strict=True)
        told = [(name, reply) for name, reply in pairs if not isinstance(reply, ResponseError)]
        names, replies = [name for name, _ in told], shaped([reply for _, reply in told], list[int])
    gone = replies.count(_GONE)
    session.own.misses += gone
    session.own.hits += len(replies) - gone
    found = [pair for pair in zip(names, replies, strict=True) if pair[1] != _GONE]
    sample.expiries += found if sample.stride == 1 else found[-sample.met % sample.stride :: sample.stride]
    sample.met += len(found)
    if sample.most and len(sample.expiries) > 2 * sample.most:
        sample.expiries, sample.stride = sample.expiries[::2], 2 * sample.stride
