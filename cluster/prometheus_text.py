"""The metrics of an app as Prometheus reads them: its text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/. Each series has the app and the host as labels. The
counters of a host that is gone stay as they were for GONE_SERVED_S, so that `sum(increase(…))` over hosts is right;
what hosts before them did is left out, since a series that took it over would seem to have done it anew. So there are
series of the hosts that live, and of the few that have ended a while ago, however long an app runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from regrow.cluster.metrics import AppMetrics, HostMetrics
from regrow.runtime.metrics import COMMIT_BOUNDS_S

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GONE_SERVED_S = 900.0
"""So long after its end a host is served: several times what may lie between two looks of a scraper."""

Labels = tuple[tuple[str, str], ...]
Samples = Iterable[tuple[str, Labels, float]]
"""The end of a name, labels beside app and host, and a value."""
Read = Callable[[HostMetrics], Samples]


def text_of(metrics: AppMetrics, app: str) -> str:
    """All metrics as text; one that nothing has been counted for is told without a value."""
    hosts = [host for host in metrics.hosts if host.alive or host.gone_s <= GONE_SERVED_S]
    lines: list[str] = []
    for name, kind, told, read in _FAMILIES:
        name = f"regrow_{name}"
        lines += [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
        for host in hosts:
            of_host = (("app", app), ("host", host.host))
            lines += [f"{name}{end}{_labels(of_host + more)} {_number(value)}" for end, more, value in read(host)]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(value) if value != int(value) else str(int(value))


def _one(value: Callable[[HostMetrics], float]) -> Read:
    return lambda host: [("", (), value(host))]


def _now(value: Callable[[HostMetrics], float]) -> Read:
    """Of a host that is gone nothing is now."""
    return lambda host: [("", (), value(host))] if host.alive else []


def _by(label: str, counts: Callable[[HostMetrics], tuple[tuple[str, int], ...]]) -> Read:
    return lambda host: [("", ((label, value),), count) for value, count in counts(host)]


def _spans_dropped(host: HostMetrics) -> Samples:
    for dropped, count in host.counted.spans_dropped:
        exporter, _, reason = dropped.partition(": ")
        yield "", (("exporter", exporter), ("reason", reason)), count


def _model_calls(host: HostMetrics) -> Samples:
    for model in host.counted.models:
        key = (("model", model.model), ("tier", model.tier))
        yield "", (*key, ("outcome", "ok")), model.calls - model.failed
        yield "", (*key, ("outcome", "failed")), model.failed


def _model_tokens(host: HostMetrics) -> Samples:
    for model in host.counted.models:
        key = (("model", model.model), ("tier", model.tier))
        yield "", (*key, ("direction", "input")), model.input_tokens
        yield "", (*key, ("direction", "output")), model.output_tokens


def _model_cost(host: HostMetrics) -> Samples:
    for model in host.counted.models:
        yield "", (("model", model.model), ("tier", model.tier)), model.cost_usd


def _commits(host: HostMetrics) -> Iterator[tuple[str, Labels, float]]:
    commits = host.counted.commits
    if not commits.count:
        return
    edges = [f"{bound:g}" for bound in COMMIT_BOUNDS_S]
    for edge, upto in zip([*edges, "+Inf"], accumulate(commits.counts), strict=True):
        yield "_bucket", (("le", edge),), upto
    yield "_sum", (), commits.sum_s
    yield "_count", (), commits.count


def _info(host: HostMetrics) -> Samples:
    return [("", (("node", host.node), ("pid", str(host.pid))), 1)]


_FAMILIES: tuple[tuple[str, str, str, Read], ...] = (
    ("host_info", "gauge", "The processes of the app, with node and pid; also those that are gone.", _info),
    (
        "host_up",
        "gauge",
        "Whether the process is there; 0 for a quarter of an hour after its end.",
        _one(lambda host: host.alive),
    ),
    ("agents", "gauge", "Agents that run in the process.", _now(lambda host: host.agents)),
    ("mailbox_depth", "gauge", "Messages that wait in mailboxes.", _now(lambda host: host.mailbox_depth)),
    ("loop_lag_seconds", "gauge", "How late the event loop comes to what is due.", _now(lambda host: host.loop_lag_s)),
    ("turns_total", "counter", "Messages that a handler was given.", _one(lambda host: host.counted.turns)),
    ("messages_total", "counter", "Messages taken out of mailboxes.", _one(lambda host: host.counted.messages)),
    (
        "restarts_total",
        "counter",
        "Children started again, by how their life before ended; counted where their supervisor is.",
        _by("reason", lambda host: host.counted.restarts),
    ),
    (
        "dead_letters_total",
        "counter",
        "Messages that nobody handled.",
        _by("reason", lambda host: host.counted.dead_letters),
    ),
    (
        "tool_calls_total",
        "counter",
        "Calls of tools, by how they ended.",
        _by("outcome", lambda host: host.counted.tool_calls),
    ),
    (
        "guards_total",
        "counter",
        "What guards have found, by the class of the error.",
        _by("guard", lambda host: host.counted.guards),
    ),
    (
        "spans_dropped_total",
        "counter",
        "Spans that their store or an exporter did not take, by why.",
        _spans_dropped,
    ),
    ("model_calls_total", "counter", "Calls of models.", _model_calls),
    ("model_tokens_total", "counter", "Tokens that went into models and came out.", _model_tokens),
    (
        "model_cost_usd_total",
        "counter",
        "What calls of models cost, in US dollars, where prices are known.",
        _model_cost,
    ),
    (
        "commit_duration_seconds",
        "histogram",
        "How long the journal took to take the turn of a durable agent.",
        _commits,
    ),
)
