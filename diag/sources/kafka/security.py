"""How a Kafka target is authenticated and encrypted, from our own fields or from client.properties.

Source: Kafka documentation, "Security" and "Configure clients"; the property file format is
that of java.util.Properties, the JAAS line that of `sasl.jaas.config`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from msgspec import Struct

from diag import config
from diag.errors import ConfigError
from diag.text import visible
from diag.wire.dial import Tls

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


class Security(Struct, frozen=True, kw_only=True):
    """What a broker connection needs. `mechanism` is empty without SASL."""

    tls: Tls | None
    mechanism: str
    username: str
    password: str
    token: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """The credentials that must not appear in any output."""
        return tuple(word for word in (self.password, self.token) if word)

    def mechanic(self) -> Any:
        """Return kafka-python's implementation of the mechanism (RFC 4616, 5802, 7628)."""
        return get_sasl_mechanism(self.mechanism)(
            security_protocol="SASL_SSL",  # only decides whether it warns
            sasl_mechanism=self.mechanism,
            sasl_plain_username=self.username,
            sasl_plain_password=self.password,
            sasl_oauth_token_provider=_Token(self.token),
        )


class _Token(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python ships no types
    """A token that the person already holds."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def token(self) -> str:
        return self._token

    def extensions(self) -> dict[str, str]:
        return {}


def security(target: config.KafkaTarget) -> tuple[str, Security]:
    """Return the bootstrap servers and the security of a target. Raises `ConfigError`."""
    written = _properties(Path(target.client_properties)) if target.client_properties else {}
    protocol = written.get("security.protocol", target.security_protocol).upper()
    mechanism = written.get("sasl.mechanism", target.sasl_mechanism).upper()
    jaas = _jaas(written.get("sasl.jaas.config", ""))
    if protocol not in _PROTOCOLS:
        message = f"security_protocol {visible(protocol)!r} is none of {', '.join(_PROTOCOLS)}"
        raise ConfigError(message)
    if protocol.startswith("SASL") and mechanism not in _MECHANISMS:
        message = f"sasl_mechanism {visible(mechanism)!r} is none of {', '.join(_MECHANISMS)}"
        raise ConfigError(message)
    tls = Tls(
        ca_file=target.ca_file or written.get("ssl.truststore.location", ""),
        cert_file=target.cert_file,
        key_file=target.key_file,
        verify=target.tls_verify,
    )
    return written.get("bootstrap.servers", target.bootstrap_servers), Security(
        tls=tls if protocol.endswith("SSL") else None,
        mechanism=mechanism if protocol.startswith("SASL") else "",
        username=target.username or jaas.get("username", ""),
        password=config.password(target) or jaas.get("password", ""),
        token=target.token,
    )


def _properties(path: Path) -> dict[str, str]:
    """Read `name=value` lines; `#` and `!` begin comments, a trailing backslash continues a line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{visible(str(path))} cannot be read: {type(error).__name__}"
        raise ConfigError(message) from error
    joined = re.sub(r"\\\n\s*", "", text)
    pairs = (re.split(r"\s*[=:]\s*", line.strip(), maxsplit=1) for line in joined.splitlines())
    found = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0][:1] not in ("#", "!")}  # noqa: PLR2004
    store = found.get("ssl.truststore.location", "")
    if store and found.get("ssl.truststore.type", "JKS").upper() != "PEM":
        message = "the trust store in client.properties is not PEM, which is what diag reads"
        raise ConfigError(message, hint="keytool -exportcert -rfc …, then ca_file or ssl.truststore.type=PEM")
    return found


def _jaas(line: str) -> dict[str, str]:
    return {name: value.replace('\\"', '"') for name, value in re.findall(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"', line)}
