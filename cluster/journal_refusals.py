"""Names what failed between the journal and Redis: an error of redis-py becomes the error of the journal that says it.

Pure. Whether something may have been done is the line that matters: JournalUnknown alone says so.
"""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from regrow.cluster.redis_process import VERSION_FLOOR, parse_version, told
from regrow.runtime.errors import Bug, RegrowError
from regrow.runtime.journal_errors import (
    JournalAway,
    JournalDenied,
    JournalFull,
    JournalOutdated,
    JournalReadOnly,
    JournalUnknown,
)

# How a refusal looks when a script of Redis 6.2 passes it on: the error's own name stands within the text.
_WITHIN: Final = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|NOPERM|NOAUTH)\b"
)

_OF_THE_SCRIPT: Final = re.compile(r"\.? (?:script: [0-9a-f]{40}|@user_script)")


def named(error: BaseException, address: str) -> RegrowError:
    """The error of the journal that says the same, with `error` as its cause."""
    cause = error.__cause__  # over a unix socket redis-py says of a refusal that the connection failed
    said = _named(cause if isinstance(cause, AuthenticationError | ResponseError) else error, address)
    said.__cause__ = error
    return said


def cut(error: BaseException, address: str) -> JournalUnknown:
    """Of a call whose answer was lost."""
    return JournalUnknown(
        f"the connection to {address} was cut ({error}); what was sent may have been done, "
        "and is sent again under the same ids"
    )


def check_version(version: str, *, address: str) -> None:
    """Raises JournalOutdated for a version below the floor, or text that is none."""
    parsed = parse_version(version)
    if parsed is None or parsed < VERSION_FLOOR:
        floor = told(VERSION_FLOOR)
        raise JournalOutdated(
            f"{address} runs Redis {version or 'of no known version'}, and durable agents need {floor} or newer; "
            "upgrade it, or leave redis.url out to use the embedded one",
            version=version,
            floor=floor,
        )


def _told(text: str, within: re.Match[str] | None) -> str:
    """What the server says, without what it adds of the script that it was running."""
    return _OF_THE_SCRIPT.split(text[within.start() :] if within is not None else text, maxsplit=1)[0].rstrip(" .")


def _named(error: BaseException, address: str) -> RegrowError:
    within = _WITHIN.search(str(error)) if isinstance(error, ResponseError) else None
    told = _told(str(error), within)
    match error, within and within[1]:
        # redis-py derives some of these from its ConnectionError, so they come first.
        case (AuthenticationError() | AuthorizationError() | NoPermissionError(), _) | (_, "NOPERM" | "NOAUTH"):
            return JournalDenied(f"{address} refuses ({told}); correct the password or the rights in redis.url")
        case (OutOfMemoryError(), _) | (_, "OOM"):
            return JournalFull(f"{address} is full ({told}); raise its maxmemory, or remove data. Nothing was written")
        case (ReadOnlyError(), _) | (_, "READONLY"):
            return JournalReadOnly(
                f"{address} takes no writes ({told}): it is a replica; name its primary in redis.url"
            )
        case (_, "NOREPLICAS"):
            return JournalReadOnly(f"{address} takes no writes ({told}): too few replicas follow it; see that they run")
        case (_, "MISCONF"):
            return JournalReadOnly(f"{address} takes no writes ({told}): its disk fails; mend it")
        # ClusterError: redis-py was sent from node to node until it gave up; each of them did nothing.
        case (BusyLoadingError() | ClusterDownError() | MasterDownError() | TryAgainError() | ClusterError(), _):
            return JournalAway(f"{address} can not serve now ({told}); it is asked again")
        case (_, "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY"):
            return JournalAway(f"{address} can not serve now ({told}); it is asked again")
        case (RedisConnectionError() | RedisTimeoutError() | RedisClusterException() | OSError() | TimeoutError(), _):
            return cut(error, address)
        case _:
            return Bug(f"{address} could not run a script of the journal: {error}")
