"""Which consumer groups are behind, by how many records and seconds, growing or draining."""

from diag.analysis.consumer_lag import partition_rows
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


def _partitions(window: Window[KafkaLag]) -> dict[str, object]:
    return {"partitions": partition_rows(window)}


TABLES = {KafkaLag: _partitions}
COLUMNS = {
    "partitions": ("group", "topic", "partition", "lag_records", "lag_s", "produce_per_s", "consume_per_s", "state"),
}
