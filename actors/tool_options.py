"""What may be said of a tool beside its function, with the limits of each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from regrow.actors.tool_errors import InvalidTool

MAX_TIMEOUT_S = 86_400.0
"""A day. What takes longer is the work of an agent, which can be supervised."""
MAX_CONCURRENCY = 1_024
MAX_RESULT_BYTES = 16_777_216
"""As much as one result may take in the journal of durable agents (`blob_bytes`)."""
ISOLATIONS = ("host", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """What a process of a tool may use; its sizes are in bytes.

    `memory_bytes` is the address space of each of its processes, `cpu_s` the time of the processor (the tool's
    `timeout_s`, rounded up, where None), `file_bytes` the size of each file that it writes, `files` how many it has
    open, `processes` how many there are at once, itself included. It works in an empty folder, which is removed, and
    of the environment it gets only what is named in `environment` beside PATH, LANG and TZ.
    """

    memory_bytes: int = 1_073_741_824
    cpu_s: int | None = None
    file_bytes: int = 67_108_864
    files: int = 256
    processes: int = 16
    environment: tuple[str, ...] = ()


def check_options(
    *,
    timeout_s: object,
    concurrency: object,
    cost_usd: object,
    approval: object,
    approval_timeout_s: object,
    isolation: object,
    limits: ProcessLimits | None,
    result_bytes: object,
) -> ProcessLimits:
    """The limits of its process. Raises InvalidTool for an option that is not one."""
    _number("timeout_s", timeout_s, 0, MAX_TIMEOUT_S, "seconds")
    _whole("concurrency", concurrency, 1, MAX_CONCURRENCY)
    _number("approval_timeout_s", approval_timeout_s, 0, 366 * 86_400.0, "seconds")
    _whole("result_bytes", result_bytes, 1, MAX_RESULT_BYTES)
    if not isinstance(cost_usd, int | float) or not isfinite(cost_usd) or cost_usd < 0:
        raise InvalidTool(f"@tool(cost_usd={cost_usd!r}): give what one call costs in US dollars, 0 or more")
    if not isinstance(approval, bool) and not callable(approval):
        raise InvalidTool(
            f"@tool(approval={approval!r}): give True, or a function of the arguments such as lambda call: call.cents "
            "> 10_000"
        )
    if isolation not in ISOLATIONS:
        raise InvalidTool(f'@tool(isolation={isolation!r}): give "host" or "process"')
    if limits is not None and isolation != "process":
        raise InvalidTool('@tool(limits=…) is for a process of its own; write isolation="process" beside it')
    return _checked(limits if limits is not None else ProcessLimits())


def _checked(limits: ProcessLimits) -> ProcessLimits:
    if not isinstance(limits, ProcessLimits):
        raise InvalidTool(f"@tool(limits={limits!r}): give ProcessLimits(memory_bytes=…, …)")
    for each in fields(limits):
        value = getattr(limits, each.name)
        if each.name == "environment":
            if isinstance(value, str) or not all(isinstance(name, str) for name in value):
                raise InvalidTool(f"ProcessLimits(environment={value!r}): give the names of variables in a tuple")
        elif value is not None or each.name != "cpu_s":
            _whole(each.name, value, 1, 2**62, of="ProcessLimits")
    return limits


def _number(name: str, value: object, above: float, most: float, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
        raise InvalidTool(f"@tool({name}={value!r}): give {unit} above {above:g} and up to {most:,.0f}")


def _whole(name: str, value: object, least: int, most: int, *, of: str = "@tool") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidTool(f"{of}({name}={value!r}): give a whole number from {least} to {most:,}")
