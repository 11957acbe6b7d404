"""What may be said of an MCP server, with the limits of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from regrow.actors.tool_errors import InvalidTool
from regrow.actors.tool_options import ProcessLimits, check_options

MAX_NAME_CHARS = 32
MAX_RESULT_BYTES = 4_194_304
"""Of a tool of an MCP server; its messages are read as a whole."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is reached, and how its tools are run; see `mcp`."""

    command: tuple[str, ...] | None
    url: str | None
    tools: tuple[str, ...] | None
    idempotent: tuple[str, ...]
    approve_all: bool
    approvals: tuple[str, ...]
    environment: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    timeout_s: float
    start_timeout_s: float
    approval_timeout_s: float
    concurrency: int
    result_bytes: int

    @property
    def place(self) -> str:
        """Where the server is, for people; without what a URL has of passwords."""
        if self.command is not None:
            return " ".join(self.command)[:200]
        parts = urlsplit(self.url or "")
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def check_server(name: object, options: ServerOptions) -> ServerOptions:
    """The same options. Raises InvalidTool for one that can not be."""
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS or _NAME.fullmatch(name) is None:
        raise InvalidTool(
            f"{name!r} is no name for an MCP server; give 1 to {MAX_NAME_CHARS} lower case letters, digits and _, "
            'as in mcp("files", …): its tools begin with it'
        )
    where = f"mcp({name!r})"
    if (options.command is None) == (options.url is None):
        raise InvalidTool(f'{where} takes either a command=["npx", …] or a url="http://…", and not both')
    if options.command is not None:
        _check_command(where, options)
    else:
        _check_url(where, options)
    for field in ("tools", "idempotent", "approvals", "environment"):
        for each in getattr(options, field) or ():
            if not isinstance(each, str) or not each or len(each) > 128:
                raise InvalidTool(f"{where}: {each!r} in {field} is no name; give a list of names")
    if options.result_bytes > MAX_RESULT_BYTES:
        raise InvalidTool(f"{where}: result_bytes may be up to {MAX_RESULT_BYTES:,}, not {options.result_bytes!r}")
    for timeout_s in (options.timeout_s, options.start_timeout_s):
        check_options(
            timeout_s=timeout_s,
            concurrency=options.concurrency,
            cost_usd=0.0,
            approval=options.approve_all,
            approval_timeout_s=options.approval_timeout_s,
            isolation="host",
            limits=None,
            result_bytes=options.result_bytes,
        )
    return options


NO_LIMITS = ProcessLimits()
"""A tool of an MCP server runs in the server, so that its limits are those of the server's process."""


def _check_command(where: str, options: ServerOptions) -> None:
    command = options.command or ()
    if not command or not all(isinstance(part, str) and "\0" not in part for part in command) or not command[0]:
        raise InvalidTool(f'{where}: command={command!r} is no program with its arguments, such as ["npx", "-y", …]')
    if len(command) == len("".join(command)) > 1:
        raise InvalidTool(f"{where}: write the command as a list of its words, not as one text")
    if options.headers:
        raise InvalidTool(f"{where}: headers are for a url; what a process needs is named in environment=(…)")


def _check_url(where: str, options: ServerOptions) -> None:
    try:
        parts = urlsplit(options.url or "")
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise InvalidTool(f"{where}: url={options.url!r} is no http:// or https:// address")
    if options.environment:
        raise InvalidTool(f"{where}: environment is for a command; write ${{NAME}} in a header to use a variable")
    for each in options.headers:
        if not all(isinstance(part, str) and part.isprintable() for part in each):
            raise InvalidTool(f"{where}: headers={each!r} are no texts of one line")
