"""Kafka: one connection to each broker, describe and list only; never a join, a commit or a produce."""

from diag.sources.kafka.cluster import connect
from diag.sources.kafka.history import kafka_history
from diag.sources.kafka.lag import kafka_lag

ASKS = {
    "KafkaLag": (
        "ApiVersions, Metadata; SaslHandshake and SaslAuthenticate where asked for",
        "ListGroups of every broker",
        "OffsetFetch of all groups at once; DescribeGroups, ConsumerGroupDescribe, ShareGroupDescribe",
        "DescribeShareGroupOffsets where there are share groups",
        "ListOffsets earliest and latest, after the commits; latest committed where somebody lags",
        "ListOffsets by timestamp, at most 9 rounds of 7 probes for at most 2,000 lagging places: the time lag",
        "DescribeConfigs of the topics somebody lags on (retention, timestamp type), at most 500",
        "Fetch of at most 16 KiB behind commits that are 16 offsets or fewer from the end: only transaction markers?",
        "DescribeProducers, ListTransactions, DescribeTransactions where an open transaction holds readers up",
    ),
    "KafkaHistory": (
        "with --history only: ListOffsets by timestamp at the instants of a grid, for the logs' growth",
        "Fetch of the groups' own partitions of __consumer_offsets, at most 32 MiB, for past commits and rebalances",
    ),
}
"""What is sent to take each fact."""

__all__ = ["ASKS", "connect", "kafka_history", "kafka_lag"]
