"""What people and old clusters get wrong, through the real command: named, in time, and never a traceback.

Names that are not there, addresses that are none, the wrong security, and brokers that do not
speak what diag would like to. A real broker stands for security, the double for releases.
Source: Kafka documentation, "Security"; Kafka protocol guide, "Retrieving Supported API versions".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from kafka_double import kafka_double
from running import diag

from diag.lab import services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kafka_double import Double

UNKNOWN, NO_TARGET = 3, 69
SOON_S = 3.0
_SMALL = ("--groups", "12", "--topics", "4", "--partitions", "3", "--commits", "6", "--lagging", "0.25")


def asked(*words: str, timeout_s: float = 60.0) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and its report."""
    ran = diag("kafka-lag", *words, "--samples", "1", "--format", "json", timeout_s=timeout_s)
    assert "Traceback" not in ran.stderr + ran.stdout, ran.stderr
    assert "bug in diag" not in ran.stdout, ran.stdout
    return ran.returncode, json.loads(ran.stdout)


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with kafka_double(*_SMALL) as running:
        yield running


@pytest.fixture(scope="module")
def start_up_s() -> float:
    """How long a command takes here and now that has nothing to ask: the worst of three."""
    taken = []
    for _ in range(3):
        started = time.monotonic()
        asked("--bootstrap-servers", "127.0.0.1:1")
        taken.append(time.monotonic() - started)
    return max(taken)


@pytest.mark.parametrize(
    ("words", "fact", "what"),
    [
        (("--group", "group-00011"), "groups", "group group-00011"),
        (("--group", "no-such-*"), "groups", "group no-such-*"),
        (("--topic", "topic-00001"), "commits", "topic-00001"),
    ],
    ids=["group", "glob", "topic"],
)
def test_a_name_nobody_has_is_unknown_and_told(double, words, fact, what):
    code, report = asked("--bootstrap-servers", double.bootstrap_servers, *words)
    assert (code, report["verdict"]) == (UNKNOWN, "unknown")
    assert [gap for gap in report["gaps"] if gap["fact"] == fact and what in gap["what"]], report["gaps"]


@pytest.mark.parametrize(
    ("words", "near", "far"),
    [
        (("--group", "grup-0003"), "group-0003", "topic-0003"),
        (("--group", "GROUP-0007"), "group-0007", "topic-0007"),
        (("--topic", "topics-0002"), "topic-0002", "group-0002"),
    ],
    ids=["typo", "case", "topic"],
)
def test_near_matches_are_offered(double, words, near, far):
    code, report = asked("--bootstrap-servers", double.bootstrap_servers, *words)
    assert code == UNKNOWN
    (offered,) = [gap["fix"] for gap in report["gaps"] if "did you mean" in gap["fix"]]
    assert near in offered.partition("did you mean: ")[2].split(", ")[0]
    assert far not in offered


def test_nothing_is_offered_that_is_not_near(double):
    _, report = asked("--bootstrap-servers", double.bootstrap_servers, "--group", "zzzzzzzzzzzz")
    assert [gap["fix"] for gap in report["gaps"] if "did you mean" in gap["fix"]] == []


def test_one_wrong_name_among_right_ones_costs_only_itself(double):
    _, report = asked("--bootstrap-servers", double.bootstrap_servers, "--group", "group-0003", "--group", "nope")
    assert {row["group"] for row in report["facts"]["partitions"]} == {"group-0003"}
    assert ["group nope" in gap["what"] for gap in report["gaps"]] == [True]


MALFORMED = {
    "no port": "127.0.0.1:",
    "no host": ":9092",
    "a space": " ",
    "commas only": ",,",
    "a URL": "kafka://127.0.0.1:9092",
    "a listener": "PLAINTEXT://127.0.0.1:9092",
    "a path": "127.0.0.1:9092/topic",
    "a word for a port": "127.0.0.1:kafka",
    "a negative port": "127.0.0.1:-1",
    "port 0": "127.0.0.1:0",
    "a port that would wrap": "127.0.0.1:99999",
    "a port of 5,000 digits": "127.0.0.1:" + "9" * 5_000,
    "other digits": "127.0.0.1:٩٠٩٢",
    "an open bracket": "[::1",
    "two words": "kafka 1:9092",
    "one of two": "127.0.0.1:1,kafka://x:1",
    "semicolons": "127.0.0.1:1;127.0.0.1:2",
    "a terminal's colours": "\x1b[31mred:9092:x",
}


@pytest.mark.parametrize("address", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_address_is_named_and_nobody_is_asked(address):
    code, report = asked("--bootstrap-servers", address)
    assert code == NO_TARGET
    (gap,) = report["gaps"]
    assert gap["rung"] == "resolve"
    assert "\x1b" not in json.dumps(report, ensure_ascii=False)
    assert len(gap["why"]) < 500


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1,"])
def test_an_address_where_nobody_is_stops_at_connecting(address):
    code, report = asked("--bootstrap-servers", address)
    assert (code, [gap["rung"] for gap in report["gaps"]]) == (NO_TARGET, ["connect"])


@dataclass(frozen=True)
class Secured:
    """A broker with an open listener and one that asks for TLS and a password, and who signed its certificate."""

    open: str
    closed: str
    ca: Path
    other_ca: Path


@pytest.fixture(scope="module")
def secured(kafka, lab_folder, tmp_path_factory) -> Iterator[Secured]:
    assert kafka.pid, "where the shared broker runs, this one can"
    authority, stranger, folder = trustme.CA(), trustme.CA(), tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "other-ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    as_java_reads_it = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    listener = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": as_java_reads_it.decode(),
        "ssl.keystore.certificate.chain": "".join(part.bytes().decode() for part in issued.cert_chain_pems),
    }
    server = services.start_kafka(
        lab_folder / "secured",
        users={"oncall": "right"},
        properties={f"listener.name.sasl.{name}": value for name, value in listener.items()}
        | {"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_SSL"},
    )
    yield Secured(server.bootstrap_servers, server.sasl_bootstrap_servers, folder / "ca.pem", folder / "other-ca.pem")
    services.stop(server)


@pytest.fixture
def told(secured, tmp_path):
    """Look at a listener with these settings of client.properties; return exit code, report and seconds."""

    def told(listener: str, protocol: str, **settings: str) -> tuple[int, dict[str, Any], float]:
        file = tmp_path / "client.properties"
        login = settings.pop("password", "right")
        chosen = {
            "bootstrap.servers": getattr(secured, listener),
            "security.protocol": protocol,
            "sasl.mechanism": settings.pop("mechanism", "SCRAM-SHA-256"),
            "sasl.jaas.config": f'Login required username="oncall" password="{login}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(getattr(secured, settings.pop("trusts", "ca"))),
        }
        file.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))
        started = time.monotonic()
        code, report = asked("--kafka-config", str(file), "--deadline", "30")
        return code, report, time.monotonic() - started

    return told


def test_with_the_right_settings_both_listeners_answer(told):
    for listener, protocol in (("open", "PLAINTEXT"), ("closed", "SASL_SSL")):
        _, report, _ = told(listener, protocol)
        assert [target["encrypted"] for target in report["targets"]] == [protocol == "SASL_SSL"], report["gaps"]


MISMATCHED = {
    "plain client, TLS listener": ("closed", "PLAINTEXT", {}, {"auth", "decode"}, "TLS"),
    "plain password, TLS listener": ("closed", "SASL_PLAINTEXT", {}, {"auth", "decode"}, "TLS"),
    "TLS client, plain listener": ("open", "SSL", {}, {"tls"}, "turn TLS off"),
    "TLS and password, plain listener": ("open", "SASL_SSL", {}, {"tls"}, "turn TLS off"),
    "password, open listener": ("open", "SASL_PLAINTEXT", {}, {"auth"}, "sasl"),
    "no password, closed listener": ("closed", "SSL", {}, {"auth", "query"}, "SASL"),
    "wrong mechanism": ("closed", "SASL_SSL", {"mechanism": "OAUTHBEARER"}, {"auth"}, "SCRAM-SHA-256"),
    "wrong password": ("closed", "SASL_SSL", {"password": "wrong-canary"}, {"auth"}, "password"),
    "another CA": ("closed", "SASL_SSL", {"trusts": "other_ca"}, {"tls"}, "certificate"),
}


@pytest.mark.parametrize(
    ("listener", "protocol", "settings", "rungs", "word"), MISMATCHED.values(), ids=MISMATCHED.keys()
)
def test_mismatched_security_is_named_within_seconds(  # noqa: PLR0913  a row of the table
    told, start_up_s, *, listener, protocol, settings, rungs, word
):
    code, report, took_s = told(listener, protocol, **settings)
    assert code == NO_TARGET
    (gap,) = report["gaps"]
    assert gap["rung"] in rungs, gap
    assert word in gap["why"] + gap["fix"], gap
    assert "canary" not in json.dumps(report)
    assert took_s - start_up_s < SOON_S


@pytest.fixture(scope="module")
def rows(double) -> dict[tuple[str, str, int], tuple[int, int]]:
    """What a broker of today says of the very same groups."""
    _, report = asked("--bootstrap-servers", double.bootstrap_servers)
    return read(report)


def read(report: dict[str, Any]) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Return committed offset and end by group, topic and partition."""
    return {
        (row["group"], row["topic"], row["partition"]): (row["committed_offset"], row["log_end_offset"])
        for row in report["facts"]["partitions"]
    }


@pytest.mark.parametrize("release", ["1.0", "2.4", "2.8", "3.0", "3.7"])
def test_an_old_release_tells_the_same(rows, release):
    with kafka_double(*_SMALL, "--release", release) as old:
        code, report = asked("--bootstrap-servers", old.bootstrap_servers)
        counted = old.count()
    assert read(report) == rows
    assert code in (1, 2), "the lag is found"
    assert not [name for name in counted.names if name.startswith("refused")], "only what it speaks is sent"
    assert not {"ConsumerGroupDescribe", "ShareGroupDescribe", "DescribeShareGroupOffsets"} & counted.names
    fetches = {by_name["OffsetFetch"] for by_name in counted.requests.values()}
    assert fetches == ({4} if release < "3" else {1}), "one for each of its groups before 3.0, then one for all"


def test_a_broker_that_does_not_tell_group_types_is_read(rows):
    with kafka_double(*_SMALL, "--at-most", "ListGroups=4") as old:
        _, report = asked("--bootstrap-servers", old.bootstrap_servers)
    assert read(report) == rows
    assert {row["state"] for row in report["facts"]["partitions"]} == {"Stable", "Empty"}


def test_one_request_for_each_group_does_not_wait_for_the_last_answer():
    groups, rtt_s = 240, 0.1
    shape = ("--brokers", "1", "--groups", str(groups), "--topics", "2", "--partitions", "2", "--commits", "2")
    with kafka_double(*shape, "--release", "2.8", "--latency-ms", str(rtt_s * 1000)) as old:
        started = time.monotonic()
        _, report = asked("--bootstrap-servers", old.bootstrap_servers, "--deadline", "60")
        took_s = time.monotonic() - started
        assert old.count().requests["1"]["OffsetFetch"] == groups
    assert len(read(report)) == groups * 2
    assert took_s < groups * rtt_s / 2


WITHOUT = {
    "ListGroups": ({"groups"}, UNKNOWN),
    "OffsetFetch": ({"commits"}, UNKNOWN),
    "ListOffsets": ({"log_ends"}, UNKNOWN),
    "DescribeGroups": ({"members"}, None),
    "Metadata": ({"*"}, NO_TARGET),
}


@pytest.mark.parametrize(("api", "lost"), WITHOUT.items(), ids=WITHOUT.keys())
def test_an_api_that_the_broker_does_not_speak_is_a_gap_and_no_crash(rows, api, lost):
    facts, code = lost
    with kafka_double(*_SMALL, "--at-most", f"{api}=-1") as poor:
        ended, report = asked("--bootstrap-servers", poor.bootstrap_servers)
    assert {gap["fact"] for gap in report["gaps"]} >= facts
    assert any(api in gap["why"] for gap in report["gaps"]), report["gaps"]
    assert ended == code or (code is None and read(report) == rows)


@pytest.mark.parametrize("api", ["Fetch", "DescribeConfigs", "DescribeProducers", "ConsumerGroupDescribe"])
def test_an_api_for_more_than_lag_in_records_may_be_missing(rows, api):
    with kafka_double(*_SMALL, "--at-most", f"{api}=-1") as poor:
        _, report = asked("--bootstrap-servers", poor.bootstrap_servers)
    assert read(report) == rows


def test_a_broker_that_has_dropped_what_diag_speaks_is_not_called_old():
    with kafka_double(*_SMALL, "--at-least", "OffsetFetch=10") as newer:
        code, report = asked("--bootstrap-servers", newer.bootstrap_servers)
    assert code == UNKNOWN
    whys = [gap["why"] for gap in report["gaps"] if gap["fact"] == "commits"]
    assert whys
    assert not [why for why in whys if "too old" in why]


@pytest.mark.parametrize("release", ["0.9", "0.10.0"])
def test_an_ancient_broker_is_unknown_and_no_crash(release):
    with kafka_double(*_SMALL, "--release", release) as ancient:
        code, report = asked("--bootstrap-servers", ancient.bootstrap_servers)
    assert code in (UNKNOWN, NO_TARGET)
    assert report["gaps"]
