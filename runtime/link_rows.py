"""The data of a link: what a row is, what may be set, and what is left when a link ends."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from regrow.runtime.errors import Misuse
from regrow.runtime.link_wire import MAX_ROWS, Receiver
from regrow.runtime.outcome import Outcome


class Row(Protocol):
    """What a link must know of an envelope, a reply or a signal it carries. Each row is its own object."""

    @property
    def receiver(self) -> Receiver:
        """Whom it is for; rows for one receiver keep their order."""
        ...

    @property
    def needs_room(self) -> bool:
        """True in the user lane. False for system rows and replies, which are never refused as FULL."""
        ...

    @property
    def on_settled(self) -> object:
        """Not None if its sender waits to hear that it was TAKEN, or HELD and then stored (others are always told)."""
        ...

    @property
    def is_ask(self) -> bool:
        """Whether a reply is likely to follow at once, for which a return is worth holding."""
        ...


RowT = TypeVar("RowT", bound=Row)


class RowState(enum.Enum):
    """How far a row had come when its link was closed."""

    UNSENT = "unsent"
    """It never left: it has not run."""
    WAITING = "waiting"
    """It waits for room at its receiver, which refused it or an earlier one: it has not run."""
    IN_FLIGHT = "in flight"
    """It left, and nothing came back: it may have run."""
    HELD = "held"
    """It was in its receiver's mailbox, and the report that it is stored has not come: it may be, and may have run."""
    TAKEN = "taken"
    """It was in its receiver's mailbox and not yet reported as handled: it may have run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """The limits and delays of a link, the same at both ends."""

    max_frame_rows: int = 512
    max_frame_bytes: int = 98_304
    """Aimed at, not enforced: how many rows make a frame follows from the size of earlier ones. Up to 100 kB Ray
    sends bytes inline."""
    max_calls_in_flight: int = 2
    max_held_calls: int = 1
    """Calls with a single ask that do not count as in flight; their return waits for the reply."""
    max_calls_pending: int = 16
    """All calls without a result, overdue ones too; with so many no further one starts."""
    max_unsettled_rows: int = 16_384
    """Rows that need room, unsent or in flight, before `send` refuses more. Waiting rows do not count:
    a receiver that never reads must not use up what all receivers share."""
    max_waiting_rows: int = 1_024
    """Rows waiting for one receiver before `send` refuses more for it. Rows that were sent before it was full are
    kept beyond it when they come back refused."""
    max_early_frames: int = 64
    """Frames kept, and frames sent, beyond the last one known to be delivered in order."""
    resend_after_s: float = 0.25
    """Until an unacknowledged frame is sent again and a call no longer counts as in flight; doubles each time."""
    max_resend_after_s: float = 4.0
    retry_after_s: float = 0.01
    """Until calls are made again after one failed; doubles each time, up to `max_resend_after_s`."""
    ack_delay_s: float = 0.125
    """How long what the peer need not know at once waits for a packet to ride on. Longer than `handled_delay_s`,
    so that a lone tell costs two calls and not three; shorter than `resend_after_s`, or frames would come twice."""
    handled_delay_s: float = 0.1

    @property
    def prompt_after_frames(self) -> int:
        """So many frames unacknowledged or unsettled, and their sender is told at once, before its window closes."""
        return max(1, self.max_early_frames // 4)

    def __post_init__(self) -> None:
        if not 1 <= self.max_frame_rows <= MAX_ROWS:
            raise Misuse(f"max_frame_rows is {self.max_frame_rows}; give 1 to {MAX_ROWS}")
        for name in (
            "max_frame_bytes",
            "max_calls_in_flight",
            "max_calls_pending",
            "max_unsettled_rows",
            "max_waiting_rows",
            "max_early_frames",
        ):
            if getattr(self, name) < 1:
                raise Misuse(f"{name} is {getattr(self, name)}; give 1 or more")
        if not 0 < self.ack_delay_s < self.resend_after_s <= self.max_resend_after_s:
            raise Misuse(
                f"ack_delay_s ({self.ack_delay_s:g}), resend_after_s ({self.resend_after_s:g}) and max_resend_after_s "
                f"({self.max_resend_after_s:g}) must ascend, or every frame would be sent twice"
            )
        if self.retry_after_s <= 0 or self.handled_delay_s <= 0:
            raise Misuse("retry_after_s and handled_delay_s must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPorts(Generic[RowT]):
    """What a link calls. None but `decode` may raise.

    They may call `send`, `withdraw`, `handled` and `room` of the link at once, but not `poll`, `answer`, `receive`
    or `close`: those would meet it in the middle of a step.
    """

    encode: Callable[[list[RowT]], bytes]
    """A frame's rows as bytes. A row that can not be encoded must be refused before it is sent."""
    decode: Callable[[bytes], list[RowT]]
    """The same rows; each frame by itself, in any order, and now and then in vain. A single row that means nothing
    here becomes one that `deliver` turns away. An error says that the frame is damaged: it passes through `receive`,
    and nothing of the packet is applied."""
    deliver: Callable[[RowT, int], Outcome]
    """Puts an arrived row into its mailbox; the int is its mark, for `Link.handled` once it has been handled."""
    settled: Callable[[RowT, Outcome], None]
    """Tells how a row of ours fared: REJECTED and NOT_HERE always, TAKEN if it has `on_settled`, FULL never: then
    it waits."""
    wants_room: Callable[[Receiver], None]
    """Rows of the peer wait for this receiver: call `Link.room` once when it has room (or has ended)."""
    relieved: Callable[[Receiver | None], None]
    """A send that was refused may be tried again: for this receiver, or (None) for all."""
    wake: Callable[[], None]
    """Something came up between two polls: poll soon. Called once, then not before the next poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A packet to be sent as one call; `number` names it when its result is handed back."""

    number: int
    packet: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains(Generic[RowT]):
    """What a closed link had not finished."""

    rows: list[tuple[RowT, RowState]]
    """Our rows, each once; those reported as handled or settled with an exception are not among them."""
    undelivered: list[RowT]
    """Rows of the peer that arrived ahead of a missing frame and were never delivered."""
