"""Redis: one connection, no retries, and only commands that read little and block for microseconds."""

from diag.sources.redis.connection import connect
from diag.sources.redis.expiry import redis_expiry

__all__ = ["connect", "redis_expiry"]
