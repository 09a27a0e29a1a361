"""The options of the diagnostic commands, once: names and meanings are public contract."""

from __future__ import annotations

from inspect import Parameter
from typing import Annotated, Any, Final, Literal

import typer

Format = Literal["text", "markdown", "json", "nagios"]
FORMATS: Final = ("text", "markdown", "json", "nagios")


def _option(name: str, type_: Any, default: Any, help_: str, *flags: str, **extra: Any) -> Parameter:
    declared = flags or (f"--{name.replace('_', '-')}",)
    return Parameter(
        name,
        Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[
            type_, typer.Option(*declared, help=help_, show_default=default not in ("", [], False), **extra)
        ],
    )


TARGETS: Final = {
    "kafka": (
        _option("bootstrap_servers", str, "", "Kafka: host:port[,host:port]", metavar="HOST:PORT"),
        _option("kafka_config", str, "", "Kafka: a client.properties file", metavar="FILE"),
    ),
    "postgres": (_option("dsn", str, "", "PostgreSQL: libpq connection string or URL", metavar="DSN"),),
    "redis": (_option("redis_url", str, "", "Redis: redis://[user@]host[:port][/db]", metavar="URL"),),
    "prometheus": (_option("prometheus_url", str, "", "Prometheus: http[s]://host[:port][/prefix]", metavar="URL"),),
}
NARROWING: Final = {
    "group": _option("group", list[str], [], "only these consumer groups (repeatable, globs)", metavar="GLOB"),
    "topic": _option("topic", list[str], [], "only these topics (repeatable, globs)", metavar="GLOB"),
    "history": _option("history", str, "", "rebuild that much of the past, for instance 60m", metavar="SPAN"),
    "past": _option("history", str, "", "ask Prometheus about that much of the past (else 6h)", metavar="SPAN"),
    "table": _option("table", str, "", "only this table", metavar="NAME"),
    "match": _option("match", str, "", "only keys of this pattern (a walk with SCAN MATCH)", metavar="PATTERN"),
}
COMMON: Final = (
    _option("format_", str, "", "text, markdown, json or nagios", "--format", "-f", metavar="FORMAT"),
    _option(
        "output",
        str,
        "",
        "write there, replaced atomically; .md and .json set the format",
        "--output",
        "-o",
        metavar="FILE",
    ),
    _option("from_", str, "", "judge a recorded evidence file instead of live servers", "--from", metavar="FILE"),
    _option("save", str, "", "keep the evidence taken", metavar="FILE"),
    _option("force", bool, False, "let --save replace a file", "--force"),
    _option("context", str, "", "context of the configuration file", metavar="NAME"),
    _option("config", str, "", "configuration file", metavar="FILE"),
    _option("deadline", float, 10.0, "seconds in all, hard; the sampling span is added", min=0.1, max=3600),
    _option("samples", int, 2, "samples for checks about change", min=1, max=1000),
    _option("interval", float, 2.0, "seconds between two samples", min=0.05, max=3600),
    _option("watch", float, 0.0, "look again every so many seconds, until interrupted", min=0, max=86400, metavar="S"),
    _option("only", list[str], [], "only these checks (repeatable)", metavar="SLUG"),
    _option("skip", list[str], [], "all but these checks (repeatable)", metavar="SLUG"),
    _option("limit", list[str], [], "change a limit (repeatable)", metavar="SLUG.name=value"),
    _option("show_literals", bool, False, "do not mask SQL literals", "--show-literals"),
    _option("fail_on", str, "warning", "warning, critical or never: what exits 1 or 2", metavar="SEVERITY"),
    _option("quiet", bool, False, "verdict and findings only", "--quiet", "-q"),
    _option("verbose", bool, False, "also say what was clear", "--verbose", "-v"),
    _option("color", str, "auto", "auto, always or never", metavar="WHEN"),
)


def parameters(kinds: tuple[str, ...], narrowing: tuple[str, ...]) -> list[Parameter]:
    """Return the options of one command, targets first."""
    targets = [option for kind in kinds for option in TARGETS[kind]]
    return [*targets, *(NARROWING[name] for name in narrowing), *COMMON]
