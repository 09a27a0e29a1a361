"""A Prometheus server of one's own: what it is to know of the past is put into it.

Source: Prometheus documentation, "Configuration", "HTTP API" (TSDB Admin APIs), "Storage" (backfilling).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from diag.lab import folders, launch, process
from diag.lab.openmetrics import Sample, exposition
from diag.lab.servers import MissingServer, PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_READY_S: Final = 30.0
_IMPORT_S: Final = 120.0
_ANSWER_S: Final = 20.0
_IS_READY: Final = "Server is ready to receive web requests"
_FLAGS: Final = ("--storage.tsdb.retention.time=30y", "--web.enable-admin-api")  # a past of any age stays
_NUDGE: Final = "diag_lab_nudge"  # a series to remove: the server looks for new blocks only when it has removed one


def start_prometheus(  # noqa: PLR0913  a server has that many sides
    folder: Path,
    *,
    history: Iterable[Sample] = (),
    scrapes: Sequence[str] = (),
    web: str = "",
    prefix: str = "",
    options: Sequence[str] = (),
) -> PrometheusServer:
    """Start a server with its files below `folder`, which is made if need be and is removed by `services.stop`.

    `history` is what it has recorded; `scrapes` are the host:port it goes on to scrape every second.
    `web` is its web configuration (TLS, users), `prefix` the path it answers under, such as `/metrics-store`.
    Raises MissingServer without Prometheus, DiagError when it does not start.
    """
    program = shutil.which("prometheus")
    if program is None or shutil.which("promtool") is None:
        msg = "Prometheus (with promtool) is not installed."
        raise MissingServer(msg, hint="make deps")
    workplace = folders.make(folders.make(folder) / "data")
    log = folder / "prometheus.log"
    _import([*history, _nudge("")], workplace, folder)
    folders.write_whole(folder / "prometheus.yml", _settings(scrapes).encode())
    folders.write_whole(folder / "web.yml", web.encode())

    def start(ports: tuple[int, ...]) -> int:
        flags = [
            f"--config.file={folder / 'prometheus.yml'}",
            f"--web.config.file={folder / 'web.yml'}",
            f"--web.listen-address={launch.HOST}:{ports[0]}",
            f"--web.route-prefix={prefix or '/'}",
            f"--storage.tsdb.path={workplace}",
        ]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
        return process.spawn([program, *flags, *_FLAGS, *options], log=log, env=environment, cwd=folder)

    def is_ready(_pid: int, _ports: tuple[int, ...]) -> bool:
        return _IS_READY in log.read_text("utf-8", "replace")  # its own log: no other server can be taken for it

    pid, (port,) = launch.on_free_ports("Prometheus", start, is_ready, ports=1, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    return PrometheusServer(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        port=port,
        data_folder=str(workplace),
        log=str(log),
        version=_version(program),
        url=f"{'https' if 'tls_server_config' in web else 'http'}://{launch.HOST}:{port}{prefix}",
    )


@contextlib.contextmanager
def recorded(server: PrometheusServer, samples: Iterable[Sample]) -> Iterator[None]:
    """Let a running server have recorded these samples, of any time up to now, and forget them afterwards.

    Every series gets a label `lab` of its own, so that nothing else on a shared server is touched.
    """
    mark = uuid.uuid4().hex[:8]
    marked = [sample._replace(labels={**sample.labels, "lab": mark}) for sample in samples]
    with tempfile.TemporaryDirectory() as workplace:
        _import([*marked, _nudge(mark)], Path(server.data_folder), Path(workplace))
    _forget(server, f'{{__name__="{_NUDGE}"}}')
    try:
        yield
    finally:
        _forget(server, f'{{lab="{mark}",__name__!="{_NUDGE}"}}')


def _import(samples: Iterable[Sample], data: Path, workplace: Path) -> None:
    tool = shutil.which("promtool") or "promtool"
    text = workplace / "samples.txt"
    text.write_text(exposition(samples), "utf-8")
    words = [tool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
    process.run(words, log=workplace / "promtool.log", deadline_s=_IMPORT_S)


def _nudge(mark: str) -> Sample:
    return Sample(_NUDGE, {"lab": mark}, round(time.time()) - 60.0, 1.0)


def _forget(server: PrometheusServer, selector: str) -> None:
    """Remove series; a server that cleans up after that also looks which blocks of samples are new."""
    query = urllib.parse.urlencode({"match[]": selector})
    for asked in (f"delete_series?{query}", "clean_tombstones"):
        url = f"{server.url}/api/v1/admin/tsdb/{asked}"
        request = urllib.request.Request(url, b"", method="POST")  # noqa: S310  our own server on loopback
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_ANSWER_S):
            pass


def _settings(scrapes: Sequence[str]) -> str:
    lines = ["global:", "  scrape_interval: 1s"]
    if scrapes:
        lines += ["scrape_configs:", "  - job_name: lab", "    static_configs:", f"      - targets: {[*scrapes]}"]
    return "\n".join((*lines, ""))


def _version(program: str) -> str:
    shown = subprocess.run(  # noqa: S603  argv, no shell; ends at once
        [program, "--version"], capture_output=True, text=True, check=False, timeout=_READY_S
    )
    found = re.search(r"version (\d+(?:\.\d+)*)", shown.stdout + shown.stderr)
    return found.group(1) if found else "0"
