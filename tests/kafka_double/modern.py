"""KIP-848 groups of the double: kafka-python has no such message, so the layout is diag's own.

Only a double with such groups loads this. That the layout is right is shown on a real broker.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from diag.sources.kafka.messages import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafka_double.world import Group, World

_UNKNOWN_GROUP, _NOT_COORDINATOR = 69, 16
Message: TypeAlias = Any


class Modern:
    """Answers about the KIP-848 groups of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.handlers: dict[int, tuple[Message, Callable[[int, Message], Message]]] = {
            ConsumerGroupDescribeRequest.API_KEY: (ConsumerGroupDescribeRequest, self._describe)
        }

    def _describe(self, broker: int, request: Message) -> Message:
        return ConsumerGroupDescribeResponse(groups=[self._described(broker, name) for name in request.group_ids])

    def _described(self, broker: int, name: str) -> Message:
        of_group = ConsumerGroupDescribeResponse.DescribedGroup
        group = self._world.groups.get(name)
        if group is None or group.kind != "consumer":
            return of_group(error_code=_UNKNOWN_GROUP, error_message="no such group", group_id=name, members=[])
        if group.coordinator != broker:
            return of_group(error_code=_NOT_COORDINATOR, error_message=None, group_id=name, members=[])
        return of_group(
            error_message=None,
            group_id=name,
            group_state=group.state,
            group_epoch=7,
            assignment_epoch=7,
            assignor_name="uniform",
            members=[_member(group, number) for number in range(group.members)],
        )


def _member(group: Group, number: int) -> Message:
    of_member = ConsumerGroupDescribeResponse.DescribedGroup.Member
    owned: dict[str, list[int]] = defaultdict(list)
    for topic, partition in group.assigned(number):
        owned[topic].append(partition)
    assignment = of_member.Assignment
    places = [
        assignment.TopicPartitions(topic_name=topic, partitions=partitions) for topic, partitions in owned.items()
    ]
    return of_member(
        member_id=f"{group.name}-member-{number}",
        instance_id=None,
        rack_id=None,
        member_epoch=7,
        client_id=f"{group.name}-client-{number}",
        client_host="/127.0.0.1",
        subscribed_topic_names=sorted(owned),
        subscribed_topic_regex=None,
        assignment=assignment(topic_partitions=places),
        target_assignment=assignment(topic_partitions=places),
        member_type=1,
    )
