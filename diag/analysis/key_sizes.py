"""What a sample of key sizes says about all keys, and what it cannot have seen.

Sizes have heavy tails. A key of which there can be only one (its family is its whole name) counts as
itself; the others are scaled to all keys. A family's share of the bytes is then a ratio with a 95 % interval
from its linearised form (Cochran 1977, "Sampling Techniques", 2.11 and 6.3). One huge key that was not
drawn is outside every such interval: a draw of n with replacement misses all of m keys among N with
a chance of (1 - m/N)^n.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct

from diag.analysis.expiry import share_interval
from diag.snapshots.base import Row
from diag.snapshots.redis import FamilySize, RedisKeys
from diag.text import KeyText

_Z95 = 1.959964  # normal quantile of a two-sided 95 % interval
_MISSED = 0.05  # the chance left to have missed all of them
_A_KEYS_OWN_BYTES = 64  # where dict entry and object header are booked differs by version: at most so much
_PLACE = re.compile(r"\{(?:n|s|hash|uuid)\}")
_BY_FIVE_ELEMENTS = 0.1  # how far five elements may misjudge collections, as a share of all bytes


class Share(Struct, frozen=True, kw_only=True):
    """A share (0-1) and its 95 % interval; both ends are equal to it when every key was seen."""

    ratio: float
    low: float
    high: float


class Weights(Struct, frozen=True, kw_only=True):
    """A sample's sums: `single_bytes` of the keys that stand for themselves, the rest of the draws for `rest_keys`."""

    single_bytes: float
    rest_keys: int
    drawn: int
    sum_bytes: float
    sum_squares: float

    @property
    def scaled_by(self) -> float:
        """How many keys each draw of the rest stands for."""
        return self.rest_keys / self.drawn if self.drawn else 0.0

    @property
    def all_bytes(self) -> float:
        """The bytes of all keys."""
        return self.single_bytes + self.sum_bytes * self.scaled_by


def is_single(family: FamilySize) -> bool:
    """Return whether a family is one key by its whole name."""
    return _PLACE.search(family.pattern.raw) is None


def weights(keys: RedisKeys) -> Weights:
    """Sum up a sample."""
    singles = [one for one in keys.families if is_single(one)]
    rest = [one for one in keys.families if not is_single(one)]
    return Weights(
        single_bytes=sum(one.sum_bytes / max(1, one.sampled) for one in singles),
        rest_keys=max(0, keys.total_keys - len(singles)),
        drawn=sum(one.sampled for one in rest),
        sum_bytes=sum(one.sum_bytes for one in rest),
        sum_squares=sum(one.sum_squares for one in rest),
    )


def family_share(keys: RedisKeys, family: FamilySize) -> Share:
    """Return a family's share of the bytes of all keys."""
    of_all = weights(keys)
    total, single = of_all.all_bytes, is_single(family)
    mine = family.sum_bytes / max(1, family.sampled) if single else family.sum_bytes * of_all.scaled_by
    ratio = min(1.0, mine / total) if total else 0.0
    if keys.exhaustive or of_all.drawn < 2 or not total:  # noqa: PLR2004  a variance takes two
        return Share(ratio=ratio, low=ratio, high=ratio)
    mine_sum, mine_squares = (0.0, 0.0) if single else (float(family.sum_bytes), family.sum_squares)
    squares = (1 - ratio) ** 2 * mine_squares + ratio**2 * max(0.0, of_all.sum_squares - mine_squares)
    scatter = max(0.0, squares - (mine_sum - ratio * of_all.sum_bytes) ** 2 / of_all.drawn)
    half = _Z95 * of_all.scaled_by * math.sqrt(scatter * of_all.drawn / (of_all.drawn - 1)) / total
    return Share(ratio=ratio, low=max(0.0, ratio - half), high=min(1.0, ratio + half))


def keys_like(found: int, keys: RedisKeys) -> tuple[int, int]:
    """Scale a count of sampled keys to all of them: the estimate, and its upper end (95 %, Wilson)."""
    if keys.exhaustive:
        return found, found
    _, high = share_interval(found, keys.sampled_keys)
    return round(found / max(1, keys.sampled_keys) * keys.total_keys), round(high * keys.total_keys)


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
    of_all = weights(keys)
    drawn = max(1, of_all.drawn)
    mean = of_all.sum_bytes / drawn
    error = _Z95 * math.sqrt(max(0.0, of_all.sum_squares / drawn - mean**2) / drawn)
    each = (mean + error) * (1 + _BY_FIVE_ELEMENTS) + _A_KEYS_OWN_BYTES
    return max(0.0, keys.dataset_bytes - of_all.single_bytes * (1 + _BY_FIVE_ELEMENTS) - of_all.rest_keys * each)


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
    least_share: float
    most_share: float


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
    """Return every family, the one with the largest share first."""
    shares = [(one, family_share(keys, one)) for one in keys.families]
    scaled_by = weights(keys).scaled_by
    return tuple(
        FamilyRow(
            target=keys.target.name,
            pattern=one.pattern,
            keys=1 if is_single(one) else round(one.sampled * scaled_by),
            mean_bytes=round(one.sum_bytes / one.sampled) if one.sampled else 0,
            largest_bytes=one.largest_bytes,
            share=round(share.ratio, 4),
            least_share=round(share.low, 4),
            most_share=round(share.high, 4),
        )
        for one, share in sorted(shares, key=lambda one: (-one[1].ratio, one[0].pattern.raw))
    )
