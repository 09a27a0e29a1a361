"""One host that does not answer must not blind the look at those that do."""

from __future__ import annotations

import socket

import pytest
from running import diagnosed


@pytest.fixture
def dead_port():
    """A port whose queue of connections is full: a further one waits for an answer that never comes."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        yield full.getsockname()[1]
        for one in waiting:
            one.close()


def test_the_next_bootstrap_server_is_tried(kafka, dead_port):
    servers = f"127.0.0.1:{dead_port},{kafka.bootstrap_servers}"
    report = diagnosed("kafka-lag", "--bootstrap-servers", servers, "--samples", "1", "--deadline", "6")
    assert report["targets"], report["gaps"]


def test_the_next_database_host_is_tried(postgres, dead_port):
    dsn = f"host=127.0.0.1,127.0.0.1 port={dead_port},{postgres.port} user=postgres dbname=postgres"
    report = diagnosed("pg-locks", "--dsn", dsn, "--deadline", "6")
    assert report["targets"], report["gaps"]


def test_a_printed_diag_command_asks_the_same_server(lab_servers):
    from diag.lab.kafka_lag import dead_group

    brokers = lab_servers.kafka.bootstrap_servers
    with dead_group.broken(lab_servers):
        report = diagnosed("kafka-lag", "--bootstrap-servers", brokers, "--samples", "1")
    assert f"--bootstrap-servers={brokers}" in report["findings"][0]["steps"][0]["command"]
