"""One connection to one broker: kafka-python's message classes over a socket of our own.

Requests go out together and answers come back in order, so a round trip is one wave over
all brokers. What breaks on one broker is that broker's error and nobody else's.
Source: Kafka protocol guide, "Network", "ApiVersions", KIP-35, KIP-43.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kafka.errors import KafkaError, for_code
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest
from msgspec import Struct

from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable, Unreadable
from diag.sources.kafka.security import Security
from diag.text import visible
from diag.wire.dial import dial, is_loopback
from diag.wire.greeting import looks_like
from diag.wire.probe import Probe

logging.getLogger("kafka").addHandler(logging.NullHandler())  # else its errors go to stderr by the last resort
logging.getLogger("kafka").propagate = False

_MOST_ANSWER_BYTES = 64 * 1024 * 1024  # 100,000 committed offsets are about 3 MB
_HANDSHAKE_S = 3.0  # a listener that says nothing for so long is another protocol, or TLS
_READ_BYTES = 256 * 1024
_NEWEST_KNOWN = "4.3"  # run against in the tests
Message: TypeAlias = Any


class Packed(Struct, frozen=True):
    """A request with a large answer, whose body goes to `read`: what that returns is the answer.

    A large request goes as what `pack` makes of its encoded frame.
    """

    request: Message
    read: Callable[[bytes], Any]
    pack: Callable[[bytes], bytes] | None = None

    @property
    def name(self) -> str:
        """What the protocol calls the request."""
        return str(self.request.name)


class _Expected:
    """Stands for the header of such a request where the parser looks up how to decode the answer."""

    def __init__(self, header: Message, read: Callable[[bytes], Any]) -> None:
        self.correlation_id = header.correlation_id
        self.parse_header = header.get_response_class().parse_header
        self._read = read

    def get_response_class(self) -> _Expected:
        return self

    def decode(self, body: Any) -> Any:
        return self._read(body.read())


class Broker:
    """An authenticated connection. `versions` knows which requests the broker understands."""

    def __init__(
        self, host: str, port: int, probe: Probe, security: Security, *, patience_s: float = _HANDSHAKE_S
    ) -> None:
        """Dial, say which versions we speak, authenticate. Raises a `SourceError` that names the rung.

        `patience_s` bounds the way to this broker alone, so that a dead one leaves time for the others.
        """
        self._patience_s = patience_s
        self.where = visible(f"{host}:{port}")
        self.probe = probe
        self.socket = dial(host, port, probe, security.tls, patience_s=patience_s)
        self.unanswered = 0
        self._heard = 0  # answers
        self._logs_in = bool(security.mechanism)
        self._protocol = KafkaProtocol(client_id=probe.client_name, receive_message_max_bytes=_MOST_ANSWER_BYTES)
        if probe.require_tls and security.tls is None and not is_loopback(self.socket):
            self.socket.close()  # before any password could be sent
            message = "the context requires TLS and this target has none"
            raise Denied(message, rung=Rung.TLS, fix="set security_protocol to SSL or SASL_SSL")
        probe.at(Rung.AUTH)
        self.versions = BrokerVersionData(broker_version=(0, 10, 0))
        try:
            told = self._handshake(ApiVersionsRequest(version=0))
            keys = {api.api_key: (api.min_version, api.max_version) for api in told.api_keys}
            self.versions = BrokerVersionData(api_versions=keys)
            if security.mechanism:
                self._authenticate(security)
            probe.at(Rung.QUERY)
        except SourceError:
            self.socket.close()
            raise

    def send(self, request: Message) -> None:
        """Send one request, in the newest version both sides speak. Raises `Unreachable` or `Unreadable`."""
        packed = None
        if isinstance(request, Packed):
            packed, request = request, request.request
        try:
            if request.API_VERSION is None:
                request.API_VERSION = self.versions.api_version(request)
            self._protocol.send_request(request)
            if packed is not None:
                self._protocol.in_flight_requests[-1] = _Expected(self._protocol.in_flight_requests[-1], packed.read)
                if packed.pack is not None:
                    self._protocol.bytes_to_send[-1] = packed.pack(bytes(self._protocol.bytes_to_send[-1]))
            self.socket.settimeout(max(0.001, self.probe.deadline.remaining_s))
            self.socket.sendall(self._protocol.send_bytes())
        except KafkaError as error:
            message = f"the broker {self.where} and diag have no version of {request.name} in common"
            fix = f"diag reads brokers from 1.0 to {_NEWEST_KNOWN}, and later ones that still speak like it"
            raise Unreadable(message, rung=Rung.QUERY, fix=fix) from error
        except OSError as error:
            raise self.lost(error) from error
        self.unanswered += 1
        self.probe.requests += 1

    def receive(self) -> list[Message]:
        """Read what is there; return the answers that are complete. Raises a `SourceError`."""
        try:
            got = self.socket.recv(_READ_BYTES)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                got += self.socket.recv(_READ_BYTES)
        except OSError as error:
            raise self.lost(error) from error
        if not got:
            raise self.lost(None)
        if not self._heard and (speaker := looks_like(got)):
            message = f"{self.where} answers like {speaker}, not Kafka"
            raise Unreachable(message, rung=Rung.DECODE, fix="check the port, and security_protocol for TLS")
        try:
            answers = [answer for _, answer in self._protocol.receive_bytes(got)]
        except (KafkaError, ValueError, IndexError, TypeError, struct.error) as error:
            message = f"{self.where} sent something that is not an answer: {type(error).__name__}"
            raise Unreadable(message, rung=Rung.DECODE, fix="check that this port is a Kafka listener") from error
        self.unanswered -= len(answers)
        self._heard += len(answers)
        return answers

    def lost(self, error: Exception | None) -> SourceError:
        """Say how the connection ended."""
        if self.probe.deadline.passed:
            return self.probe.too_slow()
        if isinstance(error, TimeoutError):
            fix = "check that this port is a Kafka listener, and security_protocol for TLS"
            return TooSlow(f"{self.where} accepts connections but does not answer", rung=self.probe.rung, fix=fix)
        said = visible(str(error)) if error else "it closed the connection"
        fix = "run diag again"
        if not self._heard:
            fix = "check security_protocol against the listener (TLS, SASL)"
        elif self._heard == 1 and not self._logs_in:
            fix = "if the listener wants a password: set security_protocol to SASL_SSL or SASL_PLAINTEXT; else " + fix
        return Unreachable(f"{self.where}: {said}", rung=self.probe.rung, fix=fix)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def _handshake(self, request: Message) -> Message:
        self.send(request)
        self.socket.settimeout(max(0.001, min(self._patience_s, self.probe.deadline.remaining_s)))
        while True:
            answers = self.receive()
            if answers:
                return answers[0]

    def _authenticate(self, security: Security) -> None:
        offered = self._handshake(SaslHandshakeRequest(mechanism=security.mechanism, version=1))
        if offered.error_code:
            names = visible(", ".join(offered.mechanisms))
            message = f"{self.where} does not offer {security.mechanism}; it offers: {names or 'none'}"
            raise Denied(message, rung=Rung.AUTH, fix="set sasl_mechanism to one of them")
        mechanic = security.mechanic()
        while not mechanic.is_done():
            answer = self._handshake(SaslAuthenticateRequest(auth_bytes=mechanic.auth_bytes(), version=0))
            if answer.error_code:
                said = visible(answer.error_message or for_code(answer.error_code).__name__)
                raise Denied(f"{self.where}: {said}", rung=Rung.AUTH, fix="check the user and password of this target")
            try:
                mechanic.receive(answer.auth_bytes)
            except (ValueError, KafkaError) as error:
                message = f"{self.where} did not prove that it knows the password"
                raise Denied(message, rung=Rung.AUTH, fix="check that this is the right cluster") from error


Answers: TypeAlias = dict[int, list[Message] | SourceError]


def exchange(brokers: Mapping[int, Broker], requests: Mapping[int, Sequence[Message]], probe: Probe) -> Answers:
    """Send all requests, then gather all answers, whichever broker is first.

    Returns for each asked broker its answers in order, or the error that cut it short. Raises
    `TooSlow` only when the command's deadline has passed.
    """
    probe.at(Rung.QUERY)
    answers: Answers = {}
    with selectors.DefaultSelector() as ready:
        for node, asked in requests.items():
            try:
                for request in asked:
                    brokers[node].send(request)
            except SourceError as error:
                answers[node] = error
                continue
            answers[node] = []
            if asked:
                ready.register(brokers[node].socket, selectors.EVENT_READ, node)
        while ready.get_map():
            happened = ready.select(probe.deadline.remaining_s)
            if not happened:
                raise probe.too_slow()
            for key, _ in happened:
                _gather(brokers[key.data], key.data, answers, ready)
    return answers


def _gather(broker: Broker, node: int, answers: Answers, ready: selectors.BaseSelector) -> None:
    so_far = answers[node]
    try:
        assert isinstance(so_far, list)
        so_far += broker.receive()
    except SourceError as error:
        answers[node] = error
        ready.unregister(broker.socket)
        return
    if broker.unanswered == 0:
        ready.unregister(broker.socket)
