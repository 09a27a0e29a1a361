"""Kafka: one connection to each broker, describe and list only; never a join, a commit or a produce."""

from diag.sources.kafka.cluster import connect
from diag.sources.kafka.lag import kafka_lag

__all__ = ["connect", "kafka_lag"]
