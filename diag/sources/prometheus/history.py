"""Take `CacheHistory`: hits, misses and the database's queries, as they were scraped.

The names are those of redis_exporter and postgres_exporter; which of them there are, the server says.
A context may name its own instead.
Source: redis_exporter and postgres_exporter, their lists of metrics; "Metric and label naming".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct, field

from diag.errors import Rung, Unreadable
from diag.figures import duration
from diag.snapshots.base import Gap, Scope
from diag.snapshots.prometheus import CacheHistory, CounterSeries
from diag.sources.prometheus.connection import Session, known_series
from diag.sources.prometheus.http import TooMuch
from diag.sources.prometheus.promql import selector
from diag.sources.prometheus.ranges import Series, read
from diag.sources.prometheus.sums import summed
from diag.text import ServerText

DEFAULT_SPAN_S = 6 * 3600.0  # six storms of an hourly cache: the fewest a period can be told from
_MOST_SERIES = 200  # of one counter; pg_stat_statements may have one for each statement
_CANDIDATES: dict[str, tuple[tuple[str, ...], ...]] = {
    "hits": (("redis_keyspace_hits_total",),),
    "misses": (("redis_keyspace_misses_total",),),
    "queries": (
        ("pg_stat_statements_calls_total",),
        ("pg_stat_statements_calls",),
        ("pg_stat_database_xact_commit_total", "pg_stat_database_xact_rollback_total"),
        ("pg_stat_database_xact_commit", "pg_stat_database_xact_rollback"),
    ),
}
_WORDS = {"hits": "cache hits", "misses": "cache misses", "queries": "the database's queries"}


class _Reading(Struct):
    """The asked span, and what was found on the way; `warned` is what makes the list of series uncertain."""

    span_s: int
    start_s: int
    end_s: int
    warned: tuple[str, ...] = ()
    gaps: list[Gap] = field(default_factory=list)


def cache_history(session: Session, scope: Scope) -> CacheHistory:
    """Read the counters of the last `scope.history_s` seconds. Raises a `SourceError` when the server breaks off."""
    started = time.monotonic()
    span_s, end_s = round(scope.history_s or DEFAULT_SPAN_S), int(session.now_s)
    reading = _Reading(span_s=span_s, start_s=end_s - span_s, end_s=end_s)
    defaults = [name for fact in _CANDIDATES if not _named(session, fact) for name in _usual(fact)]
    known = known_series(session, defaults, reading.start_s, end_s) if defaults else []
    reading.warned = tuple(session.http.warnings)
    found = {fact: _counter(session, fact, known, reading) for fact in _CANDIDATES}
    return CacheHistory(
        target=session.target,
        observed_at=datetime.fromtimestamp(session.now_s, UTC),
        took_s=time.monotonic() - started,
        span_s=float(span_s),
        gaps=tuple(reading.gaps),
        warnings=tuple(ServerText(said) for said in dict.fromkeys([*session.http.warnings, *session.http.infos])),
        **found,
    )


def _usual(fact: str) -> list[str]:
    return [name for names in _CANDIDATES[fact] for name in names]


def _named(session: Session, fact: str) -> str:
    named: str = getattr(session.dialled.series, fact)
    return named


def _counter(session: Session, fact: str, known: Sequence[dict[str, str]], reading: _Reading) -> CounterSeries | None:
    """Read one counter from the first of its candidates that has samples; what went wrong becomes a gap."""
    before = len(session.http.warnings)
    named = _named(session, fact)
    try:
        if named:
            listed = known_series(session, [named], reading.start_s, reading.end_s)
            found = _read(session, named, (named,), listed, reading)
        else:
            found = _first(session, fact, known, reading)
    except Unreadable as error:
        reading.gaps.append(_gap(fact, error.message, error.fix, error.rung))
        return None
    for warning in dict.fromkeys([*reading.warned, *session.http.warnings[before:]]):
        reading.gaps.append(_gap(fact, f"Prometheus warns: {warning}", "see its stores and its log", what="all of "))
    if found is None:
        reading.gaps.append(_not_found(fact, named, reading))
    return found


def _first(session: Session, fact: str, known: Sequence[dict[str, str]], reading: _Reading) -> CounterSeries | None:
    too_many: TooMuch | None = None
    for metrics in _CANDIDATES[fact]:
        listed = [labels for labels in known if labels.get("__name__") in metrics]
        if not listed:
            continue
        try:
            found = _read(session, " + ".join(metrics), tuple(map(selector, metrics)), listed, reading)
        except TooMuch as error:
            too_many = too_many or error
            continue
        if found is not None:
            reading.gaps += _added_up(fact, metrics[0], listed)
            return found
    if too_many is not None:
        raise too_many
    return None


def _read(
    session: Session, metric: str, selectors: Sequence[str], listed: Sequence[dict[str, str]], reading: _Reading
) -> CounterSeries | None:
    if len(listed) > _MOST_SERIES:
        message = f"{len(listed)} series, {_MOST_SERIES} at most"
        raise TooMuch(message, rung=Rung.QUERY, fix="name fewer, for instance one instance, as series in the context")
    series: list[Series] = []
    if listed:
        series = [one for asked in selectors for one in read(session, asked, reading.start_s, reading.end_s)]
    if not series:
        return None
    at_s, totals = summed(series)
    return CounterSeries(metric=ServerText(metric), at_s=at_s, totals=totals)


def _added_up(fact: str, metric: str, listed: Sequence[dict[str, str]]) -> Iterator[Gap]:
    """Say that several servers were taken for one, unless the context asked for just that."""
    instances = sorted({labels.get("instance", "") for labels in listed})
    if len(instances) > 1:
        one = selector(metric, {"instance": instances[0]})
        why = f"{metric} has series of {len(instances)} instances, which were added up"
        yield Gap(
            source="prometheus",
            fact="instances",
            what=ServerText(f"{_WORDS[fact]} of one server alone"),
            why=ServerText(why),
            fix=ServerText(_setting(fact, one)),
        )


def _not_found(fact: str, named: str, reading: _Reading) -> Gap:
    names = named or ", ".join(_usual(fact))
    why = f"no sample of the last {duration(float(reading.span_s))} of {names}"
    return _gap(fact, why, _setting(fact, "NAME_OF_THE_COUNTER"))


def _setting(fact: str, selected: str) -> str:
    """Return the line of the context that names a series, as TOML takes it."""
    return f"under [[contexts.NAME.prometheus]]: series.{fact} = '{selected}'"


def _gap(fact: str, why: str, fix: str, rung: Rung | None = None, *, what: str = "") -> Gap:
    return Gap(
        source="prometheus",
        fact=fact,
        what=ServerText(what + _WORDS[fact]),
        why=ServerText(why),
        fix=ServerText(fix),
        rung=rung,
    )
