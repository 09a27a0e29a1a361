"""What an expert on call would never say or do about a fault, asked of the report on it.

Each question answers with what was wrong; an empty answer is right. Sessions are known by pid only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Report = dict[str, Any]
_SIGNAL = re.compile(r"pg_(?:cancel|terminate)_backend\(pid\) FROM pg_stat_get_activity\((\d+)\)")


def signalled(report: Report) -> set[int]:
    """Return whom the steps would cancel or end."""
    commands = " ".join(str(step.get("command")) for found in report["findings"] for step in found["steps"])
    return {int(pid) for pid in _SIGNAL.findall(commands)}


def words(report: Report) -> str:
    """Return all that the steps say and would run."""
    return " ".join(str(step) for found in report["findings"] for step in found["steps"])


def first(report: Report) -> dict[str, Any]:
    """Return the finding that comes first."""
    found: dict[str, Any] = report["findings"][0]
    return found


def nobody_who_only_queues(report: Report) -> object:
    """End the readers that queue behind somebody else's request: that frees nobody."""
    return signalled(report) & {wait["pid"] for wait in report["facts"]["waits"] if wait["kind"] == "soft"}


def nobody_at_all(report: Report) -> object:
    """End a session, where no session holds the lock."""
    return signalled(report)


def not_the_root(report: Report) -> object:
    """Cancel the autovacuum: it begins again from the start."""
    return signalled(report) & {first(report)["subject"]["pid"]}


def not_the_replay(report: Report) -> object:
    """End the startup process, and the whole server with it."""
    replay = {wait["pid"] for wait in report["facts"]["waits"] if wait["mode"] == "AccessExclusiveLock"}
    return (signalled(report) & replay) or not replay


def no_table(report: Report) -> object:
    """Name a table, where the lock is on a number."""
    return "relation" in first(report)["subject"] or {wait["relation"] for wait in report["facts"]["waits"]} - {
        "advisory"
    }


def no_ddl(report: Report) -> object:
    """Speak of a migration, where rows are waited for."""
    return re.findall(r"migration|ALTER TABLE", words(report))


def no_index_left_behind(report: Report) -> object:
    """Cancel the build without a word on the INVALID index that it leaves."""
    return "INVALID" not in words(report)


def no_certainty(report: Report) -> object:
    """Call it certain that a program waits for itself."""
    return first(report)["basis"] != "hypothesis"


def no_longer_timeout(report: Report) -> object:
    """Raise deadlock_timeout, which only hides it for longer."""
    return "SET deadlock_timeout" in words(report) or "same order" not in words(report)


def no_more_connections(report: Report) -> object:
    """Raise max_connections while everybody waits for one root."""
    return "SET max_connections" in words(report) or "diag pg-locks" not in words(report)


def no_bloat(report: Report) -> object:
    """Accuse a reader without a snapshot of holding VACUUM back."""
    return not any("VACUUM" in said for said in first(report)["ruled_out"])


def one_holder(report: Report) -> object:
    """Accuse the innocent reader beside the one that has the snapshot."""
    accused = [found["subject"] for found in report["findings"] if found["check"] == "pg-long-tx/xmin-horizon"]
    return len(accused) != 1 or not first(report)["ruled_out"]


def no_haste(report: Report) -> object:
    """Drop a slot before anybody has asked whose it is."""
    return first(report)["steps"][0]["risk"] != "read-only"


def no_memory(report: Report) -> object:
    """Buy memory, where an index is lost."""
    return re.findall("shared_buffers|more memory", words(report))


NEVER: dict[str, Callable[[Report], object]] = {
    "pg-locks/lock-queue": nobody_who_only_queues,
    "pg-locks/row-contention": no_ddl,
    "pg-locks/advisory-convoy": no_table,
    "pg-locks/prepared-transaction": nobody_at_all,
    "pg-locks/deadlock-cycle": no_longer_timeout,
    "pg-locks/application-deadlock": no_certainty,
    "pg-locks/standby-conflict": not_the_replay,
    "pg-locks/concurrent-index-wait": no_index_left_behind,
    "pg-locks/autovacuum-wraparound": not_the_root,
    "pg-long-tx/idle-in-transaction": no_bloat,
    "pg-long-tx/xmin-horizon": one_holder,
    "pg-long-tx/inactive-slot": no_haste,
    "pg-long-tx/deadlocks": no_longer_timeout,
    "pg-long-tx/connections-full": no_more_connections,
    "pg-cache-hit/table-misses": no_memory,
}
