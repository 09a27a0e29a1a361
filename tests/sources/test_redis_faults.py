"""A server that cannot answer, or may not: one sentence, what could not be seen, and what would show it.

Every fault is a real server's own.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis_clusters import running

from diag.config import RedisTarget
from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable
from diag.lab.process import wait_until
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.sources.redis import pace
from diag.wire.probe import Deadline, Probe

SOON_S = 10.0
AT_ONCE_S = 0.2


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch):
    """Where many tests share a processor, a late answer is not the server's suffering; the pace has its own tests."""
    monkeypatch.setattr(pace, "_SUFFERING_S", 1.0)


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def looked(url: str, take=source.redis_expiry, *, match: str = "", deadline_s: float = 10.0):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url), probe) as session:
        return take(session, Scope(match=match))


def refusal(url: str, take=source.redis_expiry) -> SourceError:
    with pytest.raises(SourceError) as raised:
        looked(url, take)
    assert "\n" not in raised.value.message
    assert raised.value.fix
    return raised.value


def unseen(snapshot) -> list[tuple[str, str, str]]:
    """Each gap's fact, reason and fix; the reason is one sentence."""
    assert all("\n" not in one.why.raw and one.why.raw for one in snapshot.gaps)
    return [(one.fact, one.why.raw, one.fix.raw) for one in snapshot.gaps]


def user(server, *rights: str) -> str:
    with client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "oncall", "reset", "on", ">pass-canary", "-@all", *rights)
    return f"redis://oncall:pass-canary@127.0.0.1:{server.port}/0"


def spread(url: str, keys: int = 300, name: str = "page") -> None:
    with client(url) as writer, writer.pipeline(transaction=False) as pipeline:
        for number in range(keys):
            pipeline.set(f"{name}:{number}", "x", ex=600 + number)
        pipeline.execute()


@contextlib.contextmanager
def meanwhile(call: Callable[[], object]) -> Iterator[None]:
    """Run what blocks its own client beside the test."""

    def quietly() -> None:
        with contextlib.suppress(redis.RedisError):
            call()

    thread = threading.Thread(target=quietly)
    thread.start()
    yield
    thread.join(SOON_S)
    assert not thread.is_alive()


def test_a_wrong_password_is_one_attempt_by_the_servers_own_log(private_redis):
    server = private_redis(requirepass="right-canary-1")
    started = time.monotonic()
    told = refusal(server.url.replace("right-canary-1", "wrong-canary-2"))
    took_s = time.monotonic() - started
    with client(server.url) as admin:
        entries = admin.execute_command("ACL", "LOG")
        failed = admin.info("stats").get("acl_access_denied_auth", 1)
    assert (type(told), told.rung) == (Denied, Rung.AUTH)
    assert took_s < AT_ONCE_S
    assert (len(entries), failed) == (1, 1)
    assert "canary" not in told.message


def test_a_closed_port_is_told_at_once():
    started = time.monotonic()
    told = refusal("redis://127.0.0.1:1")
    assert (type(told), told.rung) == (Unreachable, Rung.CONNECT)
    assert time.monotonic() - started < AT_ONCE_S


def test_a_port_without_tls_is_told_as_such(private_redis):
    told = refusal(private_redis().url.replace("redis://", "rediss://"))
    assert told.rung is Rung.TLS


def test_a_server_that_loads_says_how_far_it_is(private_redis):
    server = private_redis(directives=["key-load-delay 2000", "loading-process-events-interval-bytes 1024"])
    spread(server.url, 1_500)
    with (
        client(server.url) as oracle,
        client(server.url) as patient,
        meanwhile(lambda: patient.execute_command("DEBUG", "RELOAD")),
    ):
        assert wait_until(lambda: oracle.info("persistence")["loading"] == 1, SOON_S)
        expiry = looked(server.url)
        load = looked(server.url, source.redis_load)
        oracle.execute_command("CONFIG", "SET", "key-load-delay", "0")
    (missing,) = unseen(expiry)
    assert missing[0] == "families"
    assert missing[1].startswith("the server is loading its keys into memory: ")
    assert "% done" in missing[1]
    assert "keys" in {one[0] for one in unseen(load)}
    assert load.run_id


def test_a_busy_script_names_the_one_command_that_is_answered(private_redis):
    server = private_redis(directives=["busy-reply-threshold 20"])
    spread(server.url)

    def is_busy() -> bool:
        try:
            return not oracle.ping()
        except ResponseError as error:
            return str(error).startswith("BUSY")

    with (
        client(server.url) as oracle,
        client(server.url) as patient,
        meanwhile(lambda: patient.eval("while true do end", 0)),
    ):
        try:
            assert wait_until(is_busy, SOON_S)
            for take in (source.redis_expiry, source.redis_load):
                told = refusal(server.url, take)
                assert (type(told), told.rung) == (TooSlow, Rung.QUERY)
                assert told.message.startswith("a script keeps the server busy")
                assert "SCRIPT KILL" in told.fix
        finally:
            oracle.execute_command("SCRIPT", "KILL")


def test_a_server_that_cannot_save_is_read_all_the_same(private_redis):
    server = private_redis(directives=["save 3600 1"])
    spread(server.url)
    shutil.rmtree(server.data_folder)
    with client(server.url) as oracle:
        oracle.bgsave()
        assert wait_until(lambda: oracle.info("persistence")["rdb_last_bgsave_status"] == "err", SOON_S)
        with pytest.raises(ResponseError, match="MISCONF"):
            oracle.ping()
        expiry, load = looked(server.url), looked(server.url, source.redis_load)
    assert (expiry.sampled_keys, expiry.gaps, load.gaps) == (300, (), ())


def test_a_server_without_memory_is_read_all_the_same(private_redis):
    server = private_redis(directives=["maxmemory-policy noeviction"])
    spread(server.url)
    with client(server.url) as oracle:
        oracle.config_set("maxmemory", "1mb")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            oracle.set("more", "x")
    expiry, load = looked(server.url), looked(server.url, source.redis_load)
    assert (expiry.sampled_keys, expiry.gaps, load.errors["OOM"], load.gaps) == (300, (), 1, ())


def test_a_replica_without_its_primary_tells_its_counters_and_where_to_ask(private_redis):
    server = private_redis(directives=["replicaof 127.0.0.1 1", "replica-serve-stale-data no"])
    expiry, load = looked(server.url), looked(server.url, source.redis_load)
    (missing,) = unseen(expiry)
    assert missing[0] == "families"
    assert missing[1].startswith("this replica has lost its primary")
    assert "ask the primary" in missing[2]
    assert (load.role, load.uptime_s >= 0) == ("slave", True)


def test_a_replica_is_read_without_a_word_that_it_refuses(private_redis):
    primary = private_redis()
    replica = private_redis(directives=[f"replicaof 127.0.0.1 {primary.port}"])
    spread(primary.url)
    with client(replica.url) as oracle:
        assert wait_until(lambda: oracle.dbsize() == 300, SOON_S)
        expiry, load = looked(replica.url, match=""), looked(replica.url, source.redis_load)
    assert (expiry.sampled_keys, expiry.gaps) == (300, ())
    assert (load.role, "READONLY" in load.errors, load.gaps) == ("slave", False, ())


def test_a_cluster_with_slots_without_a_node_is_told_as_that():
    with running(1, cluster=True) as (server,):
        with client(server.url) as oracle:
            assert wait_until(lambda: oracle.cluster("INFO")["cluster_state"] == "ok", SOON_S)
            spread(server.url)
            oracle.execute_command("CLUSTER", "DELSLOTS", "1")
            assert wait_until(lambda: oracle.cluster("INFO")["cluster_state"] == "fail", SOON_S)
        missing = unseen(looked(server.url))
    assert ("families", "CLUSTER INFO" in missing[0][2]) == (missing[0][0], True)
    assert missing[0][1].startswith("the cluster does not serve these keys")


def test_no_more_clients_is_the_servers_own_sentence(private_redis):
    server = private_redis(directives=["maxclients 1"])
    with client(server.url) as only:
        only.info()
        told = refusal(server.url)
    assert (type(told), told.rung) == (Denied, Rung.CONNECT)
    assert told.message == "max number of clients reached"
    assert "maxclients" in told.fix


MANAGED = {
    "no CONFIG": (["CONFIG"], 300, {"missed"}),
    "no SCAN": (["SCAN"], 5_000, set()),
    "no DBSIZE": (["DBSIZE"], 300, set()),
    "neither SCAN nor RANDOMKEY": (["SCAN", "RANDOMKEY"], 0, {"families"}),
    "no PEXPIRETIME": (["PEXPIRETIME"], 0, {"families"}),
    "no INFO": (["INFO"], 300, {"counters"}),
}


@pytest.mark.parametrize(("absent", "sampled", "facts"), MANAGED.values(), ids=MANAGED.keys())
def test_commands_that_a_service_has_switched_off_cost_only_what_they_tell(private_redis, absent, sampled, facts):
    server = private_redis()
    spread(server.url)
    with client(server.url) as admin:  # as `rename-command` does, but also where it is known who asks
        rights = ("+@all", "~*", "&*", *(f"-{command.lower()}" for command in absent))
        admin.execute_command("ACL", "SETUSER", "oncall", "reset", "on", ">pass-canary", *rights)
    renamed = private_redis(directives=[f'rename-command {command} ""' for command in absent if command != "INFO"])
    spread(renamed.url)
    for url in (f"redis://oncall:pass-canary@127.0.0.1:{server.port}/0", renamed.url):
        if url == renamed.url and absent == ["INFO"]:
            continue  # the lab itself needs INFO to see that a server is up
        expiry = looked(url)
        load = [] if absent == ["INFO"] else unseen(looked(url, source.redis_load))
        assert expiry.sampled_keys == sampled
        told = [one for one in (*unseen(expiry), *load) if one[0] != "calls"]
        assert {one[0] for one in told} == facts
        assert all("ACL SETUSER oncall +" in one[2] or "switched off" in one[1] for one in told)


def test_counters_that_may_not_be_read_leave_nothing_and_name_the_line(private_redis):
    told = refusal(user(private_redis(), "+time"), source.redis_load)
    assert (type(told), told.fix) == (Denied, "ACL SETUSER oncall +info")


def test_keys_that_may_not_be_read_leave_the_counters(private_redis):
    server = private_redis()
    spread(server.url)
    expiry = looked(user(server, "+info", "+dbsize", "+time", "+scan", "+randomkey", "+pexpiretime"))
    assert [(fact, fix) for fact, _, fix in unseen(expiry)] == [
        ("families", "ACL SETUSER oncall +scan +randomkey +pexpiretime +pttl %R~*")
    ]
    assert (expiry.families, expiry.uptime_s >= 0, expiry.maxmemory_policy) == ((), True, "noeviction")


def test_keys_of_which_some_may_not_be_read_are_partly_told(private_redis):
    server = private_redis()
    spread(server.url)
    spread(server.url, 200, "secret")
    rights = ("+info", "+dbsize", "+time", "+scan", "+randomkey", "+pexpiretime", "%R~page:*")
    expiry = looked(user(server, *rights))
    assert [family.pattern.raw for family in expiry.families] == ["page:{n}"]
    (missing,) = expiry.gaps
    assert (missing.fact, missing.what.raw) == ("families", "when 200 of the drawn keys expire")


def test_a_named_key_that_may_not_be_read_is_a_line(private_redis):
    server = private_redis()
    url = user(server, "+info", "+dbsize", "+time", "+pexpiretime", "%R~page:*")
    assert unseen(looked(url, match="limits:config"))[0][2] == "ACL SETUSER oncall +pexpiretime +pttl %R~*"
    load = looked(url, source.redis_load, match="limits:config")
    assert (load.watched, "watched" in {one.fact for one in load.gaps}) == (None, True)
