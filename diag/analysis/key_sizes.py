"""What a sample of key sizes says about all keys, and what it cannot have seen.

A family's share of the bytes is a ratio of two means of the same draws; its 95 % interval is
that of the linearised ratio (Cochran 1977, "Sampling Techniques", 2.11 and 6.3). Sizes have heavy tails:
one huge key that was not drawn is outside every such interval. A draw of n with replacement misses
all of m keys among N with a chance of (1 - m/N)^n.
"""

from __future__ import annotations

import math

from msgspec import Struct

from diag.analysis.expiry import share_interval
from diag.snapshots.base import Row
from diag.snapshots.redis import FamilySize, RedisKeys
from diag.text import KeyText

_Z95 = 1.959964  # normal quantile of a two-sided 95 % interval
_MISSED = 0.05  # the chance left to have missed all of them
_A_KEYS_OWN_BYTES = 64  # where dict entry and object header are booked differs by version: at most so much
_BY_FIVE_ELEMENTS = 0.1  # how far five elements may misjudge collections, as a share of all bytes


class Share(Struct, frozen=True, kw_only=True):
    """A share (0-1) and its 95 % interval; both ends are equal to it when every key was seen."""

    ratio: float
    low: float
    high: float


def family_share(keys: RedisKeys, family: FamilySize) -> Share:
    """Return a family's share of all the weighed bytes."""
    total, drawn = sum(one.sum_bytes for one in keys.families), keys.sampled_keys
    ratio = family.sum_bytes / total if total else 0.0
    if keys.exhaustive or drawn < 2 or not total:  # noqa: PLR2004  a variance takes two
        return Share(ratio=ratio, low=ratio, high=ratio)
    squares = sum(one.sum_squares for one in keys.families)
    scatter = (1 - ratio) ** 2 * family.sum_squares + ratio**2 * (squares - family.sum_squares)
    half = _Z95 * math.sqrt(scatter / (drawn - 1) * drawn) / total
    return Share(ratio=ratio, low=max(0.0, ratio - half), high=min(1.0, ratio + half))


def keys_like(found: int, keys: RedisKeys) -> tuple[int, int, int]:
    """Scale a count of sampled keys to all of them: the estimate and its 95 % interval (Wilson)."""
    if keys.exhaustive:
        return found, found, found
    low, high = share_interval(found, keys.sampled_keys)
    least = max(found, round(low * keys.total_keys)) if found else 0
    return round(found / max(1, keys.sampled_keys) * keys.total_keys), least, round(high * keys.total_keys)


def meeting_chance(keys: RedisKeys) -> float:
    """Return the chance (0-1) that one given key was drawn."""
    if keys.exhaustive or keys.total_keys <= 1:
        return 1.0
    return -math.expm1(keys.sampled_keys * math.log1p(-1 / keys.total_keys))


def most_unseen(keys: RedisKeys) -> int:
    """Return how many keys of a kind may exist, at 95 %, although none was drawn."""
    if keys.exhaustive or not keys.sampled_keys:
        return 0
    return math.ceil(-math.expm1(math.log(_MISSED) / keys.sampled_keys) * keys.total_keys)


def unmet_bytes(keys: RedisKeys) -> float:
    """Return the bytes of keys that the server holds and the sample does not account for, at the very least.

    What the server counts as keys and values (used_memory_dataset), less the upper end of what the
    sample adds up to, less what the two may book differently. 0 where every key was drawn, where other
    databases hold keys as well, or where only a pattern was asked for.
    """
    if keys.exhaustive or keys.narrowed or keys.other_keys or not keys.dataset_bytes or not keys.sampled_keys:
        return 0.0
    mean = sum(one.sum_bytes for one in keys.families) / keys.sampled_keys
    squares = sum(one.sum_squares for one in keys.families) / keys.sampled_keys
    error = _Z95 * math.sqrt(max(0.0, squares - mean**2) / keys.sampled_keys)
    most = keys.total_keys * ((mean + error) * (1 + _BY_FIVE_ELEMENTS) + _A_KEYS_OWN_BYTES)
    return max(0.0, keys.dataset_bytes - most)


class BigKeyRow(Row, frozen=True, kw_only=True):
    """One row of `facts.big_keys[]`; `memory_share` is of the server's used memory."""

    key: KeyText
    kind: str
    size_bytes: int
    memory_share: float | None


class FamilyRow(Row, frozen=True, kw_only=True):
    """One row of `facts.key_families[]`: shares are of the bytes of all keys, with their 95 % interval."""

    pattern: KeyText
    keys: int
    mean_bytes: int
    largest_bytes: int
    share: float
    share_low: float
    share_high: float


def memory_share(keys: RedisKeys, size_bytes: float) -> float | None:
    """Return the part of the server's used memory that so many bytes are; None when that is not known."""
    return size_bytes / keys.used_memory_bytes if keys.used_memory_bytes else None


def big_key_rows(keys: RedisKeys) -> tuple[BigKeyRow, ...]:
    """Return the biggest keys of the sample, biggest first."""
    return tuple(
        BigKeyRow(
            target=keys.target.name,
            key=one.key,
            kind=one.kind,
            size_bytes=one.size_bytes,
            memory_share=None if (part := memory_share(keys, one.size_bytes)) is None else round(part, 4),
        )
        for one in keys.biggest
    )


def family_rows(keys: RedisKeys) -> tuple[FamilyRow, ...]:
    """Return every family, the one with most bytes first."""
    shares = [(one, family_share(keys, one)) for one in keys.families]
    return tuple(
        FamilyRow(
            target=keys.target.name,
            pattern=one.pattern,
            keys=keys_like(one.sampled, keys)[0],
            mean_bytes=round(one.sum_bytes / one.sampled) if one.sampled else 0,
            largest_bytes=one.largest_bytes,
            share=round(share.ratio, 4),
            share_low=round(share.low, 4),
            share_high=round(share.high, 4),
        )
        for one, share in shares
    )
