"""The parent of a cluster's nodes: each can be killed, paused and started again while the others run.

Run by path, isolated: ``python -I -S nodes.py FOLDER``. ``FOLDER/nodes.json`` has for each node
its program, log and ports; orders come one line each to the Unix socket ``FOLDER/orders``. The
ports stay reserved while a node is down: who dials them is refused, and nobody else can get them.
Ends with all nodes when its owner ends (see `process.spawn`), on SIGTERM, and when a node
ends that nobody ordered to.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import FrameType

_LOOK_S = 0.1
_CLIENT_S = 5.0  # what a client may take to say its line
_STOPPED_S = 10.0
_LOG_LINES = 3
_LINE_BYTES = 256
_TIED = Path(__file__).resolve().parent / "tied.py"


class Nodes:
    """The nodes of one cluster, as children of this process."""

    def __init__(self, folder: Path) -> None:
        self._plans: dict[str, dict[str, str | list[str]]] = json.loads((folder / "nodes.json").read_text("utf-8"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def ports(self) -> list[tuple[str, int]]:
        """Where the nodes listen."""
        return [("127.0.0.1", int(port)) for plan in self._plans.values() for port in plan["ports"]]

    def start(self, name: str) -> None:
        """Start a node, unless it runs."""
        if name in self._running:
            return
        argv, log = self._plans[name]["argv"], Path(str(self._plans[name]["log"]))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            tie = [str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
            self._running[name] = subprocess.Popen(  # noqa: S603  argv, no shell
                [sys.executable, "-I", "-S", str(_TIED), *tie, *argv],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=log.parent,
            )
        finally:
            os.close(descriptor)

    def start_all(self) -> None:
        """Start every node."""
        for name in self._plans:
            self.start(name)

    def kill(self, name: str) -> None:
        """End a node at once and in no order, as a machine that loses its power."""
        if name in self._plans and (node := self._running.pop(name, None)):
            node.kill()
            node.wait()

    def kill_all(self) -> None:
        """End every node."""
        for node in self._running.values():
            node.kill()
        for node in self._running.values():
            node.wait()
        self._running.clear()

    def pause(self, name: str) -> None:
        """Stop a node where it is."""
        node = self._running[name]
        node.send_signal(signal.SIGSTOP)
        ends = time.monotonic() + _STOPPED_S
        while not _has_stopped(node.pid) and time.monotonic() < ends:
            time.sleep(_LOOK_S / 10)

    def resume(self, name: str) -> None:
        """Let a paused node go on."""
        self._running[name].send_signal(signal.SIGCONT)

    def pids(self) -> dict[str, int]:
        """Return every node's pid; 0 where it is down."""
        return {name: self._running[name].pid if name in self._running else 0 for name in self._plans}

    def ended(self) -> str:
        """Say which node ended although nobody ordered it to; empty when none did."""
        for name, node in self._running.items():
            if node.poll() is not None:
                with Path(str(self._plans[name]["log"])).open("r", encoding="utf-8", errors="replace") as log:
                    told = (line.strip() for line in log if not line.lstrip().startswith("at "))  # but no stack
                    words = " / ".join(deque(filter(None, told), _LOG_LINES))
                return f"node {name} ended with exit code {node.returncode}: {words}"
        return ""


def _has_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "T"
    except OSError:
        return True


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    listener.bind(path)
    os.umask(0o077)
    listener.listen()
    listener.settimeout(_LOOK_S)
    return listener


def _reserve(addresses: list[tuple[str, int]]) -> list[socket.socket]:
    """Bind the ports and do not listen: with SO_REUSEADDR, which Java sets too, a node still can."""
    reserved = []
    for address in addresses:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        reserved.append(holder)
    return reserved


def _obey(nodes: Nodes, client: socket.socket) -> None:
    """Carry out one order, ``WORD [NODE]``, and answer with every node's pid; no answer to what is no order."""
    client.settimeout(_CLIENT_S)
    orders = {"kill": nodes.kill, "start": nodes.start, "pause": nodes.pause, "resume": nodes.resume}
    try:
        with client.makefile("rb") as lines:
            word, _, name = lines.readline(_LINE_BYTES).decode("ascii").strip().partition(" ")
        if word != "status":
            orders[word](name)
        client.sendall(json.dumps(nodes.pids()).encode())
    except (OSError, KeyError, UnicodeDecodeError):
        return


def main(folder: Path) -> None:
    """Start all nodes, then take orders until SIGTERM."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit

    nodes = Nodes(folder)
    try:
        reserved = _reserve(nodes.ports())
    except OSError as error:
        sys.exit(f"{error.strerror}")
    signal.signal(signal.SIGTERM, leave)
    try:
        with _listen(str(folder / "orders")) as listener:
            nodes.start_all()
            while not (ended := nodes.ended()):
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                with client:
                    _obey(nodes, client)
        sys.exit(ended)
    finally:
        nodes.kill_all()
        for holder in reserved:
            holder.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
