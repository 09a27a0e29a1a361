"""Which queries only read: allow-lists for the query steps of a book.

A second lock. The first is below it: the sources of `diag` open read-only transactions and
speak read-only commands. Here the author is told, before anybody is on call.

Source   PostgreSQL manual, "System Administration Functions"; Redis command reference (ACL
         categories); Apache Kafka documentation, "Basic Kafka Operations"
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from diag.runbook.condition import Name
from diag.runbook.grammar import split

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQL_LENGTH_MAX = 2000  # characters: a screen and a half; longer SQL belongs into a source of diag
_SCAN_COUNT_MAX = 500  # keys: SCAN blocks about 1 µs for each, and this server answers others too

SQL_PARAMETER: Final = re.compile(r"(?<!:):'([a-z][a-z0-9_]*)'")
"""A parameter in the spelling of psql, `:'pid'`: psql quotes it, and diag binds it."""

_SQL_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_SQL_CALL: Final = re.compile(r"\b([a-z_][a-z0-9_.]*)\s*\(", re.IGNORECASE)
_SQL_WRITES: Final = re.compile(
    r"\b(insert|update|delete|merge|truncate|create|alter|drop|grant|revoke|copy|call|do|vacuum|analyze|lock|set"
    r"|into|share|notify|listen|refresh|reindex|cluster|execute|prepare)\b",
    re.IGNORECASE,
)
_SQL_SIGNS: Final = {
    ";": "a second statement",
    '"': "a quoted name",
    "$": "a dollar quote",
    "--": "a comment",
    "/*": "a comment",
    "{{": "a placeholder: use :'name' and args",
    "\\": "a backslash",
}
_SQL_CALLS = """
    and as any all exists filter from in not on or over then using values when where interval
    count min max sum avg bool_and bool_or coalesce nullif greatest least round trunc extract age now
    clock_timestamp date_trunc array_agg string_agg unnest cardinality left right length lower upper
    pg_blocking_pids pg_backend_pid pg_is_in_recovery pg_stat_get_activity to_regclass current_setting
    pg_size_pretty
"""
_SQL_FUNCTIONS: Final = frozenset(_SQL_CALLS.split())
_REDIS_COMMANDS = """
    PING INFO DBSIZE TIME ROLE SCAN RANDOMKEY TTL PTTL EXPIRETIME PEXPIRETIME TYPE EXISTS STRLEN
    MEMORY|USAGE MEMORY|STATS OBJECT|FREQ OBJECT|IDLETIME OBJECT|ENCODING SLOWLOG|GET SLOWLOG|LEN
    LATENCY|LATEST LATENCY|HISTOGRAM CLIENT|LIST CLIENT|INFO ACL|WHOAMI CONFIG|GET
"""
_REDIS_READS: Final = frozenset(_REDIS_COMMANDS.split())
_REDIS_SETTINGS: Final = ("maxmemory", "maxmemory-policy", "hz", "timeout", "maxclients", "notify-keyspace-events")

KAFKA_READS: Final[dict[str, tuple[str, ...]]] = {
    "list-groups": ("kafka-consumer-groups.sh", "--list", "--state"),
    "describe-group": ("kafka-consumer-groups.sh", "--describe", "--group"),
    "describe-members": ("kafka-consumer-groups.sh", "--describe", "--members", "--verbose", "--group"),
    "describe-state": ("kafka-consumer-groups.sh", "--describe", "--state", "--group"),
    "list-topics": ("kafka-topics.sh", "--list"),
    "describe-topic": ("kafka-topics.sh", "--describe", "--topic"),
    "describe-topic-settings": ("kafka-configs.sh", "--describe", "--all", "--entity-type", "topics", "--entity-name"),
}
"""What a kafka query can ask, and Kafka's own tool for it; a name follows unless it is a list."""


def sql_problem(text: str, arguments: tuple[str, ...]) -> str:
    """Say why the SQL is not one constant, reading statement; empty when it is."""
    return next(_sql_problems(text, arguments), "")


def _sql_problems(text: str, arguments: tuple[str, ...]) -> Iterator[str]:
    named = tuple(dict.fromkeys(SQL_PARAMETER.findall(text)))
    bare = _SQL_TEXT.sub("''", SQL_PARAMETER.sub("''", text))
    if len(text) > _SQL_LENGTH_MAX:
        yield f"has {len(text)} characters; {_SQL_LENGTH_MAX} are allowed"
    if re.match(r"(select|with|show)\b", bare, re.IGNORECASE) is None:
        yield "has to begin with select, with or show"
    for sign, called in _SQL_SIGNS.items():
        if sign in bare:
            yield f"holds {called}"
    if found := _SQL_WRITES.search(bare):
        yield f"holds `{found[1].lower()}`, which does not only read"
    for call in _SQL_CALL.findall(bare):
        if call.lower() not in _SQL_FUNCTIONS:
            yield f"calls `{call.lower()}`, which is not on the list of reading functions"
    if set(named) != set(arguments):
        yield f"uses the parameters {_listed(named)}, but args has {_listed(arguments)}"


def redis_problem(words: tuple[str, ...]) -> str:
    """Say why the command is not a reading one of the allow-list; empty when it is."""
    first = words[0].upper()
    pair = f"{first}|{words[1].upper()}" if len(words) > 1 else first
    if first not in _REDIS_READS and pair not in _REDIS_READS:
        return f"`{' '.join(words[:2])}` is not on the list of reading commands"
    if pair == "CONFIG|GET" and (len(words) != 3 or words[2] not in _REDIS_SETTINGS):  # noqa: PLR2004  three words
        return f"CONFIG GET reads one of {', '.join(_REDIS_SETTINGS)}: others hold secrets"
    upper = [word.upper() for word in words]
    if first == "SCAN" and "COUNT" in upper[:-1]:
        asked = words[upper.index("COUNT") + 1]
        if not asked.isdecimal() or int(asked) > _SCAN_COUNT_MAX:
            return f"SCAN takes a COUNT of at most {_SCAN_COUNT_MAX}: larger batches make others wait"
    return _part_problem(words)


def kafka_problem(words: tuple[str, ...]) -> str:
    """Say why the words are not a describe or list of the allow-list; empty when they are."""
    if words[0] not in KAFKA_READS:
        return f"`{words[0]}` is not one of {', '.join(KAFKA_READS)}"
    wanted = 1 if words[0].startswith("list-") else 2
    if len(words) != wanted:
        return f"`{words[0]}` takes {wanted - 1} name, not {len(words) - 1}"
    return _part_problem(words)


def expression_problem(text: str) -> str:
    """Say why a PromQL or LogQL text cannot be filled in safely; empty when it can.

    A placeholder stands between double quotes only, where one escaping function covers it.
    """
    quoted = False
    for part in split(text):
        if isinstance(part, Name):
            if not quoted:
                return f"has `{{{{{part}}}}}` outside double quotes"
        else:
            quoted ^= len(re.findall(r'(?<!\\)"', part)) % 2 == 1
    return ""


def _part_problem(words: tuple[str, ...]) -> str:
    for word in words:
        if "{{" in word and len(list(split(word))) != 1:
            return f"`{word}`: a placeholder is a whole word"
    return ""


def _listed(held: tuple[str, ...]) -> str:
    return ", ".join(held) or "none"
