"""A diagnostic command: options in, a diagnosis, a report out."""

from __future__ import annotations

import inspect
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import typer

from diag.cli.front import Diagnostic
from diag.cli.options import parameters

if TYPE_CHECKING:
    from diag.diagnosis import Plan
    from diag.findings import Report
    from diag.redaction import Masks

_FLAGS = {"bootstrap_servers": "kafka", "dsn": "postgres", "redis_url": "redis", "prometheus_url": "prometheus"}


def command(name: str, diagnostic: Diagnostic) -> Any:
    """Build the Typer command of a diagnostic from the table of options."""

    def body(**options: Any) -> int:
        return _run(name, options)

    wanted = parameters(diagnostic.kinds, diagnostic.narrowing)
    body.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]  # functions take one; mypy does not know
    body.__annotations__ = {option.name: option.annotation for option in wanted}
    body.__doc__ = f"Answer: {diagnostic.question}. Reads only."
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name)(body)
    return typer.main.get_command(single)


def _run(name: str, options: dict[str, Any]) -> int:
    """Look once, or again and again with --watch; return the exit code."""
    from diag.cli.output import exit_code, put, render, settled_fail_on, settled_format, wants_colour
    from diag.errors import UsageError

    fail_on = settled_fail_on(options["fail_on"])
    for flag in ("deadline", "interval", "watch"):
        if math.isnan(options[flag]):  # it is in every range
            message = f"--{flag} nan is no number of seconds"
            raise UsageError(message)
    asked = settled_format(options["format_"], options["output"])
    colour = wants_colour(options["color"], options["output"])
    if options["watch"] and (options["save"] or options["from_"]):
        message = "--watch goes with neither --save nor --from"
        raise UsageError(message)
    plan = _plan(name, options)
    while True:
        started = time.monotonic()
        report, masks, interrupted = _diagnosed(plan, options)
        code = exit_code(report, fail_on=fail_on, asked=asked, interrupted=interrupted)
        text = render(report, asked, colour=colour, quiet=options["quiet"], verbose=options["verbose"])
        read = put(text, options["output"], masks)
        if not options["watch"] or interrupted or not read:
            return code
        time.sleep(max(0.0, options["watch"] - (time.monotonic() - started)))


def _plan(name: str, options: dict[str, Any]) -> Plan:
    import os
    from pathlib import Path

    import msgspec

    from diag import config
    from diag.addresses import passwords_in
    from diag.diagnosis import Request, plan
    from diag.snapshots.base import Scope

    flags = {kind: options[flag] for flag, kind in _FLAGS.items() if options.get(flag)}
    if any(passwords_in(value) for value in flags.values()):
        sys.stderr.write("diag: warning: a password on the command line can be seen by others on this machine\n")
    file = Path(options["config"]) if options["config"] else None
    settings = config.settle(flags, os.environ, file=file, context=options["context"])
    context = settings.context
    if options.get("kafka_config"):
        changed = tuple(
            msgspec.structs.replace(target, client_properties=options["kafka_config"]) for target in context.kafka
        )
        context = msgspec.structs.replace(context, kafka=changed)
    return plan(
        Request(
            command=name,
            context=context,
            context_name=settings.context_name,
            unnamed=settings.unnamed,
            scope=Scope(
                groups=tuple(options.get("group", ())),
                topics=tuple(options.get("topic", ())),
                table=options.get("table", ""),
                match=options.get("match", ""),
                history_s=_span_s(options.get("history", ""), _LONGEST.get(name, _DAY)),
            ),
            samples=options["samples"],
            interval_s=options["interval"],
            deadline_s=options["deadline"],
            only=tuple(options["only"]),
            skip=tuple(options["skip"]),
            limits=tuple(options["limit"]),
            show_literals=options["show_literals"],
            again=_again(options),
        )
    )


_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DAY = ("2h; a day at most", 86_400.0)  # of Kafka: the offsets topic is compacted, and what is older is mostly gone
_LONGEST = {"cache-stampede": ("7d; seven days at most", 7 * 86_400.0)}  # 40 000 samples a series at 15 s


def _span_s(written: str, longest: tuple[str, float]) -> float:
    """Read "90s", "60m" or "2h", up to `longest`, given in words too. Raises `UsageError` for anything else."""
    import re

    from diag.errors import UsageError
    from diag.text import visible

    if not written:
        return 0.0
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", written, re.ASCII)
    span_s = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < span_s <= longest[1]:
        message = f"--history {visible(written)!r} is no span of time"
        raise UsageError(message, hint=f"write 90s, 60m or {longest[0]}")
    return span_s


def _again(options: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that lead to the same targets once more; one that holds a password is left out."""
    from diag.addresses import passwords_in

    names = ("context", "config", "kafka_config", *_FLAGS)
    typed = ((name, options.get(name, "")) for name in names)
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in typed if value and not passwords_in(value))


def _diagnosed(plan: Plan, options: dict[str, Any]) -> tuple[Report, Masks, bool]:
    from pathlib import Path

    from diag import __version__
    from diag.diagnosis import diagnose, replay
    from diag.redaction import Masks
    from diag.store.evidence import Evidence, EvidenceWriter

    if options["from_"]:
        with Evidence(Path(options["from_"])) as evidence:
            return replay(plan, evidence), Masks(), False
    if not options["save"]:
        return diagnose(plan, progress=_progress(options))
    manifest = {"diag_version": __version__, "command": plan.request.command, "context": plan.request.context_name}
    with EvidenceWriter(Path(options["save"]), manifest, force=options["force"]) as writer:
        return diagnose(plan, writer=writer, progress=_progress(options))


def _progress(options: dict[str, Any]) -> Any:
    """Return what shows progress: one line on stderr, only when a person is there to see it."""
    if options["quiet"] or not sys.stderr.isatty():
        return lambda _: None

    def show(line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}" if line else "\r\x1b[K")
        sys.stderr.flush()

    return show
