"""Retention and timestamp type of the topics somebody lags on. Needs DescribeConfigs on the topic.

Source: Kafka documentation, "Topic Configs"; KIP-133 (DescribeConfigs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Set as AbstractSet

from kafka.errors import KafkaError
from kafka.protocol.admin.configs import DescribeConfigsRequest

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import TimestampType, TopicSettings
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.text import ServerText

_TOPIC = 2  # ConfigResource.Type.TOPIC
_KEYS = ["retention.ms", "retention.bytes", "cleanup.policy", "message.timestamp.type"]
_MOST_TOPICS = 500  # one request; what the deadline of loss is computed from, not the lag
_FACT = "topics"


def topic_settings(session: Session, topics: AbstractSet[ServerText], gaps: list[Gap]) -> tuple[TopicSettings, ...]:
    """Return the settings of the topics, as far as the user may see them."""
    asked = sorted(topics)[:_MOST_TOPICS]
    if not asked:
        return ()
    of_topic = DescribeConfigsRequest.DescribeConfigsResource
    resources = [of_topic(resource_type=_TOPIC, resource_name=name.raw, configuration_keys=_KEYS) for name in asked]
    node = min(session.brokers)
    try:
        request = DescribeConfigsRequest(resources=resources, include_synonyms=False, min_version=0, max_version=4)
        answers = exchange(session.brokers, {node: [request]}, session.probe)[node]
    except KafkaError:
        return ()
    if isinstance(answers, SourceError):
        gaps.append(unread(_FACT, "the settings of the topics", answers))
        return ()
    denied = [told for told in answers[0].results if told.error_code]
    if denied:  # the same for all of them, as a rule, and worth one line
        first, what = ServerText(denied[0].resource_name), f"the retention of {len(denied)} topics, the first"
        gaps.append(refused(_FACT, what, denied[0].error_code, session, topic=first, right="DescribeConfigs"))
    return tuple(_settings(ServerText(told.resource_name), told) for told in answers[0].results if not told.error_code)


def _settings(name: ServerText, told: Message) -> TopicSettings:
    values = {config.name: config.value for config in told.configs}
    policy = values.get("cleanup.policy") or "delete"
    deleted = "delete" in policy
    retention_ms = _limit(values.get("retention.ms")) if deleted else None
    kind = None
    with contextlib.suppress(ValueError):
        kind = TimestampType(values.get("message.timestamp.type") or "")
    return TopicSettings(
        topic=name,
        retention_s=None if retention_ms is None else retention_ms / 1000,
        retention_bytes=_limit(values.get("retention.bytes")) if deleted else None,
        compacted="compact" in policy,
        timestamp_type=kind,
    )


def _limit(written: str | None) -> int | None:
    """Read a limit; -1 means there is none."""
    try:
        value = int(written or "-1")
    except ValueError:
        return None
    return value if value >= 0 else None
