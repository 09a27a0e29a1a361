"""The section "by hand" of a book: its steps as commands for a person without `diag run`.

Made from the steps and never edited, so that prose and commands cannot drift apart. Values
come from shell variables; an unset one stops the command with the step that tells it. SQL
parameters go through psql variables, so a hostile name is quoted and never read as SQL.

Source   POSIX shell, "Parameter Expansion" (${name:?word}); psql manual, "SQL Interpolation"
"""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, Final

from diag import figures
from diag.runbook.condition import Measure, Name
from diag.runbook.grammar import split
from diag.runbook.model import Act, Ask, Check, End, Include, Query, Runbook, Step, Wait
from diag.runbook.parse import BY_HAND_BEGIN, BY_HAND_END
from diag.runbook.reading import KAFKA_READS

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = 80  # the width of a terminal nobody has resized
_PSQL: Final = "psql -X"  # -X: a personal .psqlrc may not change what a command does
_REDIS: Final = 'redis-cli -h "${REDIS_HOST:-127.0.0.1}"'  # the password comes from REDISCLI_AUTH, never from argv
_KAFKA: Final = '--bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS"'
_BACKEND: Final = (
    "select {call}(pid) from pg_stat_get_activity(:'pid'::int)",
    "where backend_start = :'backend_start'::timestamptz",
)
# A TTL is never cut below its half, so a mistyped share cannot delete keys at once.
_SPREAD: Final = """\
at=$(date -u -d {expires_at} +%s) cursor=0
lua='local r = redis.call("SCAN", ARGV[1], "MATCH", ARGV[2], "COUNT", 100)
local now = redis.call("TIME")[1] * 1000; math.randomseed(ARGV[1] % 65536)
for _, k in ipairs(r[2]) do local ttl = redis.call("PTTL", k)
if ttl > 0 and math.abs(now + ttl - ARGV[3] * 1000) <= ARGV[4] * 1000 then
local share = 1 - ARGV[5] + (ARGV[5] + ARGV[6]) * math.random()
redis.call("PEXPIRE", k, math.ceil(ttl * math.max(share, .5))) end end return r[1]'
while cursor=$({redis} EVAL "$lua" 0 "$cursor" \\
  {pattern} "$at" {width} \\
  {earlier} {later}); do # 100 keys a batch, 100 batches a second
case $cursor in 0|""|*[!0-9]*) echo "$cursor"; break;; esac; sleep 0.01; done
"""


def by_hand(book: Runbook) -> str:
    """Return what stands between the two markers: one `sh` fence, ended by a newline."""
    body = [line for step in book.steps for line in _lines(book, step)]
    return "\n".join(["## By hand", "```sh", *body, "```", ""])


def with_by_hand(book: Runbook) -> str:
    """Return the text of the book with the section "by hand" made anew."""
    section = f"{BY_HAND_BEGIN}\n{by_hand(book)}{BY_HAND_END}\n"
    if not book.by_hand_line:
        return f"{book.text.rstrip()}\n\n{section}"
    lines = book.text.split("\n")
    before = lines[: book.by_hand_line - 1]
    after = lines[book.by_hand_line + book.by_hand.count("\n") + 2 :]
    return "\n".join([*before, section.rstrip("\n"), *after])


def _lines(book: Runbook, step: Step) -> Iterator[str]:
    if isinstance(step, End):
        return
    yield from _comment(f"{step.number}. {step.title}{' CHANGES SOMETHING' if isinstance(step, Act) else ''}")
    match step:
        case Check():
            options = [f"--{key} {_shell(book, text)}" for key, text in step.narrow.items()]
            yield from _continued([*step.words, *options])
        case Query():
            yield from _query(book, step)
        case Ask():
            yield from _comment(f"Look: {_prose(step.question)} ({', '.join(step.answers)})")
        case Wait():
            pauses = f"every {figures.duration(step.every_s)}, at most {figures.duration(step.within_s)}"
            yield from _comment(f"Repeat step {step.repeat} {pauses}, until {step.expectation.text}")
        case Act():
            yield from _comment(f"Only if {step.before.text}")
            yield from _act(book, step)
            within = figures.duration(step.verify.within_s)
            yield from _comment(f"Then step {step.verify.repeat} ({within}) until {step.verify.text}")
        case Include():
            yield f"diag runbook show {step.book}"


def _query(book: Runbook, step: Query) -> Iterator[str]:
    match step.language:
        case "sql":
            yield from _psql(book, step.arguments, tuple(step.text.split("\n")))
        case "redis":
            yield from _continued([_REDIS, *(_shell(book, word) for word in step.words)])
        case "kafka":
            tool, *options = KAFKA_READS[step.words[0]]
            names = [_shell(book, word) for word in step.words[1:]]
            yield from _continued([f"{tool} {_KAFKA}", *options, *names])
        case "promql":
            yield f'promtool query instant "$PROMETHEUS_URL" {_shell(book, step.text)}'
        case _:
            yield f"logcli query {_shell(book, step.text)}"


def _act(book: Runbook, step: Act) -> Iterator[str]:
    match step.action:
        case "pg-cancel":
            yield from _psql(book, step.arguments, tuple(line.format(call="pg_cancel_backend") for line in _BACKEND))
        case "pg-terminate":
            yield from _psql(book, step.arguments, tuple(line.format(call="pg_terminate_backend") for line in _BACKEND))
        case "redis-spread-ttl":
            held = {key: _variable(book, asked) for key, asked in step.arguments.items()}
            # Not str.format: the Lua text is not ours to scan for braces twice.
            script = _SPREAD.replace("{redis}", _REDIS)
            for key, text in held.items():
                script = script.replace(f"{{{key}}}", text)
            yield from script.rstrip("\n").split("\n")
        case _:
            yield from _comment(f"Do: {_prose(step.instruction)}")


def _psql(book: Runbook, arguments: dict[str, Name], lines: tuple[str, ...]) -> Iterator[str]:
    words = [_PSQL, *(f"-v {key}={_variable(book, asked)}" for key, asked in arguments.items()), "<<'SQL'"]
    yield from _continued(words)
    yield from lines[:-1]
    yield f"{lines[-1]};"
    yield "SQL"


def _continued(words: list[str]) -> Iterator[str]:
    """Lay the words out on lines of the terminal's width, each but the last ended by a backslash."""
    line = words[0]
    for word in words[1:]:
        if len(line) + len(word) + 3 > _COLUMNS:
            yield f"{line} \\"
            line = f"  {word}"
        else:
            line = f"{line} {word}"
    yield line


def _comment(text: str) -> Iterator[str]:
    flat = " ".join(text.split())
    wrapped = textwrap.wrap(flat, _COLUMNS - 4, break_long_words=False, break_on_hyphens=False)
    for at, line in enumerate(wrapped):
        yield f"# {line}" if not at else f"#   {line}"


def _prose(text: str) -> str:
    return "".join(f"<{part}>" if isinstance(part, Name) else part for part in split(text))


def _shell(book: Runbook, text: str) -> str:
    parts = (_variable(book, part) if isinstance(part, Name) else shlex.quote(part) for part in split(text))
    return "".join(parts)


def _variable(book: Runbook, asked: Name) -> str:
    parameter = next((one for one in book.params if (one.name,) == asked.parts and not asked.finding), None)
    default = parameter.default if parameter else None
    if isinstance(default, Measure):
        return f'"${{{asked.parts[0]}:-{default.value:g}}}"'
    if default is not None and default.isalnum():
        return f'"${{{asked.parts[0]}:-{default}}}"'
    where = "a parameter" if parameter else f"step {origin(book, asked)}"
    head = (asked.finding.rpartition("/")[2].replace("-", "_"),) if asked.finding else ()
    return f'"${{{"_".join(head + asked.parts)}:?{where}}}"'


def origin(book: Runbook, asked: Name, *, before: int = 0) -> int:
    """Number of the first step that makes the name known; 0 when none before step `before` does."""
    for step in book.steps:
        if before and step.number >= before:
            break
        if _tells(step, asked):
            return step.number
    return 0


def _tells(step: Step, asked: Name) -> bool:
    match step:
        case Check():
            if not asked.finding:
                return False
            return asked.finding == step.only or (not step.only and asked.finding.startswith(f"{step.run}/"))
        case Query() | Ask():
            return not asked.finding and bool(step.save) and step.save == asked.parts[0]
        case _:
            return False
