"""Redis: one connection, no retries, and only commands that read little and block for microseconds."""

from diag.sources.redis.connection import connect
from diag.sources.redis.expiry import redis_expiry
from diag.sources.redis.keys import redis_keys
from diag.sources.redis.load import redis_load

ASKS = {
    "RedisExpiry": (
        "INFO, DBSIZE, TIME",
        "RANDOMKEY, 5 000 times in batches of 500 (or SCAN COUNT 100 round a database no larger than that)",
        "PEXPIRETIME of each drawn key (PTTL before 7.0); never its value",
    ),
    "RedisKeys": (
        "INFO, DBSIZE, TIME",
        "RANDOMKEY or SCAN, as for the times to live",
        "MEMORY USAGE of each drawn key, by five elements of a collection; TYPE of at most 20 above 1 MiB",
        "under an LFU policy: OBJECT FREQ of each drawn key, CONFIG GET lfu-* once; never a value",
    ),
    "RedisLoad": (
        "INFO everything, TIME; CONFIG GET notify-keyspace-events once",
        "where that has E and m: SUBSCRIBE __keyevent@N__:keymiss, on a second connection",
        "with --match: CLIENT TRACKING ON REDIRECT … BCAST PREFIX …, heard on the same",
    ),
}
"""What is sent to take each fact."""

__all__ = ["ASKS", "connect", "redis_expiry", "redis_keys", "redis_load"]
