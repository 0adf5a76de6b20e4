"""A real Prometheus server scrapes a real program; every expression of the dashboard is run in it (issue 4).

The server is Debian's package ``prometheus``, on loopback, with a directory and a port of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from pace import patience
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import threadpool9_prometheus

HERE = Path(__file__).resolve().parents[1]
LIMIT = patience(60.0)
pytestmark = [pytest.mark.once, pytest.mark.xdist_group("prometheus")]

#: Loopback is reached without a proxy, whatever the environment says.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> str:
    """The body of a GET."""
    with OPENER.open(url, timeout=10) as response:
        body: bytes = response.read()
    return body.decode()


def until(what: str, attempt: Callable[[], Any]) -> Any:
    """Poll until `attempt` gives something: the other process cannot tell us."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            if result := attempt():
                return result
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def expressions() -> list[tuple[str, str]]:
    """Title and expression of each target of the dashboard."""
    panels = json.loads(threadpool9_prometheus.dashboard())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]


def filled(expression: str) -> str:
    """An expression as Grafana would send it."""
    text = re.sub(r"\$(job|instance|queue)\b", ".*", expression)
    return text.replace("$__rate_interval", "30s").replace("$__range", "5m")


NAME = re.compile(r"\b(?:threadpool9|task9|workqueue9)_\w+")


def exposed() -> set[str]:
    """The names of all families and of their samples, as a registry without anything to show declares them."""
    registry = CollectorRegistry()
    collector = threadpool9_prometheus.register(registry)
    try:
        text = prometheus_client.generate_latest(registry).decode()
    finally:
        threadpool9_prometheus.unregister(collector, registry)
    names = set()
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def test_the_dashboard_names_only_metrics_that_exist() -> None:
    """Each expression, and the queries of the variables; and no family is left out of the dashboard."""
    board = json.loads(threadpool9_prometheus.dashboard())
    queries = [text for _, text in expressions()]
    queries += [item["query"]["query"] for item in board["templating"]["list"] if isinstance(item["query"], dict)]
    used = {name for text in queries for name in NAME.findall(text)}
    names = exposed()
    assert used
    assert used <= names, used - names
    families = {name.removesuffix("_bucket") for name in names if not name.endswith(("_sum", "_count"))}
    not_shown = families - {name.removesuffix("_bucket") for name in used}
    # A panel shows each of these by pool, or what is scheduled and completed instead.
    assert {name for name in not_shown if not name.startswith("threadpool9_process_")} == {
        "threadpool9_jobs_started_total",
        "workqueue9_works_started_total",
    }


def test_the_dashboard_is_well_formed() -> None:
    """Ids are unique, panels do not overlap, each has a title, a description and a data source that is asked for."""
    board = json.loads(threadpool9_prometheus.dashboard())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        assert panel["title"]
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not mine & cells, panel["title"]
        cells |= mine
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
    out = subprocess.run(
        [sys.executable, "-m", "threadpool9_prometheus"], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(out.stdout) == board


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    """The example, busy; yields HOST:PORT."""
    command = [sys.executable, str(HERE / "example" / "busy.py"), "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the example did not start"
            yield urllib.parse.urlsplit(address).netloc
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus server that scrapes the program every second; yields its URL."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("there is no Prometheus server here (Debian package prometheus)")
    directory = tmp_path_factory.mktemp("prometheus")
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: section9, static_configs: [{{targets: ['{program}']}}]}}\n"
    )
    with socket.socket() as probe:  # free a moment before; if somebody takes it the server says so and ends
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    log = directory / "log"
    with open(log, "w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                return "Ready" in fetch(f"{url}/-/ready")

            until("the server is ready", ready)
            yield url
        finally:
            process.terminate()


def query(server: str, expression: str) -> list[Any]:
    """The result of an instant query through the HTTP API."""
    text = fetch(f"{server}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    answer = json.loads(text)
    assert answer["status"] == "success", text
    result: list[Any] = answer["data"]["result"]
    return result


def test_a_real_scrape(server: str, program: str) -> None:
    """The target is up, nothing was refused, and the series say what the program does."""

    def up() -> list[Any]:
        return [sample for sample in query(server, "up") if sample["value"][1] == "1"]

    (target,) = until("the target is up", up)
    assert target["metric"]["instance"] == program
    state = json.loads(fetch(f"{server}/api/v1/targets"))["data"]["activeTargets"][0]
    assert state["lastError"] == ""
    until("works are completed", lambda: query(server, 'workqueue9_works_completed_total{queue="mail"} > 0'))
    until("tasks are timed", lambda: query(server, 'rate(task9_task_run_seconds_count{queue="chores"}[20s]) > 1'))
    metadata = json.loads(fetch(f"{server}/api/v1/metadata"))["data"]
    assert metadata["threadpool9_job_wait_seconds"][0]["type"] == "histogram"
    assert metadata["threadpool9_threads"][0]["type"] == "gauge"


def test_every_expression_of_the_dashboard_has_data(server: str) -> None:
    """Run in the real server, each gives at least one series; a quantile of waiting time is a number of seconds."""
    for title, expression in expressions():
        until(f"{title}: {expression}", partial(query, server, filled(expression)))

    def quantiles() -> list[float]:
        text = 'histogram_quantile(0.95, sum by (le) (rate(workqueue9_work_wait_seconds_bucket{queue="mail"}[30s])))'
        return [v for sample in query(server, text) if 0 < (v := float(sample["value"][1])) < 60]

    assert until("a quantile", quantiles)
