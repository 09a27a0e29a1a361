"""What each request is answered, built of kafka-python's own message classes.

Source: Kafka protocol guide; for what a real broker does with a case, Kafka's KafkaApis.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from kafka.protocol.admin.cluster import DescribeClusterRequest, DescribeClusterResponse
from kafka.protocol.admin.configs import DescribeConfigsRequest, DescribeConfigsResponse
from kafka.protocol.admin.groups import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from kafka.protocol.admin.transactions import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse
from kafka.protocol.consumer.group import OffsetFetchRequest, OffsetFetchResponse
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse, OffsetSpec
from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.record import MemoryRecordsBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kafka_double.versions import Versions
    from kafka_double.world import Group, Place, World

_HOST = "127.0.0.1"
_CLUSTER_ID = "a-double-not-a-cluster"
_EVERYTHING = frozenset(range(3, 13))  # AclOperation.READ to IDEMPOTENT_WRITE
_UNKNOWN_TOPIC, _NOT_LEADER, _NOT_COORDINATOR, _UNKNOWN_GROUP = 3, 6, 16, 69
_TOPIC_CONFIGS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "max.message.bytes": "1048588",
}
_BATCH_BYTES = 4096
_MAGIC = 2
Message: TypeAlias = Any


class Cluster:
    """Answers for every broker of a world. `ports` is where each broker listens, by broker id."""

    def __init__(self, world: World, versions: Versions, ports: dict[int, int]) -> None:
        self.world, self.versions, self.ports = world, versions, ports
        self.handlers: dict[int, tuple[Message, Callable[[int, Message], Message]]] = {
            request.API_KEY: (request, handler)
            for request, handler in {
                ApiVersionsRequest: self._api_versions,
                MetadataRequest: self._metadata,
                DescribeClusterRequest: self._cluster,
                ListGroupsRequest: self._list_groups,
                FindCoordinatorRequest: self._find_coordinator,
                DescribeGroupsRequest: self._describe_groups,
                OffsetFetchRequest: self._offset_fetch,
                ListOffsetsRequest: self._list_offsets,
                FetchRequest: self._fetch,
                DescribeConfigsRequest: self._describe_configs,
                DescribeProducersRequest: self._describe_producers,
                ListTransactionsRequest: lambda _, __: ListTransactionsResponse(),
            }.items()
        }
        if world.shape.modern:
            from kafka_double.modern import Modern

            self.handlers |= Modern(world).handlers

    def _api_versions(self, _broker: int, _: Message) -> Message:
        of_api = ApiVersionsResponse.ApiVersion
        spoken = [of_api(api_key=key, min_version=low, max_version=high) for key, (low, high) in self.versions.items()]
        return ApiVersionsResponse(api_keys=spoken)

    def _metadata(self, _broker: int, request: Message) -> Message:
        asked = self.world.topics if request.topics is None else [topic.name for topic in request.topics]
        of_broker = MetadataResponse.MetadataResponseBroker
        return MetadataResponse(
            brokers=[of_broker(node_id=node, host=_HOST, port=port) for node, port in self.ports.items()],
            cluster_id=_CLUSTER_ID,
            controller_id=1,
            topics=[self._topic(name) for name in asked],
            authorized_operations=set(_EVERYTHING) if request.include_cluster_authorized_operations else set(),
        )

    def _topic(self, name: str) -> Message:
        of_topic = MetadataResponse.MetadataResponseTopic
        if name not in self.world.topics:
            return of_topic(error_code=_UNKNOWN_TOPIC, name=name, partitions=[])
        leaders = [self.world.logs[name, number].leader for number in range(self.world.topics[name])]
        return of_topic(
            name=name,
            partitions=[
                of_topic.MetadataResponsePartition(
                    partition_index=number, leader_id=leader, replica_nodes=[leader], isr_nodes=[leader]
                )
                for number, leader in enumerate(leaders)
            ],
            authorized_operations=set(),
        )

    def _cluster(self, _broker: int, _: Message) -> Message:
        of_broker = DescribeClusterResponse.DescribeClusterBroker
        brokers = [of_broker(broker_id=node, host=_HOST, port=port) for node, port in self.ports.items()]
        return DescribeClusterResponse(cluster_id=_CLUSTER_ID, controller_id=1, brokers=brokers)

    def _list_groups(self, broker: int, request: Message) -> Message:
        kinds = {kind.lower() for kind in request.types_filter or ()}
        of_group = ListGroupsResponse.ListedGroup
        return ListGroupsResponse(
            groups=[
                of_group(group_id=one.name, protocol_type="consumer", group_state=one.state, group_type=one.kind)
                for one in self.world.groups.values()
                if one.coordinator == broker
                and (not kinds or one.kind in kinds)
                and (not request.states_filter or one.state in request.states_filter)
            ]
        )

    def _find_coordinator(self, _broker: int, request: Message) -> Message:
        of_key = FindCoordinatorResponse.Coordinator
        keys = request.coordinator_keys or [request.key]
        nodes = [self.world.groups[key].coordinator if key in self.world.groups else 1 for key in keys]
        found = [
            of_key(key=key, node_id=node, host=_HOST, port=self.ports[node])
            for key, node in zip(keys, nodes, strict=True)
        ]
        return FindCoordinatorResponse(node_id=nodes[0], host=_HOST, port=self.ports[nodes[0]], coordinators=found)

    def _describe_groups(self, broker: int, request: Message) -> Message:
        return DescribeGroupsResponse(groups=[self._described(broker, name) for name in request.groups])

    def _described(self, broker: int, name: str) -> Message:
        of_group = DescribeGroupsResponse.DescribedGroup
        group = self.world.groups.get(name)
        if group is None or group.kind != "classic":  # a KIP-848 group looks dead to this request
            return of_group(error_code=0, group_id=name, group_state="Dead", members=[], authorized_operations=set())
        if group.coordinator != broker:
            return of_group(error_code=_NOT_COORDINATOR, group_id=name, members=[], authorized_operations=set())
        of_member = of_group.DescribedGroupMember
        return of_group(
            group_id=name,
            group_state=group.state,
            protocol_type="consumer",
            protocol_data="range" if group.members else "",
            members=[
                of_member(
                    member_id=f"{name}-member-{number}-8f1d2c3b-0000-4000-8000-{number:012}",
                    client_id=f"{name}-client-{number}",
                    client_host="/127.0.0.1",
                    member_metadata=b"",
                    member_assignment=_assignment(group.assigned(number)),
                )
                for number in range(group.members)
            ],
            authorized_operations=set(),
        )

    def _offset_fetch(self, broker: int, request: Message) -> Message:
        if not request.groups:
            code, topics = self._commits(broker, request.group_id, request.topics, OffsetFetchResponse, "Topic")
            return OffsetFetchResponse(topics=topics, error_code=code, groups=[])
        of_group = OffsetFetchResponse.OffsetFetchResponseGroup
        groups = []
        for asked in request.groups:
            code, topics = self._commits(broker, asked.group_id, asked.topics, of_group, "Topics")
            groups.append(of_group(group_id=asked.group_id, topics=topics, error_code=code))
        return OffsetFetchResponse(groups=groups)

    def _commits(
        self, broker: int, name: str, topics: list[Message] | None, owner: Message, plural: str
    ) -> tuple[int, list[Message]]:
        """Return the commits of a group in the classes of this version: before 8 they have other names."""
        group = self.world.groups.get(name)
        if group is not None and group.coordinator != broker:
            return _NOT_COORDINATOR, []
        of_topic = getattr(owner, f"OffsetFetchResponse{plural}")
        of_partition = getattr(of_topic, "OffsetFetchResponsePartition" + ("s" if plural == "Topics" else ""))
        places = _commits_on(group, topics)
        return 0, [
            of_topic(
                name=topic,
                partitions=[
                    of_partition(
                        partition_index=number,
                        committed_offset=offset,
                        committed_leader_epoch=-1,
                        metadata="",
                        error_code=0,
                    )
                    for number, offset in partitions
                ],
            )
            for topic, partitions in places.items()
        ]

    def _list_offsets(self, broker: int, request: Message) -> Message:
        of_topic = ListOffsetsResponse.ListOffsetsTopicResponse
        return ListOffsetsResponse(
            topics=[
                of_topic(
                    name=topic.name,
                    partitions=[
                        self._offset(broker, (topic.name, asked.partition_index), asked.timestamp)
                        for asked in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _offset(self, broker: int, on: Place, wanted: int) -> Message:
        of_partition = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
        error, timestamp, offset = self.offset(broker, on, wanted)
        return of_partition(
            partition_index=on[1],
            error_code=error,
            timestamp=timestamp,
            offset=offset,
            leader_epoch=0,
            old_style_offsets=[offset],
        )

    def offset(self, broker: int, on: Place, wanted: int) -> tuple[int, int, int]:
        """Return error code, timestamp and offset for a timestamp, or for what stands for one."""
        log = self.world.logs.get(on)
        if log is None or log.leader != broker:
            return (_UNKNOWN_TOPIC if log is None else _NOT_LEADER), -1, -1
        match wanted:
            case OffsetSpec.LATEST:
                return 0, -1, log.end
            case OffsetSpec.EARLIEST | OffsetSpec.EARLIEST_LOCAL:
                return 0, -1, log.start
            case OffsetSpec.MAX_TIMESTAMP:
                return 0, self.world.written_ms(log, log.end - 1), log.end - 1
            case OffsetSpec.LATEST_TIERED:
                return 0, -1, -1
            case _:
                offset, timestamp = self.world.first_since(log, wanted) or (-1, -1)
                return 0, timestamp, offset

    def _fetch(self, broker: int, request: Message) -> Message:
        of_topic = FetchResponse.FetchableTopicResponse
        return FetchResponse(
            responses=[
                of_topic(
                    topic=topic.topic,
                    partitions=[
                        self._batch(broker, (topic.topic, asked.partition), asked.fetch_offset)
                        for asked in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _batch(self, broker: int, on: Place, offset: int) -> Message:
        """Return one record, that at the offset."""
        of_partition = FetchResponse.FetchableTopicResponse.PartitionData
        log = self.world.logs.get(on)
        if log is None or log.leader != broker:
            code = _UNKNOWN_TOPIC if log is None else _NOT_LEADER
            return of_partition(partition_index=on[1], error_code=code, high_watermark=-1, aborted_transactions=[])
        records = b""
        if log.start <= offset < log.end:
            builder = MemoryRecordsBuilder(_MAGIC, 0, _BATCH_BYTES)
            builder.append(timestamp=self.world.written_ms(log, offset), key=None, value=b"x" * 100)
            builder.close()
            records = offset.to_bytes(8, "big") + bytes(builder.buffer())[8:]  # the base offset is not in the CRC
        return of_partition(
            partition_index=on[1],
            high_watermark=log.end,
            last_stable_offset=log.end,
            log_start_offset=log.start,
            aborted_transactions=[],
            records=records,
        )

    def _describe_configs(self, _broker: int, request: Message) -> Message:
        of_result = DescribeConfigsResponse.DescribeConfigsResult
        of_config = of_result.DescribeConfigsResourceResult
        return DescribeConfigsResponse(
            results=[
                of_result(
                    error_message=None,
                    resource_type=asked.resource_type,
                    resource_name=asked.resource_name,
                    configs=[
                        of_config(name=name, value=value, read_only=False, is_sensitive=False, synonyms=[])
                        for name, value in _TOPIC_CONFIGS.items()
                        if asked.configuration_keys is None or name in asked.configuration_keys
                    ],
                )
                for asked in request.resources
            ]
        )

    def _describe_producers(self, _broker: int, request: Message) -> Message:
        of_topic = DescribeProducersResponse.TopicResponse
        return DescribeProducersResponse(
            topics=[
                of_topic(
                    name=topic.name,
                    partitions=[
                        of_topic.PartitionResponse(partition_index=number, error_message=None, active_producers=[])
                        for number in topic.partition_indexes
                    ],
                )
                for topic in request.topics
            ]
        )


def _commits_on(group: Group | None, topics: list[Message] | None) -> dict[str, list[tuple[int, int]]]:
    """Return (partition, offset) by topic: all commits, or of the topics asked for; -1 where there is none."""
    commits = group.commits if group else {}
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    if topics is None:
        for (topic, number), offset in commits.items():
            found[topic].append((number, offset))
        return found
    for topic in topics:
        found[topic.name] = [(number, commits.get((topic.name, number), -1)) for number in topic.partition_indexes]
    return found


def _assignment(places: Iterable[Place]) -> bytes:
    topics: dict[str, list[int]] = defaultdict(list)
    for topic, number in places:
        topics[topic].append(number)
    of_topic = ConsumerProtocolAssignment.TopicPartition
    owned = [of_topic(topic=topic, partitions=numbers) for topic, numbers in topics.items()]
    return bytes(ConsumerProtocolAssignment(version=1, assigned_partitions=owned, user_data=None).encode())
