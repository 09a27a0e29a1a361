"""What a lag tool does that asks for one group per request, with kafka-python's admin client.

`python tests/bench/group_loop.py BOOTSTRAP_SERVERS GROUPS`: lists the groups, then reads for one
after the other of the first GROUPS its state and members, its commits, and the beginnings and ends
of the partitions they are on. Prints the seconds of each part and how many groups there are, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec


def main() -> None:
    """Run the loop and say how long its parts took."""
    bootstrap_servers, most = sys.argv[1], int(sys.argv[2])
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    started = time.monotonic()
    groups = sorted(group["group_id"] for group in admin.list_groups())
    listed = time.monotonic()
    for group in groups[:most]:
        admin.describe_groups([group])
        commits = admin.list_group_offsets({group: None})[group]
        admin.list_partition_offsets(dict.fromkeys(commits, OffsetSpec.EARLIEST))
        admin.list_partition_offsets(dict.fromkeys(commits, OffsetSpec.LATEST))
    told = {"list_s": listed - started, "groups_s": time.monotonic() - listed, "groups": len(groups)}
    print(json.dumps(told | {"looked_at": min(most, len(groups))}))
    admin.close()


if __name__ == "__main__":
    main()
