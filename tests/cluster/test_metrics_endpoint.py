"""What Prometheus gets of an app, read back with Prometheus' own parser; and what strangers get, and cost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from regrow.actors import agent
from regrow.cluster import metrics_endpoint
from regrow.cluster.app import App
from regrow.cluster.config import MetricsSettings, Settings
from regrow.cluster.errors import AppNotRunning, ConfigError, PortInUse
from regrow.cluster.metrics import AppMetrics, CommitTimes, Counted, HostMetrics, ModelCounts
from regrow.cluster.metrics_endpoint import CONNECTIONS_LIMIT, REQUEST_LIMIT_BYTES, MetricsEndpoint
from regrow.cluster.prometheus_text import CONTENT_TYPE, GONE_SERVED_S, text_of
from regrow.runtime.errors import WorldBroke
from regrow.runtime.metrics import COMMIT_BOUNDS_S

WISE = ModelCounts(
    model="wise", tier="large", calls=3, failed=1, input_tokens=70, output_tokens=30, cost_usd=0.000_000_125
)
COMMITS = CommitTimes(counts=(2, 1, *(0,) * (len(COMMIT_BOUNDS_S) - 2), 1), sum_s=7.5)
BUSY = HostMetrics(
    host="desk.1",
    pid=7,
    node="here",
    agents=4,
    mailbox_depth=9,
    loop_lag_s=0.25,
    counted=Counted(
        turns=100,
        messages=101,
        restarts=(("crashed", 2), ("killed", 1)),
        dead_letters=(("expired", 5),),
        tool_calls=(("failed", 1), ("ok", 6)),
        guards=(("CausalLoop", 3),),
        spans_dropped=(("otlp_proto_http: ExportFailed", 8),),
        models=(WISE,),
        commits=COMMITS,
    ),
)


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str, name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def test_every_count_is_read_back_with_its_labels() -> None:
    text = text_of(AppMetrics(hosts=(BUSY,)), "desk")

    here = {"app": "desk", "host": "desk.1"}
    assert values(text, "regrow_turns_total", **here) == [100]
    assert values(text, "regrow_messages_total", **here) == [101]
    assert values(text, "regrow_restarts_total", reason="crashed", **here) == [2]
    assert values(text, "regrow_dead_letters_total", reason="expired", **here) == [5]
    assert values(text, "regrow_tool_calls_total", outcome="ok", **here) == [6]
    assert values(text, "regrow_guards_total", guard="CausalLoop", **here) == [3]
    assert values(text, "regrow_spans_dropped_total", exporter="otlp_proto_http", reason="ExportFailed", **here) == [8]
    assert values(text, "regrow_model_calls_total", model="wise", tier="large", outcome="failed", **here) == [1]
    assert values(text, "regrow_model_calls_total", model="wise", tier="large", outcome="ok", **here) == [2]
    assert values(text, "regrow_model_tokens_total", direction="output", **here) == [30]
    assert values(text, "regrow_model_cost_usd_total", **here) == [0.000_000_125]
    assert values(text, "regrow_host_info", node="here", pid="7", **here) == [1]
    assert values(text, "regrow_mailbox_depth", **here) == [9]
    assert values(text, "regrow_agents", **here) == [4]
    assert values(text, "regrow_loop_lag_seconds", **here) == [0.25]


def test_commits_are_a_histogram_whose_buckets_add_up() -> None:
    text = text_of(AppMetrics(hosts=(BUSY,)), "desk")

    assert families(text)["regrow_commit_duration_seconds"].type == "histogram"
    buckets = values(text, "regrow_commit_duration_seconds_bucket")
    assert buckets == [2, *(3,) * (len(COMMIT_BOUNDS_S) - 1), 4]
    assert values(text, "regrow_commit_duration_seconds_bucket", le="0.0005") == [2]
    assert values(text, "regrow_commit_duration_seconds_bucket", le="+Inf") == [4]
    assert values(text, "regrow_commit_duration_seconds_count") == [4]
    assert values(text, "regrow_commit_duration_seconds_sum") == [7.5]


def test_of_a_host_that_is_gone_its_counters_stay_and_its_gauges_go() -> None:
    text = text_of(AppMetrics(hosts=(BUSY.gone(),)), "desk")

    assert values(text, "regrow_turns_total") == [100]
    assert values(text, "regrow_host_up") == [0]
    assert values(text, "regrow_mailbox_depth") == values(text, "regrow_loop_lag_seconds") == []


def test_of_a_host_that_is_long_gone_nothing_is_served() -> None:
    text = text_of(AppMetrics(hosts=(BUSY, BUSY.gone(GONE_SERVED_S + 1))), "desk")

    assert values(text, "regrow_host_up") == [1]
    assert values(text, "regrow_turns_total") == [100]


def test_what_a_label_holds_can_not_break_out_of_it() -> None:
    odd = 'a "model"\\\n} 1\nregrow_turns_total 5'
    host = HostMetrics(host="h", pid=1, node="n", counted=Counted(models=(ModelCounts(model=odd, tier="small"),)))

    text = text_of(AppMetrics(hosts=(host,)), "desk")

    assert {sample.labels["model"] for sample in families(text)["regrow_model_calls"].samples} == {odd}
    assert values(text, "regrow_turns_total") == [0]


def test_names_and_types_are_those_that_prometheus_asks_for() -> None:
    found = families(text_of(AppMetrics(hosts=(BUSY,)), "desk"))

    for name, family in found.items():
        assert name.startswith("regrow_")
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        if family.type == "counter":
            assert all(sample.name == f"{name}_total" for sample in family.samples)


# ---- over HTTP --------------------------------------------------------------------------------------


class Looks:
    """Gives metrics, and counts how often somebody looked."""

    def __init__(self) -> None:
        self.count = 0
        self.until: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> AppMetrics:
        self.count += 1
        if self.until is not None:
            await self.until.wait()
        if self.error is not None:
            raise self.error
        return AppMetrics(hosts=(BUSY,))


async def served(test: Callable[[MetricsEndpoint, Looks], Awaitable[None]], *, attached: bool = True) -> None:
    looks = Looks()
    endpoint = MetricsEndpoint("desk", looks)
    await endpoint.open("127.0.0.1", 0)
    if attached:
        endpoint.attach()
    try:
        await asyncio.wait_for(test(endpoint, looks), 30)
    finally:
        await endpoint.aclose()


async def sent(endpoint: MetricsEndpoint, request: bytes, *, ends: bool = False) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to what is sent as it is."""
    reader, writer = await asyncio.open_connection(*endpoint.address)
    with suppress(ConnectionError):
        writer.write(request)
        if ends:
            writer.write_eof()
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def test_a_scraper_gets_the_text_with_its_version() -> None:
    async def test(endpoint: MetricsEndpoint, _: Looks) -> None:
        status, headers, body = await sent(endpoint, get("/metrics?name[]=x"))

        assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
        assert body == text_of(AppMetrics(hosts=(BUSY,)), "desk")

    await served(test)


async def test_the_head_alone_has_the_length_of_the_text_and_no_body() -> None:
    async def test(endpoint: MetricsEndpoint, _: Looks) -> None:
        status, headers, body = await sent(endpoint, get("/metrics", "HEAD"))

        assert (status, body) == (200, "")
        assert int(headers["Content-Length"]) == len(text_of(AppMetrics(hosts=(BUSY,)), "desk"))

    await served(test)


@pytest.mark.parametrize(
    ("request_sent", "status"),
    [
        (get("/"), 404),
        (get("/metrics/../etc/passwd"), 404),
        (get("/metrics", "POST"), 405),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /metrics SPDY/3\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * REQUEST_LIMIT_BYTES) + b"\r\n\r\n", 431),
        (b"GET /metr", 400),
    ],
)
async def test_what_is_no_scrape_is_refused_and_costs_no_look(request_sent: bytes, status: int) -> None:
    async def test(endpoint: MetricsEndpoint, looks: Looks) -> None:
        found, _, body = await sent(endpoint, request_sent, ends=True)

        assert found == status
        assert body
        assert looks.count == 0

    await served(test)


async def test_many_who_ask_at_once_cost_one_look_and_those_beyond_the_bound_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_endpoint, "FRESH_S", 60.0)  # a second may go by before the last one asks

    async def test(endpoint: MetricsEndpoint, looks: Looks) -> None:
        looks.until = asyncio.Event()
        asked = [asyncio.create_task(sent(endpoint, get("/metrics"))) for _ in range(CONNECTIONS_LIMIT + 4)]
        refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while len(refused) < 4:
            more, _ = await asyncio.wait(set(asked) - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= more
        looks.until.set()
        answers = await asyncio.gather(*asked)
        again = await sent(endpoint, get("/metrics"))

        assert sorted(status for status, _, _ in answers) == [200] * CONNECTIONS_LIMIT + [503] * 4
        assert again[0] == 200
        assert looks.count == 1

    await served(test)


async def test_a_client_that_says_nothing_is_let_go_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "CONNECTION_LIMIT_S", 0.05)

    async def test(endpoint: MetricsEndpoint, _: Looks) -> None:
        reader, writer = await asyncio.open_connection(*endpoint.address)
        writer.write(b"GET /metrics HTTP/1.1\r\n")

        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    await served(test)


async def test_while_the_app_starts_or_can_not_answer_a_scraper_is_told_so() -> None:
    async def starting(endpoint: MetricsEndpoint, looks: Looks) -> None:
        status, _, body = await sent(endpoint, get("/metrics"))
        assert (status, looks.count) == (503, 0)
        assert "still starting" in body

    async def ended(endpoint: MetricsEndpoint, looks: Looks) -> None:
        looks.error = AppNotRunning("desk")
        status, _, body = await sent(endpoint, get("/metrics"))
        assert status == 503
        assert "desk" in body

    await served(starting, attached=False)
    await served(ended)


async def test_hosts_that_do_not_answer_cost_a_scraper_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "LOOK_LIMIT_S", 0.05)

    async def test(endpoint: MetricsEndpoint, looks: Looks) -> None:
        looks.until = asyncio.Event()

        status, _, body = await sent(endpoint, get("/metrics"))

        assert status == 503
        assert "does not answer" in body

    await served(test)


async def test_at_its_end_connections_are_closed_and_nothing_listens() -> None:
    looks = Looks()
    looks.until = asyncio.Event()
    endpoint = MetricsEndpoint("desk", looks)
    await endpoint.open("127.0.0.1", 0)
    endpoint.attach()
    reader, writer = await asyncio.open_connection(*endpoint.address)
    writer.write(get("/metrics"))
    await writer.drain()

    await endpoint.aclose()
    await endpoint.aclose()

    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*endpoint.address)


# ---- of an app --------------------------------------------------------------------------------------


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


def settings(tmp_path: Path, address: str) -> Settings:
    return Settings(data_dir=tmp_path, metrics=MetricsSettings(address=address))


async def test_an_app_serves_its_metrics_where_the_settings_say_and_no_longer_than_it_runs(tmp_path: Path) -> None:
    async with App("hello", greet).start(settings=settings(tmp_path, "0")) as running:
        assert running.endpoint is not None
        address = running.endpoint.address
        await running.ref(greet).ask(greet.request("world"))

        status, _, body = await sent(running.endpoint, get("/metrics"))

    assert (address[0], status) == ("127.0.0.1", 200)
    assert values(body, "regrow_turns_total", app="hello", host="inline") == [1]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_nothing_is_served_unless_an_address_is_set(tmp_path: Path) -> None:
    async with App("hello", greet).start(settings=Settings(data_dir=tmp_path)) as running:
        assert running.endpoint is None


async def test_a_port_that_is_taken_is_told_and_the_app_does_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortInUse, match=f"port {port} is taken, so the endpoint of metrics"):
            await App("hello", greet).start(settings=settings(tmp_path, f"127.0.0.1:{port}"))


async def test_an_address_of_another_machine_is_told_and_the_app_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(WorldBroke, match=r"metrics can not be served at 192\.0\.2\.1:9464"):
        await App("hello", greet).start(settings=settings(tmp_path, "192.0.2.1:9464"))


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_an_address_is_a_port_or_host_and_port_and_of_this_machine_unless_told_otherwise(
    address: str, place: tuple[str, int]
) -> None:
    assert MetricsSettings(address=address).place == place


@pytest.mark.parametrize("address", ["", "localhost", "::1:9464", "http://localhost:9464", "localhost:http", "a b:1"])
def test_what_is_no_address_is_told_with_what_to_write(address: str, tmp_path: Path) -> None:
    config = tmp_path / "regrow.toml"
    config.write_text(f'[metrics]\naddress = "{address}"\n', encoding="utf-8")

    with pytest.raises(ConfigError, match=r"metrics\.address can not be used: .* such as 127\.0\.0\.1:9464"):
        Settings.load(config)


def test_a_port_that_does_not_exist_is_told(tmp_path: Path) -> None:
    config = tmp_path / "regrow.toml"
    config.write_text('[metrics]\naddress = "localhost:99999"\n', encoding="utf-8")

    with pytest.raises(ConfigError, match="has no port that exists"):
        Settings.load(config)


def test_a_variable_sets_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_METRICS__ADDRESS", "127.0.0.1:9464")

    assert Settings.load().metrics.place == ("127.0.0.1", 9464)
