"""The lab's Prometheus: a past from the start, a past for a while, targets, TLS and users."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import DiagError
from diag.lab import process, services
from diag.lab.openmetrics import Sample, exposition
from diag.lab.prometheus import recorded

if TYPE_CHECKING:
    from diag.lab.servers import PrometheusServer
    from tests.conftest import StartPrometheus

_SOON_S = 20.0


def _answer(server: PrometheusServer, query: str) -> list[Any]:
    url = f"{server.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=_SOON_S) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def _samples(metric: str, count: int, **labels: str) -> list[Sample]:
    now = time.time()
    return [Sample(metric, labels, round(now - 15 * (count - number), 3), 10.0 * number) for number in range(count)]


def test_a_server_starts_with_a_past(private_prometheus: StartPrometheus) -> None:
    past = [*_samples("hits_total", 1_440, instance="a:1"), *_samples("commits", 20, db='q"\\\n')]
    server = private_prometheus(history=past)
    (hits,) = _answer(server, "hits_total[7h]")
    assert [(float(at_s), float(total)) for at_s, total in hits["values"]] == [
        (one.at_s, one.total) for one in past[:1_440]
    ]
    (commits,) = _answer(server, "commits[7h]")
    assert commits["metric"]["db"] == 'q"\\\n'
    assert len(commits["values"]) == 20


def test_a_running_server_has_a_past_for_a_while(prometheus: PrometheusServer) -> None:
    query = "lab_hits_total[25h]"
    for count in (3, 5_760, 5):  # a second past is not hidden by the first one's removal
        past = _samples("lab_hits_total", count, instance="a:1")
        with recorded(prometheus, past):
            (series,) = _answer(prometheus, query)
            assert [float(total) for _, total in series["values"]] == [one.total for one in past]
        assert _answer(prometheus, query) == []


def test_it_scrapes_what_it_is_told_to(private_prometheus: StartPrometheus, prometheus: PrometheusServer) -> None:
    server = private_prometheus(scrapes=[f"127.0.0.1:{prometheus.port}"])
    assert process.wait_until(lambda: bool(_answer(server, "up == 1")), _SOON_S)


def test_a_prefix_is_part_of_its_address(private_prometheus: StartPrometheus) -> None:
    server = private_prometheus(prefix="/of/the/team")
    assert server.url.endswith("/of/the/team")
    assert _answer(server, "vector(1)")[0]["value"][1] == "1"


def test_a_wrong_setting_is_told_in_the_servers_own_words(private_prometheus: StartPrometheus) -> None:
    with pytest.raises(DiagError, match=r"Prometheus ended at once: .*no_such"):
        private_prometheus(web="no_such_setting: 1")


def test_it_stops_in_order_and_leaves_nothing(private_prometheus: StartPrometheus) -> None:
    server = private_prometheus()
    services.pause(server)
    assert services.is_running(server)
    services.resume(server)
    services.stop(server)
    assert not services.is_running(server)


NAMES = st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,9}", re.ASCII), fullmatch=True).filter(lambda name: name != "le")


@given(st.dictionaries(NAMES, st.text(max_size=9).filter(lambda text: "\r" not in text), max_size=3))
def test_any_label_value_is_text_that_promtool_could_read(labels: dict[str, str]) -> None:
    text = exposition([Sample("a_total", labels, 1.5, 2.0)])
    assert text.endswith("# EOF\n")
    assert text.count("\n") == 3


def test_promtool_takes_what_is_written(prometheus: PrometheusServer, tmp_path: Any) -> None:
    assert prometheus.pid
    file = tmp_path / "past.txt"
    file.write_text(exposition([*_samples("b_total", 3, z="1"), *_samples("a", 2), *_samples("b_total", 3, z="0")]))
    tool = shutil.which("promtool") or "promtool"
    words = [tool, "tsdb", "create-blocks-from", "openmetrics", str(file), str(tmp_path / "blocks")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
