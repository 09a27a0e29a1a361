"""The front page: which commands exist, and what each one answers. Plain data, no imports."""

from __future__ import annotations

from typing import Final, NamedTuple


class Diagnostic(NamedTuple):
    """A diagnostic command: what it answers, which targets it asks, how it can be narrowed."""

    question: str
    kinds: tuple[str, ...]
    narrowing: tuple[str, ...]


DIAGNOSTICS: Final = {
    "kafka-lag": Diagnostic(
        "which consumer groups are behind, by records and seconds, and why", ("kafka",), ("group", "topic", "history")
    ),
    "pg-locks": Diagnostic("who blocks whom, who heads the queue, what frees whom", ("postgres",), ("table",)),
    "pg-long-tx": Diagnostic("which transactions stay open, and what holds vacuum back", ("postgres",), ()),
    "pg-cache-hit": Diagnostic("does the buffer cache miss, where, and does it matter", ("postgres",), ()),
    "cache-stampede": Diagnostic(
        "which keys will expire together, before they do", ("redis", "prometheus", "postgres"), ("match", "past")
    ),
    "cache-hit": Diagnostic("do reads find their keys, and what has memory to do with it", ("redis",), ()),
    "cache-hot-keys": Diagnostic("which keys are hot, and which are too big, by sample", ("redis",), ("match",)),
}

OTHERS: Final = {
    "demo": "a recorded incident, diagnosed with no server at all",
    "runbook": "list, show and lint the runbooks of the findings",
    "checks": "list the checks, and explain one with its queries and limits",
    "config": "show where each setting comes from; print a sample",
    "lab": "real local servers with real faults, for practice",
}


def front_page() -> str:
    """Return the root help."""
    wide = max(map(len, (*DIAGNOSTICS, *OTHERS)))
    asked = [f"  {name:<{wide}}  {diagnostic.question}" for name, diagnostic in DIAGNOSTICS.items()]
    others = [f"  {name:<{wide}}  {answer}" for name, answer in OTHERS.items()]
    return "\n".join(
        (
            "Usage: diag COMMAND [OPTIONS]",
            "",
            "Says what is wrong with Kafka, PostgreSQL and Redis, with evidence. Changes nothing.",
            "",
            "What is wrong?",
            *asked,
            "",
            "And then",
            *others,
            "",
            "diag COMMAND --help shows the options; diag --version the version.",
            "Exit codes: 0 clear, 1 warning, 2 critical, 3 unknown, 64 usage, 65 bad evidence,",
            "69 no target answered, 70 bug, 130 interrupted.",
            "",
        )
    )
