"""What can be set from outside, checked. `config_reading` reads it from `regrow.toml` and REGROW_… variables."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from regrow.router.settings import RouterSettings
from regrow.runtime.errors import InvalidDefinition
from regrow.runtime.guards import Guards, Rung

if TYPE_CHECKING:
    from regrow.runtime.journal_entries import JournalLimits

FILE_NAME = "regrow.toml"

INTERNAL_PREFIX = "REGROW_INTERNAL_"
"""Variables by which Regrow's own processes tell each other something; they are no settings."""

MAX_REPLICAS = 16
"""How many replicas an acknowledgement may wait for; each that is down makes all wait."""


EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
"""By which OpenTelemetry is told where spans go."""

MAX_HISTORY_TURNS = 10_000
"""How many turns of one agent may be kept; each may take some kilobytes."""

MAX_HISTORY_AGE_S = 366 * 86_400
"""How long a turn may be kept."""


MAX_STORE_MB = 100_000
"""How much of spans may be kept; each takes about half a kilobyte."""

LOOPBACK = "127.0.0.1"
MAX_PORT = 65_535
_ADDRESS = re.compile(r"(?:(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+)?:)?[0-9]{1,5}")
"""A port, or host and port; an address of IPv6 stands in brackets, as in a URL."""

MAX_PATTERNS = 100
"""How many regular expressions may be looked for in all that is recorded."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(_Section):
    """How much is logged, and for whom: people read `console`, programs `json`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class RedisSettings(_Section):
    """Which Redis: the one at `url`, or without one an embedded server in the data folder.

    `appendfsync` is what the embedded one does, and what durable agents ask of the one at `url`: "always" loses nothing
    that was acknowledged when the power fails, "everysec" up to a second of it. With `replicas` nothing of them is
    acknowledged before so many replicas have it too. The embedded one listens at `port`, or else at any that is free.
    With `cluster` the one at `url` is a node of a Redis Cluster and tells the others; better a name that stands for
    several of them, so that the loss of one keeps nobody from starting.
    """

    url: SecretStr | None = None
    cluster: bool = False
    port: int | None = Field(default=None, ge=1, le=65_535)
    appendfsync: Literal["always", "everysec"] = "always"
    replicas: int = Field(default=0, ge=0, le=MAX_REPLICAS)

    @model_validator(mode="after")
    def _names_its_cluster(self) -> Self:
        if self.cluster and self.url is None:
            raise ValueError("cluster = true needs the url of one of its nodes; the embedded Redis is no cluster")
        return self


class HistorySettings(_Section):
    """How much is kept of what durable agents have done: the last `turns` of each, none longer than `age_s`.

    Nothing but `regrow history` reads it. With `turns = 0` none is kept.
    """

    turns: int = Field(default=100, ge=0, le=MAX_HISTORY_TURNS)
    age_s: int = Field(default=7 * 86_400, ge=1, le=MAX_HISTORY_AGE_S)

    def limits(self) -> JournalLimits:
        """The bounds of a journal that keeps so much."""
        from regrow.runtime.journal_entries import JournalLimits  # here, since most apps have no journal

        return JournalLimits(history_turns=self.turns, history_ttl_ms=self.age_s * 1000)


class TracingSettings(_Section):
    """What is recorded of what happens where it is `enabled`; `regrow traces` shows it.

    Unless that is said, it is where OpenTelemetry's variable names an exporter.

    `traces_per_s` traces begin in a process, ten seconds' worth of them at once; what is more is counted, and runs
    unrecorded. The last `store_mb` of spans are kept in the data folder; with 0 none are, and only exporters get them.
    With `content` prompts, answers, arguments and results are recorded as well. What looks like a key, a token or an
    e-mail address is taken out of them, and what the regular expressions of `redact` fit: best effort, and no promise.
    """

    enabled: bool | None = None
    traces_per_s: float = Field(default=20.0, gt=0, le=100_000)
    store_mb: int = Field(default=256, ge=0, le=MAX_STORE_MB)
    content: bool = False
    redact: tuple[str, ...] = Field(default=(), max_length=MAX_PATTERNS)

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded in this process."""
        named = os.environ.get(EXPORTER_VARIABLE, "").strip()
        return self.enabled if self.enabled is not None else named not in ("", "none")

    @field_validator("redact")
    @classmethod
    def _can_be_read(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
        return patterns


class MetricsSettings(_Section):
    """Where Prometheus finds the metrics of an app, such as "127.0.0.1:9464"; without an address nothing is served.

    A port alone is one of this machine only. Whoever reaches the address may read: put no address of a network there
    that you do not trust.
    """

    address: str | None = None

    @property
    def place(self) -> tuple[str, int] | None:
        """Host and port; 0 is any port that is free."""
        if self.address is None:
            return None
        host, _, port = self.address.rpartition(":")
        return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)

    @field_validator("address")
    @classmethod
    def _has_a_port(cls, address: str | None) -> str | None:
        if address is not None and not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address!r} is no address; write host and port, such as 127.0.0.1:9464")
        if address is not None and int(address.rpartition(":")[2]) > MAX_PORT:
            raise ValueError(f"{address!r} has no port that exists; they end with {MAX_PORT}")
        return address


class IncidentSettings(_Section):
    """How much is kept of deaths, of what supervisors decided, and of losses, for `regrow why`; with 0 nothing is."""

    store_mb: int = Field(default=16, ge=0, le=MAX_STORE_MB)


class RaySettings(_Section):
    """Which Ray: the one at `address`, or without one a local one with `num_cpus` (None: all)."""

    address: str | None = None
    num_cpus: int | None = Field(default=None, ge=1)


class MemorySettings(_Section):
    """Where memories are kept, and what makes vectors of them. "memory" forgets them at the end."""

    store: Literal["redis", "memory"] = "redis"
    embedder: Literal["hashing"] = "hashing"


class GuardSettings(_Section):
    """What guards watch for, in place of what the app says itself (see Guards); "off" turns one off."""

    hop_limit: int | Literal["off"] | None = None
    loop_rounds: int | Literal["off"] | None = None
    repeats_warn: int | None = None
    repeats_end: int | Literal["off"] | None = None
    polls: tuple[str, ...] | None = None
    volatile: tuple[str, ...] | None = None
    retry_share: float | Literal["off"] | None = None
    stall_s: float | Literal["off"] | None = None
    max_messages: int | Literal["off"] | None = None
    max_calls: int | Literal["off"] | None = None
    max_tokens: int | Literal["off"] | None = None
    max_cost_usd: float | Literal["off"] | None = None
    max_s: float | Literal["off"] | None = None
    top: Literal["annotate", "warn", "refuse", "suspend"] | None = None

    @field_validator("polls", "volatile", mode="before")
    @classmethod
    def _several(cls, names: object) -> object:
        """In a variable they stand side by side, with commas between them."""
        return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names

    @model_validator(mode="after")
    def _are_limits(self) -> Self:
        try:
            self.over(Guards())
        except InvalidDefinition as error:
            raise ValueError(str(error)) from error
        return self

    def over(self, guards: Guards) -> Guards:
        """Those guards with what is set here in their place. Raises InvalidDefinition where the two do not fit."""
        found: dict[str, Any] = {name: value for name, value in self if value is not None}
        found |= {name: None for name, value in found.items() if value == "off"}
        for name in {"polls", "volatile"} & found.keys():
            found[name] = frozenset(found[name])
        if "top" in found:
            found["top"] = Rung[found["top"].upper()]
        return replace(guards, **found)


class Settings(BaseModel):
    """Everything that can be set from outside; never changed afterwards. Made directly, it reads nothing.

    Skills are looked for in `skills_dir` where the folder `skills` beside an agent's file has none of that name.
    """

    # Values are hidden from pydantic's own texts, since a wrong one may be a password in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: Path | None = None
    skills_dir: Path | None = None
    engine: Literal["inline", "ray"] = "inline"
    log: LogSettings = LogSettings()
    redis: RedisSettings = RedisSettings()
    history: HistorySettings = HistorySettings()
    tracing: TracingSettings = TracingSettings()
    metrics: MetricsSettings = MetricsSettings()
    incidents: IncidentSettings = IncidentSettings()
    ray: RaySettings = RaySettings()
    models: RouterSettings = RouterSettings()
    memory: MemorySettings = MemorySettings()
    guards: GuardSettings = GuardSettings()

    @staticmethod
    def load(config: Path | None = None) -> Settings:
        """The settings of this process: environment over file over defaults.

        `config` must exist; without it `regrow.toml` in the current folder is read if there is one.
        Where neither names models, they come from OPENAI_BASE_URL and its relatives.

        Raises ConfigError for a file that can not be read, an unknown key, or a wrong value.
        """
        from regrow.cluster.config_reading import read_settings  # here, since hosts are told theirs

        return read_settings(config)

    def data_dir_of(self, app: str) -> Path:
        """The data folder of an app, absolute: `data_dir`, or `.regrow/<app>` in the current folder."""
        return (self.data_dir or Path(".regrow") / app).absolute()

    @property
    def skills_folder(self) -> Path | None:
        """The folder `skills_dir`, absolute; None where none is set."""
        return self.skills_dir.absolute() if self.skills_dir is not None else None
