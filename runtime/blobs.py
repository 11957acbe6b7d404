"""What a journal keeps beside a record that is too large for it: bytes under their digest.

A blob belongs to one message, lies with the records of its steps, and goes with them in the same moment. It is
written in the call that writes its record, so neither is ever there without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """What a record holds instead of a large result. `digest` is BLAKE2b of 32 bytes, in hexadecimal."""

    digest: str
    size_bytes: int

    def fits(self, content: bytes) -> bool:
        """Whether these are the bytes that were kept."""
        return len(content) == self.size_bytes and digest_of(content) == self.digest


def digest_of(content: bytes) -> str:
    """The digest under which a blob is kept."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def blob_of(content: bytes) -> BlobRef:
    """What stands in a record for this content."""
    return BlobRef(digest=digest_of(content), size_bytes=len(content))
