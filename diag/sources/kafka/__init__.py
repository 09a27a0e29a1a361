"""Kafka: one connection to each broker, describe and list only; never a join, a commit or a produce."""

from diag.sources.kafka.cluster import connect
from diag.sources.kafka.lag import kafka_lag

ASKS = {
    "KafkaLag": (
        "ApiVersions, Metadata; SaslHandshake and SaslAuthenticate where asked for",
        "ListGroups of every broker",
        "OffsetFetch of all groups at once, DescribeGroups of the classic ones",
        "ListOffsets earliest and latest, after the commits",
        "Fetch of one batch at the committed offset of at most 500 lagging partitions, for its timestamp",
    )
}
"""What is sent to take each fact."""

__all__ = ["ASKS", "connect", "kafka_lag"]
