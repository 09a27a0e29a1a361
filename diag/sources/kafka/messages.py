"""Messages that kafka-python does not have: reading groups of the KIP-848 and KIP-932 protocols.

A subclass of its `ApiMessage` finds its layout in the package named by `load_json`, and its
response class by API key, so that `Broker` sends and reads these like any other message.
Source: Kafka protocol guide (API keys 69, 77, 90); KIP-848, KIP-932, KIP-1226.
"""

from __future__ import annotations

from kafka.protocol.api_message import ApiMessage

from diag.sources.kafka import schemas

# The ignores: kafka-python ships no types, so the base class is Any and its class keyword unknown.


class ConsumerGroupDescribeRequest(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """Groups of the KIP-848 protocol; brokers from 3.7."""


class ConsumerGroupDescribeResponse(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """State, epochs, assignor and members, each with its current and its target assignment."""


class ShareGroupDescribeRequest(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """Share groups; brokers from 4.1 (version 0 was a preview in 4.0 and is gone)."""


class ShareGroupDescribeResponse(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """State, epochs, assignor and members; several members may read one partition."""


class DescribeShareGroupOffsetsRequest(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """Start offsets of share partitions; no topics (null) stands for all of a group's."""


class DescribeShareGroupOffsetsResponse(ApiMessage, load_json=schemas):  # type: ignore[misc, call-arg]
    """Start offset, and from version 1 (brokers from 4.2) the lag as the broker counts it."""
