"""One SQLite file with one row per reading, each with its own checksum.

The file may come from a stranger: it is opened read-only and immutable, its list of objects
must be exactly ours, and lengths, decompressed sizes and running time are capped. Sources:
SQLite, "Defense Against The Dark Arts" and "PRAGMA Statements".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from diag.errors import EvidenceError
from diag.text import visible

APPLICATION_ID = 0x44494147  # "DIAG", in SQLite's header
SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE manifest (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    (
        "CREATE TABLE reading (id INTEGER PRIMARY KEY, taken_at TEXT NOT NULL, source TEXT NOT NULL,"
        " type TEXT NOT NULL, codec TEXT NOT NULL, length_bytes INTEGER NOT NULL, checksum BLOB NOT NULL,"
        " body BLOB NOT NULL) STRICT"
    ),
)
_CODEC = "json+zlib"
_COUNT = "readings"  # in the manifest: how many there are, so that a lost one is missed
_ZLIB_LEVEL = 6
_MOST_FILE_BYTES = 512 * 1024 * 1024
_MOST_BODY_BYTES = 64 * 1024 * 1024  # a reading of 100,000 partitions is about 12 MB
_MOST_ROWS = 200_000
_OPEN_S = 20.0
_STEPS_BETWEEN_LOOKS = 10_000  # SQLite virtual-machine steps between two looks at the clock


class Reading(Struct, frozen=True, kw_only=True):
    """One row: what was read from which source, as JSON. `damaged` rows have no body."""

    taken_at: str
    source: str
    type: str
    body: bytes
    damaged: bool = False


class EvidenceWriter:
    """Writes beside the wanted name and renames at the end, so a half-written file never has it."""

    def __init__(self, path: Path, manifest: dict[str, str], *, force: bool = False) -> None:
        """Start a file. Raises `EvidenceError` when it would overwrite one or cannot be made."""
        self.path = path
        self._force = force
        self._temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
        self._count = 0
        try:
            if path.exists() and not force:
                raise _overwrite(path)
            os.close(os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            self._database = sqlite3.connect(self._temporary, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._database.execute("BEGIN")
            for statement in _SCHEMA:
                self._database.execute(statement)
            self._database.executemany("INSERT INTO manifest VALUES (?, ?)", sorted(manifest.items()))
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error

    def add(self, source: str, type_: str, body: bytes) -> None:
        """Add one reading (JSON). Raises `EvidenceError` when the disk refuses."""
        now = datetime.now(UTC).isoformat()
        packed = zlib.compress(body, _ZLIB_LEVEL)
        checksum = _checksum(now, source, type_, packed)
        try:
            self._database.execute(
                "INSERT INTO reading (taken_at, source, type, codec, length_bytes, checksum, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, source, type_, _CODEC, len(body), checksum, packed),
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._count += 1

    def __enter__(self) -> Self:
        """Nothing to open: the file exists from the start."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        """Finish and rename, or remove what was begun when the block failed."""
        if kind is not None:
            self._database.close()
            self._temporary.unlink(missing_ok=True)
            return
        try:
            self._database.execute("INSERT INTO manifest VALUES (?, ?)", (_COUNT, str(self._count)))
            self._database.execute("COMMIT")
            self._database.close()
            if self.path.exists() and not self._force:  # it may have appeared while we were looking
                self._temporary.unlink()
                raise _overwrite(self.path)
            self._temporary.replace(self.path)
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> EvidenceError:
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        said = (error.strerror if isinstance(error, OSError) else "") or str(error)
        return EvidenceError(f"the evidence file {visible(str(self.path))} cannot be written: {visible(said)}")


def _overwrite(path: Path) -> EvidenceError:
    return EvidenceError(f"{visible(str(path))} exists already; nothing was written", hint="--force replaces it")


def _checksum(taken_at: str, source: str, type_: str, packed: bytes) -> bytes:
    """BLAKE2b over the row: SQLite's own check misses most single-bit flips in a body."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in (taken_at.encode(), source.encode(), type_.encode(), packed):
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()


class Evidence:
    """An evidence file opened for reading; a context manager. Raises `EvidenceError`."""

    def __init__(self, path: Path) -> None:
        """Open `path` hardened, and check that it is what it says it is."""
        self.path = path
        self._shown = visible(str(path))
        with self._explained():
            self._look_at(path)
        self._ends = time.monotonic() + _OPEN_S
        with self._explained():
            self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
            self._harden()
            self.manifest = self._verified()

    def _look_at(self, path: Path) -> None:
        if not path.exists():
            message = f"there is no evidence file {self._shown}"
            raise EvidenceError(message)
        if not path.is_file():
            message = f"{self._shown} is not a file"
            raise EvidenceError(message)
        if path.stat().st_size > _MOST_FILE_BYTES:
            message = f"{self._shown} is larger than {_MOST_FILE_BYTES // 2**20} MiB"
            raise EvidenceError(message)
        if path.stat().st_size == 0:
            message = f"{self._shown} is empty"
            raise EvidenceError(message)

    def _harden(self) -> None:
        database = self._database
        database.set_progress_handler(lambda: int(time.monotonic() > self._ends), _STEPS_BETWEEN_LOOKS)
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BODY_BYTES)
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "query_only = ON"):
            database.execute(f"PRAGMA {pragma}")

    def _verified(self) -> dict[str, str]:
        database = self._database
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            message = f"{self._shown} is not an evidence file of diag"
            raise EvidenceError(message)
        if version > SCHEMA_VERSION:
            message = f"{self._shown} was written by a newer diag (schema {version}, this one reads {SCHEMA_VERSION})"
            raise EvidenceError(message, hint="use the newer diag")
        objects = [row[0] for row in database.execute("SELECT sql FROM sqlite_schema ORDER BY name LIMIT 10")]
        if objects != sorted(_SCHEMA):  # a view named like our table could run for ever
            message = f"{self._shown} holds tables or views that diag did not make"
            raise EvidenceError(message)
        (rows,) = database.execute("SELECT count(*) FROM reading").fetchone()
        if rows > _MOST_ROWS:
            message = f"{self._shown} has more than {_MOST_ROWS} readings"
            raise EvidenceError(message)
        return {str(name): str(value) for name, value in database.execute("SELECT name, value FROM manifest LIMIT 100")}

    def readings(self) -> Iterator[Reading]:
        """Yield the readings in the order they were taken; a damaged one is marked and has no body."""
        columns = "taken_at, source, type, codec, length_bytes, checksum, body"
        with self._explained():
            count, last = 0, None
            for number, *row in self._database.execute(f"SELECT id, {columns} FROM reading ORDER BY id"):  # noqa: S608  constant
                if last is not None and number <= last:
                    message = f"{self._shown} is damaged: its readings are out of order"
                    raise EvidenceError(message)
                count, last = count + 1, number
                yield _reading(*row)
            written = self.manifest.get(_COUNT, str(count))  # files made before 0.1.0 do not say
            if written != str(count):
                message = f"{self._shown} is damaged: it holds {count} readings, {visible(written)} were written"
                raise EvidenceError(message)

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                message = f"reading {self._shown} took longer than {_OPEN_S:.0f} s"
                raise EvidenceError(message) from error
            message = f"{self._shown} is not a readable evidence file: {visible(str(error))}"
            raise EvidenceError(message) from error
        except (sqlite3.Error, OSError, ValueError) as error:
            message = f"{self._shown} is not a readable evidence file: {visible(str(error))}"
            raise EvidenceError(message) from error


def _reading(  # noqa: PLR0913  the columns of one row
    taken_at: str, source: str, type_: str, codec: str, length_bytes: int, checksum: bytes, packed: bytes
) -> Reading:
    kinds = [type(value) for value in (taken_at, source, type_, codec, length_bytes, checksum, packed)]
    if kinds != [str, str, str, str, int, bytes, bytes]:  # one flipped bit in a row's header makes text of a blob
        return Reading(taken_at="", source=source if type(source) is str else "", type="", body=b"", damaged=True)
    body = _unpacked(packed, length_bytes) if codec == _CODEC else None
    whole = body is not None and _checksum(taken_at, source, type_, packed) == checksum
    return Reading(
        taken_at=taken_at,
        source=source,
        type=type_,
        body=body if whole and body is not None else b"",
        damaged=not whole,
    )


def _unpacked(packed: bytes, length_bytes: int) -> bytes | None:
    """Decompress at most the stated and allowed length; None when the body is not what it says."""
    if not 0 <= length_bytes <= _MOST_BODY_BYTES:
        return None
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(packed, length_bytes + 1)
    except zlib.error:
        return None
    return body if len(body) == length_bytes else None
