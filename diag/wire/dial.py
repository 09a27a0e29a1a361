"""The lower rungs of the ladder, one by one: resolve, connect, TLS.

Drivers fold these into one sentence ("unable to bootstrap") or retry them in silence, so
the sources that can be handed a connected socket get theirs from here.
"""

from __future__ import annotations

import math
import socket
import ssl

from msgspec import Struct

from diag.errors import Rung, SourceError, TooSlow, Unreachable
from diag.text import visible
from diag.wire.probe import Probe


class Tls(Struct, frozen=True, kw_only=True):
    """How to encrypt. Empty `ca_file` means the system's authorities."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True


def dial(host: str, port: int, probe: Probe, tls: Tls | None = None, *, patience_s: float = math.inf) -> socket.socket:
    """Return a connected (and, with `tls`, encrypted) socket under the probe's watchdog.

    `patience_s` bounds this address alone, where others are still to be tried.
    Raises `Unreachable` or `TooSlow`, naming the rung.
    """
    probe.at(Rung.RESOLVE)
    where = visible(f"{host}:{port}")
    addresses = resolve(host, port)
    probe.at(Rung.CONNECT)
    connected = _connect(addresses, where, probe, patience_s)
    if tls is None:
        return connected
    probe.at(Rung.TLS)
    try:
        context = tls_context(tls)
        return context.wrap_socket(connected, server_hostname=host)
    except (OSError, ValueError) as error:
        connected.close()
        raise explain_tls(error, where, probe) from error


def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Return the addresses of `host`, in the resolver's order. Raises `Unreachable`.

    The resolver cannot be interrupted; a caller whose deadline passes leaves it behind.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(
            f"the name {visible(host)!r} does not resolve",
            rung=Rung.RESOLVE,
            fix="check the spelling and this machine's DNS: getent hosts NAME",
        ) from error
    return [(family, address) for family, _, _, _, address in found]


def _connect(
    addresses: list[tuple[socket.AddressFamily, tuple[object, ...]]], where: str, probe: Probe, patience_s: float
) -> socket.socket:
    refusal: OSError | None = None
    for family, address in addresses:
        candidate = socket.socket(family, socket.SOCK_STREAM)
        probe.watch(candidate)
        share_s = min(patience_s, probe.deadline.remaining_s) / len(addresses)
        candidate.settimeout(max(0.001, share_s))
        try:
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            refusal = error
            if probe.deadline.passed:
                raise probe.too_slow() from error
            continue
        candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return candidate
    raise explain_connect(refusal, where) from refusal


def is_loopback(connected: socket.socket) -> bool:
    """Return True when the other end of a connected socket is on this machine."""
    try:
        address = str(connected.getpeername()[0])
    except OSError:  # reset in the meantime: whoever uses it next will say so
        return False
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


def explain_connect(error: OSError | None, where: str) -> Unreachable:
    """Say why a TCP connection could not be made."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"{where} refused the connection",
            rung=Rung.CONNECT,
            fix="check the port, and that the server is running and listens on this address",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{where} does not answer",
            rung=Rung.CONNECT,
            fix="check that the host is up, and the route and firewall between here and it",
        )
    said = (error.strerror if error is not None else "") or "no address to try"
    return Unreachable(
        f"{where} cannot be reached: {visible(said)}",
        rung=Rung.CONNECT,
        fix="check the route and the firewall between here and the server",
    )


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Build a client context. Raises `OSError` (of which `ssl.SSLError` is one) for unusable files."""
    context = ssl.create_default_context(cafile=tls.ca_file or None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file or None)
    return context


def explain_tls(error: Exception, where: str, probe: Probe) -> SourceError:
    """Tell wrong authority, wrong host, expired and "does not speak TLS" apart."""
    if probe.deadline.passed:
        return probe.too_slow()
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            f"{where}: the certificate was not accepted: {visible(error.verify_message)}",
            rung=Rung.TLS,
            fix="name the right authority (ca_file), or dial the name the certificate was made for",
        )
    if isinstance(error, FileNotFoundError):
        return Unreachable(f"a TLS file is missing: {visible(str(error))}", rung=Rung.TLS, fix="correct the path")
    if isinstance(error, TimeoutError):
        return TooSlow(f"{where}: no TLS answer", rung=Rung.TLS, fix="the server may not speak TLS on this port")
    return Unreachable(
        f"{where} does not answer in TLS",
        rung=Rung.TLS,
        fix="use the server's TLS port, or turn TLS off for this target",
    )
