"""One strict structure from TOML, environment and flags; every value knows where it came from.

Precedence: flag > DIAG_* variable > chosen context > ecosystem variable > default.
A context may hold several targets of a kind, each with a name.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

from diag import places
from diag.addresses import passwords_in, without_password
from diag.errors import ConfigError
from diag.text import visible

_PASSWORD_COMMAND_S = 5.0  # a keyring prompt that a person must answer does not belong in an incident


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every target has: a name and ways to its password."""

    name: str = "default"
    username: str = ""
    password: str = ""
    password_file: str = ""
    password_command: tuple[str, ...] = ()
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    tls_verify: bool = True


class KafkaTarget(Target, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kafka cluster. `security_protocol` and `sasl_mechanism` are spelled as in client.properties."""

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    token: str = ""
    client_properties: str = ""

    @property
    def address(self) -> str:
        """What is dialled, without what does not belong there."""
        return without_password(self.bootstrap_servers)


class PostgresTarget(Target, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PostgreSQL server, as a libpq connection string; PG* variables and service files fill the rest."""

    dsn: str = ""

    @property
    def address(self) -> str:
        """What is dialled, without its password."""
        return without_password(self.dsn) or "libpq defaults"


class RedisTarget(Target, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis server; `rediss://` asks for TLS. `cluster` and `sentinel_master` say what answers there."""

    url: str = "redis://127.0.0.1:6379/0"
    cluster: bool = False
    sentinel_master: str = ""

    @property
    def address(self) -> str:
        """What is dialled, without its password."""
        return without_password(self.url)


class HttpTarget(Target, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A witness reached over HTTP; a path in `url` is kept as a prefix."""

    url: str = ""
    token: str = ""
    tenant: str = ""

    @property
    def address(self) -> str:
        """What is dialled, without its password."""
        return without_password(self.url)


class NamedSeries(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which series count what, as PromQL selectors; empty ones are looked for by the exporters' usual names."""

    hits: str = ""
    misses: str = ""
    queries: str = ""


class PrometheusTarget(HttpTarget, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Prometheus server, or whatever answers its API. A password without a username is sent as a bearer token."""

    series: NamedSeries = NamedSeries()


AnyTarget: TypeAlias = KafkaTarget | PostgresTarget | RedisTarget | PrometheusTarget | HttpTarget


class Context(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named environment. `limits` stay raw until a check reads its own."""

    kafka: tuple[KafkaTarget, ...] = ()
    postgres: tuple[PostgresTarget, ...] = ()
    redis: tuple[RedisTarget, ...] = ()
    prometheus: tuple[PrometheusTarget, ...] = ()
    loki: tuple[HttpTarget, ...] = ()
    jaeger: tuple[HttpTarget, ...] = ()
    require_tls: bool = False
    mask_patterns: tuple[str, ...] = ()
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def targets(self, kind: str) -> tuple[AnyTarget, ...]:
        """Return the targets of a kind, in the file's order."""
        found: tuple[AnyTarget, ...] = getattr(self, kind)
        return found


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    default_context: str = "default"
    contexts: dict[str, Context] = field(default_factory=dict)


class Setting(Struct, frozen=True, kw_only=True):
    """One value in force and where it came from (secrets already masked)."""

    name: str
    value: str
    source: str


class Settings(Struct, frozen=True, kw_only=True):
    """What a command runs with. `unnamed` are the kinds of target for which nothing but a default stands, if that."""

    context_name: str
    context: Context
    shown: tuple[Setting, ...]
    unnamed: tuple[str, ...] = ()
    file: Path | None = None


_ADDRESS_FIELD = {
    "kafka": "bootstrap_servers",
    "postgres": "dsn",
    "redis": "url",
    "prometheus": "url",
    "loki": "url",
    "jaeger": "url",
}
FLAGS = {
    "kafka": "bootstrap-servers",
    "postgres": "dsn",
    "redis": "redis-url",
    "prometheus": "prometheus-url",
    "loki": "loki-url",
    "jaeger": "jaeger-url",
}
_ECOSYSTEM = {
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "postgres": "DATABASE_URL",
    "redis": "REDIS_URL",
    "prometheus": "PROMETHEUS_URL",
    "loki": "LOKI_ADDR",
    "jaeger": "JAEGER_URL",
}
_TYPES: dict[str, type[AnyTarget]] = {
    "kafka": KafkaTarget,
    "postgres": PostgresTarget,
    "redis": RedisTarget,
    "prometheus": PrometheusTarget,
    "loki": HttpTarget,
    "jaeger": HttpTarget,
}
_DEFAULT = "default"  # the source of what nobody named
_DEFAULTED = ("kafka", "postgres", "redis")  # a default address exists; the witnesses have none


def read(path: Path) -> Config:
    """Read a configuration file strictly. Raises `ConfigError` with one line that names the place."""
    shown = visible(str(path))
    try:
        with path.open("rb") as opened:
            raw = tomllib.load(opened)
    except FileNotFoundError as error:
        message = f"there is no configuration file {shown}"
        raise ConfigError(message, hint="diag config sample prints one to start from") from error
    except OSError as error:
        message = f"{shown} cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{shown} is not TOML: {visible(str(error))}"
        raise ConfigError(message) from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        message = f"{shown}: {visible(_place(raw, error))}"
        raise ConfigError(message, hint="diag config sample lists every key") from error
    _refuse_foreign_commands(config, path)
    _refuse_broken_patterns(config, shown)
    _refuse_namesakes(config, shown)
    return config


def _refuse_namesakes(config: Config, shown: str) -> None:
    """Two targets of a kind with one name would be taken for one server."""
    for called, context in config.contexts.items():
        for kind in _TYPES:
            names = [target.name for target in context.targets(kind)]
            if len(names) != len(set(names)):
                message = f"{shown}: context {visible(called)} has two {kind} targets of one name"
                raise ConfigError(message, hint='give each a name = "…"')


def _place(raw: dict[str, Any], whole: msgspec.ValidationError) -> str:
    """Name the context that is at fault: the message about the whole file says only `contexts[...]`."""
    contexts = raw.get("contexts")
    for name, part in contexts.items() if isinstance(contexts, dict) else ():
        try:
            msgspec.convert(part, Context)
        except msgspec.ValidationError as error:
            return f"context {name}: {error}"
    return str(whole)


def _refuse_broken_patterns(config: Config, shown: str) -> None:
    for name, context in config.contexts.items():
        for pattern in context.mask_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                message = f"{shown}: context {visible(name)}: mask_patterns has {visible(pattern)!r}: {error}"
                raise ConfigError(message, hint="patterns are Python regular expressions") from error


def _refuse_foreign_commands(config: Config, path: Path) -> None:
    every = (target for context in config.contexts.values() for kind in _TYPES for target in context.targets(kind))
    if any(target.password_command for target in every) and path.stat().st_uid != os.geteuid():
        message = f"{visible(str(path))} names a password_command but belongs to somebody else"
        raise ConfigError(message, hint="only a file of your own may start programs")


def settle(
    flags: Mapping[str, str], environment: Mapping[str, str], *, file: Path | None = None, context: str = ""
) -> Settings:
    """Decide what a command runs with.

    `flags` holds the addresses given on the command line by kind. Raises `ConfigError` for an
    unreadable file or an unknown context.
    """
    path = file or (Path(environment["DIAG_CONFIG"]) if environment.get("DIAG_CONFIG") else _own_file())
    config = read(path) if path else Config()
    name, name_source = _first(
        (context, "flag --context"),
        (environment.get("DIAG_CONTEXT", ""), "variable DIAG_CONTEXT"),
        (config.default_context, f"file {visible(str(path))}" if path else "default"),
    )
    asked_for = name != "default" or config.contexts or context  # without a file "default" is only the name of nothing
    if asked_for and name not in config.contexts:
        known = visible(", ".join(sorted(config.contexts))) or "none"
        message = f"there is no context {visible(name)!r} ({name_source}); the file has: {known}"
        raise ConfigError(message, hint="choose one with --context, or name it in the configuration file")
    chosen = config.contexts.get(name, Context())
    shown = [Setting(name="context", value=visible(name), source=name_source)]
    settled: dict[str, tuple[AnyTarget, ...]] = {}
    unnamed: list[str] = []
    for kind in _TYPES:
        targets, source = _targets(kind, flags, environment, chosen, f"context {visible(name)}")
        settled[kind] = targets
        unnamed += [kind] if source == _DEFAULT else []
        shown += [
            Setting(name=visible(f"{kind} {target.name}"), value=visible(target.address), source=source)
            for target in targets
        ]
    merged = msgspec.structs.replace(chosen, **settled)
    return Settings(context_name=name, context=merged, shown=tuple(shown), unnamed=tuple(unnamed), file=path)


def _own_file() -> Path | None:
    """Return the person's own file, if there is one that can be seen (HOME may be another user's, under sudo)."""
    try:
        return places.config_file() if places.config_file().is_file() else None
    except OSError:
        return None


def _targets(
    kind: str, flags: Mapping[str, str], environment: Mapping[str, str], chosen: Context, named: str
) -> tuple[tuple[AnyTarget, ...], str]:
    own_variable = "DIAG_" + FLAGS[kind].replace("-", "_").upper()
    address, source = _first(
        (flags.get(kind, ""), f"flag --{FLAGS[kind]}"), (environment.get(own_variable, ""), f"variable {own_variable}")
    )
    if address:
        base = next(iter(chosen.targets(kind)), _TYPES[kind]())
        return (msgspec.structs.replace(base, **{_ADDRESS_FIELD[kind]: address}),), source
    if chosen.targets(kind):
        return chosen.targets(kind), named
    address = environment.get(_ECOSYSTEM[kind], "")
    if address:
        return (
            msgspec.structs.replace(_TYPES[kind](), **{_ADDRESS_FIELD[kind]: address}),
        ), f"variable {_ECOSYSTEM[kind]}"
    if kind == "postgres" and any(name.startswith("PG") and environment[name] for name in environment):
        return (PostgresTarget(),), "variables PG*"
    return ((_TYPES[kind](),), _DEFAULT) if kind in _DEFAULTED else ((), _DEFAULT)


def _first(*candidates: tuple[str, str]) -> tuple[str, str]:
    return next(((value, source) for value, source in candidates if value), ("", _DEFAULT))


def password(target: AnyTarget) -> str:
    """Return the target's password from its field, its file or its command; empty when there is none.

    Raises `ConfigError` when the file or the command fails. Never logs or echoes the value.
    """
    if target.password:
        return target.password
    if target.password_file:
        try:
            return Path(target.password_file).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            message = f"the password file of {visible(target.name)!r} cannot be read"
            raise ConfigError(message, hint=visible(str(error))) from error
    if target.password_command:
        try:
            ran = subprocess.run(  # noqa: S603  an argv list from the person's own file; no shell
                target.password_command, capture_output=True, check=True, text=True, timeout=_PASSWORD_COMMAND_S
            )
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
            message = f"the password command of {visible(target.name)!r} failed"
            raise ConfigError(message, hint=type(error).__name__) from error
        return ran.stdout.rstrip("\r\n")
    return ""


def known_secrets(target: AnyTarget) -> tuple[str, ...]:
    """Return every credential the configuration itself holds for a target."""
    token = getattr(target, "token", "")
    found = (*passwords_in(getattr(target, _address_field(target))), target.password, token)
    return tuple(word for word in found if word)


def public_words(target: AnyTarget) -> tuple[str, ...]:
    """Return the words of a target that reports show anyway; a password equal to one cannot be hidden."""
    address = getattr(target, _address_field(target))
    if "://" in address:
        words = re.split(r"[/?#@:&=,]+", without_password(address))
    else:
        words = re.split(r"[\s=,:]+", without_password(address))
    return (target.name, target.username, *_TYPES, *words)  # the kinds stand in every report


def _address_field(target: AnyTarget) -> str:
    return next(_ADDRESS_FIELD[kind] for kind, made in _TYPES.items() if type(target) is made)
