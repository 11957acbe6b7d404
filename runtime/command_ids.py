"""Ids of commands: UUIDv7, which say when they were made, so that an old one can be refused."""

from __future__ import annotations

import secrets
import time

from regrow.runtime.journal_entries import CommandId

NOISE_BITS = 74


def new_command_id() -> CommandId:
    """A new id by this machine's clock."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(NOISE_BITS))


def uuid7(ms: int, noise: int) -> CommandId:
    """A UUIDv7 of that millisecond with 74 bits of noise."""
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    # Written out here: uuid.UUID takes five times as long, and each message to a durable agent has one.
    digits = f"{ms << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
    return CommandId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


def reborn(command: CommandId, ms: int) -> CommandId:
    """The same id as one that was made at another time."""
    digits = f"{ms:012x}"
    return CommandId(f"{digits[:8]}-{digits[8:]}{command[13:]}")
