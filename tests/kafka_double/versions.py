"""Which requests a broker of a release understands, as it tells in ApiVersions.

Source: kafka-python's BROKER_API_VERSIONS, recorded from real brokers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka.protocol.api_key import ApiKey
from kafka.protocol.broker_version_data import BROKER_API_VERSIONS

from kafka_double.list_offsets import named

if TYPE_CHECKING:
    from collections.abc import Mapping

Versions = dict[int, tuple[int, int]]
"""Oldest and newest version by API key."""


def spoken(release: str, at_most: Mapping[str, int], at_least: Mapping[str, int]) -> Versions:
    """Return what a release speaks, but no newer and no older versions of some APIs; -1 drops one."""
    versions: Versions = dict(BROKER_API_VERSIONS[tuple(int(part) for part in release.split("."))])
    for name in at_most.keys() | at_least.keys():
        oldest, newest = versions.pop(ApiKey[name].value)
        oldest, newest = max(oldest, at_least.get(name, oldest)), min(newest, at_most.get(name, newest))
        if newest >= oldest:
            versions[ApiKey[name].value] = (oldest, newest)
    return versions


def api_name(key: int) -> str:
    """Return the name of an API."""
    return ApiKey(key).name if key in set(ApiKey) else f"API {key}"


def label(key: int, request: Any) -> str:
    """Return what a request is counted as: its API's name, and for ListOffsets which offsets it is about."""
    name = api_name(key)
    wanted = {one.timestamp for topic in request.topics for one in topic.partitions} if name == "ListOffsets" else set()
    if not wanted:
        return name
    return f"{name} {named(max(wanted))}{' committed' if request.isolation_level else ''}"
