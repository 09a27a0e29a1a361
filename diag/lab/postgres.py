"""A PostgreSQL server of one's own: initdb once per version, then a copy of that for each server.

Uses the versioned binaries themselves; Debian's cluster wrappers keep a registry in /etc.
Source: PostgreSQL manual, "initdb", "pg_hba.conf", "Error Reporting and Logging".
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from diag import places
from diag.errors import DiagError
from diag.lab import folders, launch, process
from diag.lab.servers import MissingServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEMPLATE_EDITION: Final = 1  # raise when what `_initdb` writes changes
_SYSTEM_USER: Final = "postgres"  # who runs the server when this is root: PostgreSQL refuses root
_INITDB_S: Final = 60.0
_READY_S: Final = 30.0
_EXTRA: Final = Path("/usr/local/lib/diag-postgresql")  # not in a home: the server's user must be able to enter it
_STATUS_LINE: Final = 7  # of postmaster.pid, from 0; pg_ctl looks there too

# The superuser needs no password, so that the lab is always reachable; everybody else
# does, so that a wrong password can be tried.
_HBA: Final = """\
local  all          postgres                trust
local  all          all                     scram-sha-256
host   all          postgres  127.0.0.1/32  trust
host   replication  postgres  127.0.0.1/32  trust
host   all          all       127.0.0.1/32  scram-sha-256
"""


def start_postgres(
    folder: Path, *, settings: Mapping[str, str] | None = None, major: int = 0, files: Sequence[str] = ()
) -> PostgresServer:
    """Start a server with its data below `folder`, which is made if need be and is removed by `services.stop`.

    `settings` are parameters of postgresql.conf that prevail over the lab's, `files` are made empty
    in the data folder, `major` is the version wanted (0: the newest of the distribution). As root,
    `folder` must be passable for the user `postgres` (see `folders.private_folder`).
    Raises MissingServer without PostgreSQL, DiagError when it does not start.
    """
    programs = _programs(major)
    version = _version(programs)
    user = _SYSTEM_USER if os.geteuid() == 0 else None
    template = _template(programs, version, user)
    _make_server_folder(folder, user)
    cluster, log = folder / "data", folder / "postgres.log"
    shutil.copytree(template, cluster)
    cluster.chmod(0o700)
    for name in files:
        (cluster / name).touch(0o600)
    _own(cluster, user)
    socket_folder = str(folder) if folders.fits_a_socket(folder / ".s.PGSQL.65535") else ""
    chosen = _settings(programs, socket_folder) | dict(settings or {})
    with (cluster / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = {_quoted(value)}\n" for name, value in chosen.items())

    def start(ports: tuple[int, ...]) -> int:
        return process.spawn(
            [str(programs / "postgres"), "-D", str(cluster), "-c", f"port={ports[0]}"],
            log=log,
            user=user,
            env=_environment(),
            cwd=folder,
            death_signal=signal.SIGQUIT,  # "immediate shutdown": the backends go too, even busy ones
        )

    def is_ready(pid: int, _ports: tuple[int, ...]) -> bool:
        try:
            lines = (cluster / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"

    pid, (port,) = launch.on_free_ports("PostgreSQL", start, is_ready, ports=1, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    return PostgresServer(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        port=port,
        data_folder=str(cluster),
        log=str(log),
        version=version,
        dsn=f"host={launch.HOST} port={port} user=postgres dbname=postgres",
        socket_folder=socket_folder,
    )


def start_standby(folder: Path, *, major: int = 0) -> PostgresServer:
    """Start a primary and a hot standby of it; what is returned is the standby.

    Both begin as copies of one cluster at its last checkpoint, so no base backup is taken.
    Raises as `start_postgres`.
    """
    with contextlib.ExitStack() as undo:
        primary = start_postgres(folder / "primary", major=major)
        undo.callback(process.stop, primary.pid, signal.SIGINT)
        standby = start_postgres(
            folder,
            settings={"primary_conninfo": primary.dsn, "hot_standby": "on", "max_standby_streaming_delay": "-1"},
            major=major,
            files=("standby.signal",),
        )
        undo.pop_all()
    return msgspec.structs.replace(standby, primary_dsn=primary.dsn, primary_pid=primary.pid)


def majors() -> tuple[int, ...]:
    """List the major versions there are on this machine, oldest first."""
    return tuple(sorted(_installed()))


def _programs(major: int) -> Path:
    """Find the folder of the programs of one version, or of the distribution's newest."""
    found = _installed()
    on_path = shutil.which("initdb")
    if not major and on_path:
        found[0] = Path(on_path).resolve().parent
    wanted = major or max((one for one, programs in found.items() if _EXTRA not in programs.parents), default=0)
    if wanted in found:
        return found[wanted]
    msg = f"PostgreSQL's server programs (initdb, postgres) {major or ''} are not installed."
    raise MissingServer(msg, hint="make deps")


def _installed() -> dict[int, Path]:
    """Find the folders of programs: the distribution's, and the other versions that `.ci/deps` fetched."""
    found = {}
    for folder in (_EXTRA, Path("/usr/lib/postgresql")):
        for initdb in folder.glob("*/bin/initdb"):
            version = initdb.parent.parent.name
            if version.isdigit() and os.access(initdb.parent / "postgres", os.X_OK):
                found[int(version)] = initdb.parent
    return found


def _version(programs: Path) -> str:
    shown = subprocess.run(  # noqa: S603  argv, no shell; ends at once
        [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=False, timeout=_READY_S
    ).stdout
    found = re.search(r"\d+(\.\d+)*\S*", shown)
    if found is None:
        msg = f"{programs / 'postgres'} does not say its version."
        raise DiagError(msg)
    return found.group()


def _template(programs: Path, version: str, user: str | None) -> Path:
    """Return a cluster that initdb made, once per version; other processes wait for it."""
    cached = places.cache() / "lab"
    template = cached / f"postgres-{version}-{_TEMPLATE_EDITION}"
    with folders.locked(cached / "postgres.lock"):
        if not template.is_dir():
            # The cache may lie in a home that the server's user cannot enter, so initdb works elsewhere.
            workshop = folders.private_folder()
            try:
                _make_server_folder(workshop / "initdb", user)
                fresh = _initdb(programs, workshop / "initdb", user)
                unfinished = cached / f".{template.name}.unfinished"
                folders.remove(unfinished)
                shutil.copytree(fresh, unfinished)
                unfinished.rename(template)
            finally:
                folders.remove(workshop)
    return template


def _initdb(programs: Path, folder: Path, user: str | None) -> Path:
    cluster = folder / "data"
    options = ["--no-sync", "--username=postgres", "--encoding=UTF8", "--no-locale"]
    auth = ["--auth-local=trust", "--auth-host=scram-sha-256"]
    process.run(
        [str(programs / "initdb"), "-D", str(cluster), *options, *auth],
        log=folder / "initdb.log",
        deadline_s=_INITDB_S,
        user=user,
        env=_environment(),
        cwd=folder,
    )
    (cluster / "pg_hba.conf").write_text(_HBA, "utf-8")
    return cluster


def _make_server_folder(folder: Path, user: str | None) -> None:
    folders.make(folder)
    _own(folder, user)
    if user:
        folders.must_be_passable(folder)


def _own(folder: Path, user: str | None) -> None:
    if user is None:
        return
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        msg = f"PostgreSQL refuses to run as root, and there is no user {user} to run it as."
        raise MissingServer(msg, hint="make deps") from None
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _settings(programs: Path, socket_folder: str) -> dict[str, str]:
    preload = "pg_stat_statements" if _has_module(programs, "pg_stat_statements") else ""
    return {
        "listen_addresses": launch.HOST,
        "unix_socket_directories": socket_folder,
        "fsync": "off",  # the data live for minutes
        "shared_buffers": "16MB",
        "max_prepared_transactions": "10",  # forgotten prepared transactions are a fault to show
        "shared_preload_libraries": preload,
        "dynamic_shared_memory_type": "mmap",  # in the data folder, so a kill leaves none in /dev/shm
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _has_module(programs: Path, name: str) -> bool:
    libraries = (programs.parent / "lib", programs.parent / "lib" / "postgresql")
    return any((folder / f"{name}.so").is_file() for folder in libraries)


def _environment() -> dict[str, str]:
    """No PG… variable of the person's, and messages in English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
