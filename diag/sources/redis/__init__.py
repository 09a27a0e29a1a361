"""Redis: one connection, no retries, and only commands that read little and block for microseconds."""

from diag.sources.redis.connection import connect
from diag.sources.redis.expiry import redis_expiry
from diag.sources.redis.keys import redis_keys
from diag.sources.redis.load import redis_load

ASKS = {
    "RedisExpiry": (
        "INFO, DBSIZE, TIME (a few times, to know a bare round trip)",
        "SCAN COUNT 50 at twenty spread places, until 5 000 keys, 20 000 a second at most; it deletes keys due",
        "a database no larger: SCAN once round; --match PATTERN: with MATCH, 200 000 keys looked through at most",
        "--full replica: once round whatever its size, COUNT 500; --full primary: there too, COUNT 50, 50 000 a s",
        "PEXPIRETIME of each drawn key (PTTL before 7.0), or of the key that --match names; never its value",
        "cluster: CLUSTER SHARDS (or NODES, or SLOTS), then RANDOMKEY instead of SCAN on every primary, by its share",
    ),
    "RedisKeys": (
        "INFO, DBSIZE, TIME",
        "SCAN or RANDOMKEY, as for the times to live; a key that --match names: PEXPIRETIME, to find its server",
        "MEMORY USAGE of each drawn key, by five elements of a collection; TYPE of at most 20 above 1 MiB",
        "under an LFU policy: OBJECT FREQ of each drawn key, CONFIG GET lfu-* once; never a value",
    ),
    "RedisLoad": (
        "INFO everything, TIME; CONFIG GET notify-keyspace-events once",
        "cluster: CLUSTER SHARDS (or NODES, or SLOTS); INFO everything of each primary and of each connected replica",
        "where keyspace events have E and m: SUBSCRIBE __keyevent@N__:keymiss, on a second connection",
        "with --match: CLIENT TRACKING ON REDIRECT … BCAST PREFIX …, heard on the same; PEXPIRETIME of a whole name",
        "under an LFU policy: OBJECT FREQ of up to 20 keys that were named",
    ),
}
"""What is sent to take each fact."""

__all__ = ["ASKS", "connect", "redis_expiry", "redis_keys", "redis_load"]
