"""Prometheus as a source, on a real server: which series are found, what is asked, who is let in."""

from __future__ import annotations

import ssl
import time

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.config import NamedSeries, PrometheusTarget
from diag.errors import Denied, Rung, TooSlow, Unreachable
from diag.lab import services
from diag.lab.openmetrics import Sample
from diag.lab.prometheus import recorded
from diag.snapshots.base import Scope
from diag.sources import prometheus as source
from diag.sources.prometheus import ranges
from diag.sources.prometheus.connection import instant, raw
from diag.sources.prometheus.promql import selector
from diag.wire.probe import Deadline, Probe

HITS, MISSES = "redis_keyspace_hits_total", "redis_keyspace_misses_total"
COMMITS, ROLLBACKS = "pg_stat_database_xact_commit", "pg_stat_database_xact_rollback"


def look(server, *, history_s=0.0, deadline_s=20.0, require_tls=False, **target):
    probe = Probe(Deadline(deadline_s), client_name="diag/test", require_tls=require_tls)
    settled = {"url": server if isinstance(server, str) else server.url} | target
    with probe, source.connect(PrometheusTarget(**settled), probe) as session:
        return source.cache_history(session, Scope(history_s=history_s))


def counted(metric, *totals, step_s=15, ago_s=0.0, **labels):
    """A counter whose last scrape was `ago_s` before this second."""
    last = int(time.time()) - ago_s
    return [
        Sample(metric, labels or {"instance": "cache-1:9121"}, last - step_s * (len(totals) - 1 - number), float(total))
        for number, total in enumerate(totals)
    ]


def points(samples):
    return tuple(one.at_s for one in samples), tuple(one.total for one in samples)


def test_the_exporters_series_are_found_as_they_were_scraped(prometheus):
    hits, misses = counted(HITS, 5, 105, 205), counted(MISSES, 0, 1, 200)
    calls = counted("pg_stat_statements_calls_total", 7, 8, 9, ago_s=4, instance="db-1:9187")
    with recorded(prometheus, [*hits, *misses, *calls, *counted(COMMITS, 1, 2, datname="shop")]):
        seen = look(prometheus)
    assert (seen.span_s, seen.gaps, seen.warnings) == (21_600, (), ())
    for found, wanted in ((seen.hits, hits), (seen.misses, misses), (seen.queries, calls)):
        assert (found.metric.raw, found.at_s, found.totals) == (wanted[0].metric, *points(wanted))
    assert abs(seen.observed_at.timestamp() - time.time()) < 5
    assert (seen.target.kind, seen.target.local, seen.target.encrypted) == ("prometheus", True, False)
    assert seen.target.address == f"127.0.0.1:{prometheus.port}"


def test_transactions_stand_in_where_statements_are_not_counted(prometheus):
    databases = [
        counted(metric, *totals, datname=name)
        for name in ("shop", "stock")
        for metric, totals in ((COMMITS, (10, 30, 60)), (ROLLBACKS, (1, 1, 2)))
    ]
    with recorded(prometheus, [one for series in databases for one in series]):
        seen = look(prometheus)
    assert seen.queries.metric.raw == f"{COMMITS} + {ROLLBACKS}"
    assert seen.queries.totals == (22, 62, 124)
    assert [gap.fact for gap in seen.gaps] == ["hits", "misses"]


def test_what_is_not_there_is_a_gap_that_names_it_and_the_setting(prometheus):
    seen = look(prometheus)
    assert (seen.hits, seen.misses, seen.queries) == (None, None, None)
    by_fact = {gap.fact: gap for gap in seen.gaps}
    assert list(by_fact) == ["hits", "misses", "queries"]
    assert by_fact["hits"].why.raw == f"no sample of the last 6 h 00 min of {HITS}"
    assert COMMITS in by_fact["queries"].why.raw
    assert by_fact["queries"].fix.raw == "under [[contexts.NAME.prometheus]]: series.queries = 'NAME_OF_THE_COUNTER'"


def test_a_context_names_its_own_series(prometheus):
    mine = counted("shop_cache_hits", 1, 2, 3, cache="pages", instance="a")
    other = counted("shop_cache_hits", 10, 20, 30, cache="users", instance="b")
    named = NamedSeries(hits='shop_cache_hits{cache="pages"}', misses="shop_cache_misses", queries="up[")
    with recorded(prometheus, [*mine, *other, *counted(HITS, 7, 8)]):
        seen = look(prometheus, series=named)
        both = look(prometheus, series=NamedSeries(hits="shop_cache_hits"))
    assert (seen.hits.metric.raw, seen.hits.totals) == (named.hits, (1, 2, 3))
    assert (seen.misses, seen.queries) == (None, None)
    gaps = {gap.fact: gap for gap in seen.gaps}
    assert gaps["misses"].why.raw.endswith("of shop_cache_misses")
    assert "refused (400)" in gaps["queries"].why.raw
    assert gaps["queries"].fix.raw == "correct the series named in the context"
    assert both.hits.totals == (11, 22, 33)
    assert "instances" not in {gap.fact for gap in both.gaps}, "that is what the context asked for"


def test_several_servers_added_up_are_said_to_be(prometheus):
    a, b = counted(HITS, 5, 10, 20, instance='a:"1'), counted(HITS, 100, 3, 9, instance="b:1")
    with recorded(prometheus, [*a, *b]):
        seen = look(prometheus)
        (gap,) = (gap for gap in seen.gaps if gap.fact == "instances")
        alone = look(prometheus, series=NamedSeries(hits=gap.fix.raw.partition("series.hits = '")[2][:-1]))
    assert seen.hits.totals == (105, 113, 129), "the restart of b is no fall"
    assert "2 instances" in gap.why.raw
    assert alone.hits.totals == (5, 10, 20)


def test_a_restart_is_kept_where_one_server_is_asked(prometheus):
    with recorded(prometheus, counted(HITS, 500, 510, 4, 9)):
        assert look(prometheus).hits.totals == (500, 510, 4, 9)


def test_only_the_asked_past_is_read(prometheus):
    with recorded(prometheus, counted(HITS, *range(400), step_s=60)):
        assert len(look(prometheus).hits.at_s) == 360
        assert len(look(prometheus, history_s=3_600).hits.at_s) == 60
        assert len(look(prometheus, history_s=86_400).hits.at_s) == 400


def test_many_pieces_lose_nothing_and_double_nothing(prometheus, monkeypatch):
    hits = counted(HITS, *(number * 3 for number in range(1_430)))  # on whole seconds, as the edges are
    with recorded(prometheus, hits):
        whole = look(prometheus)
        monkeypatch.setattr(ranges, "MOST_POINTS", 50)
        pieces = look(prometheus)
    assert (whole.hits.at_s, whole.hits.totals) == points(hits)
    assert pieces.hits == whole.hits
    assert whole.hits.scrape_s == 15


def test_a_selector_with_a_label_value_reads_back_as_that_value(prometheus):
    probe = Probe(Deadline(60))
    with probe, source.connect(PrometheusTarget(url=prometheus.url), probe) as session:

        @given(st.text(min_size=1).filter(lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text)))
        @settings(deadline=None, max_examples=200)
        def reads_back(value):
            query = f"absent({selector('nobody_counts_this', {'label': value})})"
            (absent,) = instant(session, query, int(time.time()))
            assert absent.metric == {"label": value}

        reads_back()
        assert raw(session, selector("nobody", {"a": "\udcff\udc80"}), int(time.time()), 60) == []


def test_a_long_query_goes_in_the_body(prometheus):
    long = "|".join(f"no_such_metric_{number}" for number in range(500))
    seen = look(prometheus, series=NamedSeries(hits=f'{{__name__=~"{long}"}}'))
    assert "no sample" in next(gap for gap in seen.gaps if gap.fact == "hits").why.raw


def test_a_prefix_is_kept(private_prometheus):
    server = private_prometheus(prefix="/of/the/team", history=counted(HITS, 1, 2))
    seen = look(server)
    assert seen.hits.totals == (1, 2)
    assert seen.target.address.endswith("/of/the/team")
    with pytest.raises(Unreachable, match="not Prometheus' API"):
        look(server.url.removesuffix("/of/the/team"))


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """The right authority, a stranger, and a client certificate of the right one, as files."""
    folder = tmp_path_factory.mktemp("tls")
    ours, stranger = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ours.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "oncall@example.org")):
        made = ours.issue_cert(identity)
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        for number, blob in enumerate(made.cert_chain_pems):
            blob.write_to_path(folder / f"{name}.pem", append=bool(number))
    return folder


PASSWORD = "Zq9 right: ü"
HASHED = "$2b$04$abcdefghijklmnopqrstuuKtPSLAMAe2uR8wVpbTCJlYWpSElX.He"


@pytest.fixture
def guarded(private_prometheus, authorities):
    """A server that speaks TLS, wants a client certificate, and knows one user."""
    web = (
        f"tls_server_config:\n  cert_file: {authorities}/server.pem\n  key_file: {authorities}/server.key\n"
        f"  client_ca_file: {authorities}/ours.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
        f"basic_auth_users:\n  oncall: '{HASHED}'\n"
    )
    return private_prometheus(web=web, history=counted(HITS, 1, 2))


def test_tls_certificates_and_users(guarded, authorities):
    tls = {
        "ca_file": f"{authorities}/ours.pem",
        "cert_file": f"{authorities}/client.pem",
        "key_file": f"{authorities}/client.key",
    }
    user = {"username": "oncall", "password": PASSWORD}
    seen = look(guarded, **tls, **user, require_tls=True)
    assert seen.hits.totals == (1, 2)
    assert (seen.target.encrypted, seen.target.verified) == (True, True)
    unverified = look(guarded, **(tls | {"ca_file": "", "tls_verify": False}), **user)
    assert (unverified.target.encrypted, unverified.target.verified) == (True, False)
    by_url = guarded.url.replace("://", "://oncall:Zq9%20right%3A%20%C3%BC@")
    assert look(by_url, **tls).hits.totals == (1, 2)
    with pytest.raises(Denied, match="401") as refused:
        look(guarded, **tls, username="oncall", password="wrong")
    assert refused.value.rung is Rung.AUTH
    with pytest.raises(Unreachable, match="certificate was not accepted") as stranger:
        look(guarded, **(tls | {"ca_file": f"{authorities}/stranger.pem"}), **user)
    assert stranger.value.rung is Rung.TLS
    with pytest.raises(Unreachable) as nameless:
        look(guarded, ca_file=tls["ca_file"], **user)
    assert nameless.value.rung in (Rung.TLS, Rung.QUERY)
    with pytest.raises(Unreachable, match="this port speaks TLS"):
        look(guarded.url.replace("https", "http"))


def test_tls_to_a_plain_port_is_told(prometheus):
    with pytest.raises(Unreachable, match="does not answer in TLS") as plain:
        look(prometheus.url.replace("http", "https"))
    assert plain.value.rung is Rung.TLS
    assert isinstance(plain.value.__cause__, ssl.SSLError)


@pytest.mark.parametrize(
    "url",
    ["", "h:9090", "//h:9090", "ftp://h", "http://", "http://h:port", "http://[::1", "http://h/x?y=1", "http://h/#graph",
     "http://h\n:1", "http://a b/", "redis://h"],
)  # fmt: skip
def test_an_address_nobody_can_use_is_told_before_anything_is_dialled(url):
    started = time.monotonic()
    with pytest.raises(Unreachable) as refused:
        look(url)
    assert refused.value.rung is Rung.RESOLVE
    assert "https://" in refused.value.fix
    assert time.monotonic() - started < 1


def test_a_web_address_of_its_page_is_told(prometheus):
    with pytest.raises(Unreachable, match="not Prometheus' API") as page:
        look(prometheus.url + "/graph")
    assert "without /graph" in page.value.fix


def test_the_environments_proxy_and_netrc_are_not_used(prometheus, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert look(prometheus).hits is None


def test_a_paused_server_is_given_up_and_read_again_when_it_goes_on(private_prometheus):
    server = private_prometheus(history=counted(HITS, 1, 2))
    services.pause(server)
    started = time.monotonic()
    try:
        with pytest.raises(TooSlow) as paused:
            look(server, deadline_s=1.0)
    finally:
        services.resume(server)
    assert 1.0 <= time.monotonic() - started <= 1.5
    assert paused.value.rung is Rung.QUERY
    assert look(server).hits.totals == (1, 2)
