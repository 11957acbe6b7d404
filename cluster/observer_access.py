"""Who may look at an app through its page, and who may do something to it. Pure.

Whoever looks from this machine, at a server that listens to it alone, needs no token; everybody else does, and so does
whoever wants to do something. A token is never in an address and never in a cookie: a page of others can send neither
it nor anything in its place.
"""

from __future__ import annotations

import hmac
import ipaddress
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass

TOKEN_CHARS_MIN = 20
"""A token that somebody has chosen has at least so many characters."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers that a proxy adds: who asks through one is not on this machine, whatever its connection says."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/\s]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not answered: the HTTP status, and a sentence for a person."""

    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Access:
    """Decides for one server, which listens at `host`."""

    token: str
    host: str

    @property
    def is_open(self) -> bool:
        """Whether this machine alone reaches the server, so that nobody needs a token for a look."""
        return is_loopback(self.host)

    def refusal_of_any(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why nothing at all is answered: a page of others has found this server by a name of its own."""
        if not self._is_ours(headers.get("host", "")):
            return Refusal(
                status=421,
                text="this server is asked for by a name that is not its own; use the address that it printed",
            )
        # Another port of this machine is the same site to a browser, and somebody else's page all the same.
        is_own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        if not is_own and headers.get("sec-fetch-mode") != "navigate":
            return Refusal(status=403, text="pages of others get nothing here")
        return None

    def refusal_of_look(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why what an app does is not shown."""
        if self.is_open and not any(name in headers for name in FORWARDED) and "authorization" not in headers:
            return None
        return self.refusal_of_deed(headers)

    def refusal_of_deed(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why nothing is done to an app."""
        given = headers.get("authorization", "")
        scheme, _, token = given.partition(" ")
        if not given:
            return Refusal(status=401, text="this needs the token that `regrow observe` printed; open its link")
        # As bytes: hmac takes no text with other letters, and a stranger may send any.
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.token.encode()):
            return Refusal(status=401, text="this token is not the one that `regrow observe` printed when it started")
        return None

    def _is_ours(self, authority: str) -> bool:
        """Whether a browser was sent here by an address or name of this machine, and by no name of others."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        return name in ("localhost", self.host.lower(), platform.node().lower()) or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_token(text: str) -> bool:
    """Whether this can be sent as a token and is long enough not to be guessed."""
    return len(text) >= TOKEN_CHARS_MIN and _TOKEN.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
