"""Every figure that the benchmarks give: its key in their JSON, what it says, its goal.

The tables on the screen and docs/BENCHMARKS.md are both made from this list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. `at_least` and `at_most` are its goal; with neither it stands for information.

    `of_peer`: null where a peer with a venv of its own can not be installed, as without a network.
    """

    key: str
    says: str
    unit: str = ""
    of_peer: bool = False
    at_least: float | None = None
    at_most: float | None = None
    stretch: float | None = None

    def goal(self) -> str:
        """The goal as people read it; a dash where there is none."""
        if self.at_least is not None:
            text = f"≥ {shown(self.at_least)}{_spaced(self.unit)}"
        elif self.at_most is not None:
            text = f"≤ {shown(self.at_most)}{_spaced(self.unit)}"
        else:
            return "–"
        return text if self.stretch is None else f"{text} (stretch {shown(self.stretch)})"

    def reached(self, value: float | None) -> str:
        """Whether the goal is reached: yes, no, or a dash where there is no goal or no value."""
        if value is None or (self.at_least is None and self.at_most is None):
            return "–"
        return "**no**" if self.is_missed(value) else "yes"

    def is_missed(self, value: float | None) -> bool:
        """Whether there is a value on the wrong side of the goal."""
        if value is None:
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return not low <= value <= high

    def text(self, value: float | None) -> str:
        """The value with its unit."""
        return "not measured" if value is None else f"{shown(value)}{_spaced(self.unit)}"


MESSAGING = (
    Figure(
        key="tell_ratio", says="cross-process tells, of one raw Ray call per message", unit="×", at_least=20, stretch=40
    ),
    Figure(key="ask_pipelined_ratio", says="pipelined asks, of pipelined raw Ray calls", unit="×", at_least=10),
    Figure(key="ask_pipelined_of_xoscar", says="pipelined asks, of xoscar's", unit="×", at_least=2, of_peer=True),
    Figure(key="ask_lone_ratio", says="time of a lone ask, of a lone raw Ray call", unit="×", at_most=1.5),
    Figure(
        key="ask_inhost_ratio",
        says="in-host asks, of AutoGen-core's (each side at its best in-flight window)",
        unit="×",
        at_least=10,
        of_peer=True,
    ),
    Figure(key="ask_inhost_sequential_ratio", says="… one after the other", unit="×", of_peer=True),
    Figure(key="ask_inhost_window_ratio", says="… each side at its best window", unit="×", of_peer=True),
    Figure(key="ask_inhost_of_bare", says="sequential in-host asks, of a bare asyncio loop", unit="×", at_least=0.5),
    Figure(key="tell_per_s", says="cross-process tells", unit="/s"),
    Figure(key="raw_tell_per_s", says="raw Ray calls, one per message", unit="/s"),
    Figure(key="ask_per_s", says="pipelined asks", unit="/s"),
    Figure(key="raw_ask_per_s", says="pipelined raw Ray calls with a reply", unit="/s"),
    Figure(
        key="xoscar_ask_per_s", says="pipelined calls of an xoscar actor in another process", unit="/s", of_peer=True
    ),
    Figure(key="lone_ask_ms", says="a lone ask", unit="ms"),
    Figure(key="raw_lone_ms", says="a lone raw Ray call", unit="ms"),
    Figure(key="inhost_ask_per_s", says="in-host asks, sequential", unit="/s"),
    Figure(key="inhost_ask_window_per_s", says="in-host asks at the best window", unit="/s"),
    Figure(key="autogen_ask_per_s", says="AutoGen-core, sequential", unit="/s", of_peer=True),
    Figure(key="autogen_ask_window_per_s", says="AutoGen-core at its best window", unit="/s", of_peer=True),
    Figure(key="bare_ask_per_s", says="bare asyncio loop, sequential", unit="/s"),
)

RESTART = (
    Figure(key="regrow_ms_p50", says="SIGKILL to the first answered ask, median", unit="ms", at_most=50),
    Figure(key="regrow_ms_p99", says="the same, 99th percentile", unit="ms", at_most=500),
    Figure(key="ray_ms_p50", says="Ray's own restart (max_restarts=-1), median", unit="ms"),
    Figure(key="ratio", says="how much sooner", unit="×", at_least=20),
    Figure(key="rounds", says="kills of each side"),
)

START = (
    Figure(key="cold_inline_s", says="fresh interpreter to the hello's answer, inline", unit="s", at_most=2),
    Figure(
        key="cold_ray_over_init_s",
        says="fresh interpreter to the first answer on Ray, over ray.init()",
        unit="s",
        at_most=4,
    ),
    Figure(key="cold_ray_s", says="the same, in full", unit="s"),
    Figure(key="ray_init_s", says="fresh interpreter to the return of ray.init()", unit="s"),
    Figure(key="import_s", says="import regrow, best of five fresh interpreters", unit="s", at_most=0.3),
    Figure(key="import_app_s", says="from regrow import App, Agent, … which loads the rooms", unit="s"),
)

SUPERVISION = (
    Figure(key="start_stop_growth", says="start and stop of 10,000 children, of 10 × 1,000", unit="×", at_most=1.3),
    Figure(key="start_stop_growth_static", says="… of a Supervisor", unit="×"),
    Figure(key="start_stop_growth_dynamic", says="… of a DynamicSupervisor", unit="×"),
    Figure(key="restart_growth", says="one restart among 10,000 children, of one among 10", unit="×", at_most=2),
    Figure(key="restart_growth_static", says="… of a Supervisor", unit="×"),
    Figure(key="restart_growth_dynamic", says="… of a DynamicSupervisor", unit="×"),
    Figure(key="mass_loss_growth", says="loss of 10,000 children at once, of 10 × 1,000", unit="×", at_most=1.3),
    Figure(key="mass_loss_growth_temporary", says="… temporary ones, by crashes", unit="×"),
    Figure(key="mass_loss_growth_permanent", says="… permanent ones, by crashes, which start again", unit="×"),
    Figure(key="mass_loss_growth_backoff", says="… the same with back-off", unit="×"),
    Figure(key="mass_loss_growth_host", says="… permanent ones, with their host", unit="×"),
    Figure(key="static_loss_growth", says="the same of a Supervisor", unit="×", at_most=1.3),
    Figure(key="static_loss_growth_crashes", says="… permanent ones, by crashes, which start again", unit="×"),
    Figure(key="static_loss_growth_one_for_all", says="… all, since one crashed", unit="×"),
    Figure(key="static_loss_growth_temporary", says="… temporary ones under one_for_all, by crashes", unit="×"),
    Figure(key="static_loss_growth_significant", says="… significant ones, by crashes", unit="×"),
)

DURABLE = (
    Figure(key="turn_ratio_1", says="turns of 1 agent, of bare commits", unit="×", at_least=0.5),
    Figure(key="turn_ratio_8", says="turns of 8 agents, of bare commits pipelined alike", unit="×", at_least=0.5),
    Figure(key="turn_ratio_64", says="turns of 64 agents, of bare commits pipelined alike", unit="×", at_least=0.5),
    *(
        figure
        for how in ("always", "everysec")
        for agents in (1, 8, 64)
        for figure in (
            Figure(key=f"turn_ratio_{agents}_{how}", says=f"… of {agents}, appendfsync {how}", unit="×"),
            Figure(key=f"turns_per_s_{agents}_{how}", says=f"… turns of {agents}, appendfsync {how}", unit="/s"),
            Figure(key=f"bare_per_s_{agents}_{how}", says=f"… bare commits of {agents}, appendfsync {how}", unit="/s"),
        )
    ),
    Figure(key="ask_in_commits_p50", says="an ask of a durable agent, in bare commits, median", unit="×", at_most=2.5),
    Figure(key="ask_in_commits_p50_always", says="… appendfsync always", unit="×"),
    Figure(key="ask_in_commits_p50_everysec", says="… appendfsync everysec", unit="×"),
    Figure(key="ask_ms_p50_always", says="… its time, appendfsync always", unit="ms"),
    Figure(key="ask_ms_p50_everysec", says="… its time, appendfsync everysec", unit="ms"),
    Figure(key="recovery_ms", says="stop and start of an agent with 10,000 turns behind it", unit="ms", at_most=50),
    Figure(key="recovery_history_turns", says="… turns that its history has, the most that a setting allows"),
    Figure(
        key="activate_ms",
        says="first ask of an agent with a key, from another process, on a warm host",
        unit="ms",
        at_most=20,
    ),
    Figure(key="takeover_ms_p50", says="SIGKILL in mid-turn to the committed reply, median", unit="ms", at_most=50),
    Figure(key="takeover_ms_p99", says="the same, 99th percentile", unit="ms", at_most=500),
    Figure(key="takeovers", says="kills"),
    Figure(key="redis_bytes_per_idle_agent", says="Redis memory of an agent with one turn behind it", unit="B"),
)

AGENTS = (
    Figure(key="stream_tokens_per_s", says="a token stream between two hosts", unit="/s", at_least=20_000),
    Figure(
        key="stream_gap_ms_p99",
        says="… at 20,000 tokens a second, the gap between two, 99th percentile",
        unit="ms",
        at_most=20,
    ),
    Figure(key="stream_ratio", says="… of Ray's own streaming generator", unit="×"),
    Figure(key="raw_stream_tokens_per_s", says="Ray's own streaming generator", unit="/s"),
    Figure(key="raw_stream_gap_ms_p99", says="… the gap between two of its items, 99th percentile", unit="ms"),
    Figure(key="loop_ms_per_call", says="what the agent loop adds to a call of a tool", unit="ms", at_most=2),
    Figure(key="loop_ms_per_call_redis", says="… with its ledger in a Redis, appendfsync always", unit="ms"),
    Figure(key="bare_loop_ms_per_call", says="… the provider and the function alone", unit="ms"),
    Figure(key="waiting_1000_s", says="1,000 agents of one host that each wait 2 s on a model", unit="s", at_most=4),
)

OVERHEAD = (
    Figure(
        key="tracing_ratio",
        says="time of an ask in one process with tracing as installed, of the same without (the worse of two)",
        unit="×",
        at_most=1.25,
    ),
    Figure(key="tracing_ratio_outside", says="… asked from outside, where each ask could begin a trace", unit="×"),
    Figure(key="tracing_ratio_within", says="… asked from a turn that is recorded", unit="×"),
    Figure(
        key="tracing_ratio_remote",
        says="the same between two hosts, pipelined, asked from a turn that is recorded",
        unit="×",
        at_most=1.1,
    ),
    Figure(key="trace_view_s", says="one trace drawn, of 100,000 spans stored", unit="s", at_most=0.5),
    Figure(key="traces_list_s", says="… the latest 20 traces listed", unit="s"),
    Figure(key="store_us_per_span", says="… storing, for each span", unit="µs"),
    Figure(key="observe_first_view_s", says="the first view of a page with 10,000 agents", unit="s", at_most=1.0),
    Figure(key="observe_kb_s", says="… what it is sent in a second, 1,000 of them opened", unit="kB/s", at_most=200),
)

GUARDS = (
    Figure(key="loop_recall", says="runaways that loop and are stopped", at_least=0.95),
    Figure(key="loop_false_alarms", says="work that is stopped as a loop", at_most=0.01),
    Figure(key="retry_recall", says="runs with retries in hiding that are stopped", at_least=0.95),
    Figure(key="retry_false_alarms", says="work that is stopped for retries in hiding", at_most=0.01),
    Figure(key="loop_spent_p50", says="turns and calls of a loop before its stop, median"),
    Figure(key="loop_spent_p99", says="… 99th percentile"),
    Figure(key="retry_spent_p50", says="calls and attempts before the stop of hidden retries, median"),
    Figure(key="retry_spent_p99", says="… 99th percentile"),
)

SCRIPTS = {
    "messaging": MESSAGING,
    "restart": RESTART,
    "start": START,
    "supervision": SUPERVISION,
    "durable": DURABLE,
    "agents": AGENTS,
    "overhead": OVERHEAD,
    "guards": GUARDS,
}
"""Every script and the figures that it gives."""


def shown(value: float) -> str:
    """A figure with three significant digits, thousands apart."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _spaced(unit: str) -> str:
    return f" {unit}" if unit and unit not in ("×", "/s") else unit
