"""Listen, on a second connection, to the keys that the server names by itself.

Missed keys: `keymiss` keyspace events, where notify-keyspace-events already has E and m; they cost
the server about 2 µs a miss and nothing a hit. Changed keys: CLIENT TRACKING in broadcasting mode under the
literal beginning of --match, redirected here; about 1 µs a change under that prefix, and nothing is kept
on the server. Nothing is configured; a listener that cannot keep up is cut off by the server.
Source: redis.io, "Redis keyspace notifications", "CLIENT TRACKING", "client-output-buffer-limit".
"""

from __future__ import annotations

import re
import threading
from collections import Counter

from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import KeyCount, KeyEvents
from diag.sources.redis.connection import Argument, Dialled, Session, exchange, reach, refused
from diag.sources.redis.replies import gap
from diag.text import KeyText

_MOST_EVENTS = 200_000  # then enough is known, and every further one would only cost the server
_MOST_KEYS = 50_000  # distinct names we keep at a time: some megabytes
_TOP = 20
_INVALIDATED = b"__redis__:invalidate"
_ELSEWHERE = "notify-keyspace-events is among the service's own settings; --match PREFIX needs no setting"
_CONFIGURED = ("CONFIG", "GET", "notify-keyspace-events")


class Listener:
    """Counts the keys that are named until it is asked, or until there were too many."""

    def __init__(self, connection: Dialled, *, misses: bool, changes: bool) -> None:
        """Begin to read in a thread of its own; it ends with the connection."""
        self._connection = connection
        self._counts: dict[bool, Counter[bytes]] = {
            changed: Counter() for changed, asked in ((False, misses), (True, changes)) if asked
        }
        self._heard = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="redis events", daemon=True).start()

    def _listen(self) -> None:
        try:
            while self._heard < _MOST_EVENTS:
                (said,) = self._connection.replies(1)
                if isinstance(said, list) and len(said) == 3 and said[0] == b"message":  # noqa: PLR2004  kind, channel, key
                    self._count(said[1], said[2])
        except (RedisError, SourceError, OSError, EOFError, ValueError, AttributeError):
            pass  # the connection has ended, with the look or by the server
        self._heard = _MOST_EVENTS
        self._connection.disconnect()

    def _count(self, channel: bytes, named: object) -> None:
        keys = named if isinstance(named, list) else [named]
        with self._lock:
            counts = self._counts.get(channel == _INVALIDATED)
            if counts is None:
                return
            for key in keys:
                if isinstance(key, bytes) and (key in counts or len(counts) < _MOST_KEYS):
                    counts[key] += 1
            self._heard += len(keys)

    def taken(self, *, changed: bool) -> KeyEvents | None:
        """Return what was named since this was asked before; None when nobody listens to that."""
        with self._lock:
            counts = self._counts.get(changed)
            if counts is None:
                return None
            self._counts[changed] = Counter()
        return KeyEvents(
            total=counts.total(),
            distinct=len(counts),
            top=tuple(KeyCount(key=KeyText.of_bytes(key), count=count) for key, count in counts.most_common(_TOP)),  # type: ignore[arg-type]  # of_bytes makes what it is called on
            complete=self._heard < _MOST_EVENTS,
        )


class Ears(Struct):
    """What is listened to in one look; asked once, kept with the session."""

    configured: str | None = None
    listener: Listener | None = None
    gaps: tuple[Gap, ...] = ()


def listen(session: Session, scope: Scope) -> Ears:
    """Begin to listen at the first call of a look; later calls return the same ears."""
    if session.ears:
        kept: Ears = session.ears[0]
        return kept
    (reply,) = exchange(session.connection, session.probe, [_CONFIGURED])
    gaps: list[Gap] = []
    configured = None
    if isinstance(reply, ResponseError):
        told = refused(session, reply, "+config|get")
        gaps.append(gap("missed", "whether missed keys are named", told.message, told.fix or _ELSEWHERE))
    elif isinstance(reply, list) and len(reply) == 2:  # noqa: PLR2004  a name and its value
        configured = reply[1].decode("ascii", "replace")
    prefix = re.split(r"[*?\[\\]", scope.match)[0]
    ears = Ears(configured=configured)
    session.ears.append(ears)
    misses = bool(configured and "m" in configured and "E" in configured)
    if misses or prefix:
        ears.listener = _opened(session, misses, prefix, gaps)
    ears.gaps = tuple(gaps)
    return ears


def _opened(session: Session, misses: bool, prefix: str, gaps: list[Gap]) -> Listener | None:
    rung = session.probe.rung
    try:
        second = session.closing.enter_context(reach(session.dialled, session.probe))
        channels = [f"__keyevent@{session.database}__:keymiss".encode()] if misses else []
        channels += [_INVALIDATED] if prefix else []
        wanted: list[tuple[Argument, ...]] = [("CLIENT", "ID"), *(("SUBSCRIBE", channel) for channel in channels)]
        identity, *answers = exchange(second.connection, session.probe, wanted)
    except SourceError as error:
        gaps.append(gap("missed", "the keys the server names", error.message, error.fix))
        return None
    finally:
        session.probe.rung = rung
    refusals = [one for one in (identity, *answers) if isinstance(one, ResponseError)]
    if prefix and not refusals:
        tracking = (
            "CLIENT",
            "TRACKING",
            "ON",
            "REDIRECT",
            identity,
            "BCAST",
            "PREFIX",
            prefix.encode("utf-8", "surrogateescape"),
        )
        refusals += [
            one for one in exchange(session.connection, session.probe, [tracking]) if isinstance(one, ResponseError)
        ]
    if refusals:
        granted = (
            f"+subscribe +client|id +client|tracking &__keyevent@{session.database}__:keymiss &__redis__:invalidate"
        )
        told = refused(session, refusals[0], granted)
        gaps.append(gap("missed", "the keys the server names", told.message, told.fix))
        return None
    return Listener(second.connection, misses=misses, changes=bool(prefix))
