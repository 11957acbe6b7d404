"""Texts to vectors: the port, and a default that needs no weights and no network.

`HashingEmbedder` sees spelling, not meaning: it finds "restarted" for "restarts" and survives a typing
error, but "car" and "automobile" are strangers to it. An embedding model behind the same port
finds those; `weight` tells the ranking how far to trust each.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from regrow.memory.index import Vectors


class Embedder(Protocol):
    """Makes vectors whose inner product says how alike two texts are.

    The same text gives the same vector in every process and on every day, for as long as the name
    is the same: indexes are rebuilt from the store and must come out equal.
    """

    @property
    def name(self) -> str:
        """Which model this is, with its version; vectors of two names are never compared."""
        ...

    @property
    def dim(self) -> int:
        """The length of a vector."""
        ...

    @property
    def weight(self) -> float:
        """What this leg counts in the ranking beside a BM25 leg of weight 1."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32[len(texts), dim]; rows have unit length, or are zero where a text has no features."""
        ...

    async def embed_query(self, text: str) -> Vectors:
        """float32[dim], of unit length or zero."""
        ...


HASHING_DIM = 1024
"""Halving it costs .07 nDCG@10 of this leg on SciFact (collisions); doubling it gains .05 for twice the memory."""

HASHING_WEIGHT = 0.3
"""Good for the fused order on SciFact and LoCoMo both, of .1 to 1: weaker than BM25, but it errs elsewhere."""

GRAM_CHARS = (3, 4, 5)
WORD_SHARE = 0.5
"""How much of a word's length comes from the whole word; the rest comes from its character n-grams."""

LIMIT_WORD_CHARS = 64
"""What is longer is no word (base64, a hash, a minified line); its beginning stands for it."""

LIMIT_CACHED_WORDS = 50_000
"""About 25 MB. Words are few: a text of a million words has some 30,000 different ones."""

_WORD = re.compile(r"\w+")

# Words that say nothing about the topic. A count-based leg without document frequencies drowns in them:
# with this list its recall on LoCoMo rose from .34 to .50.
FUNCTION_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being below between
    both but by can could did do does doing done down during each few for from further get got had has have having he
    her here hers herself him himself his how i if in into is it its itself just let like may me might more most much
    must my myself no nor not now of off on once only or other our ours ourselves out over own re s same shall she
    should so some such t than that the their theirs them themselves then there these they this those through to too
    under until up upon us very was we were what when where which while who whom why will with would yes you your
    yours yourself yourselves""".split()
)

_Features = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class HashingEmbedder:
    """Words and their character n-grams, hashed with signs into `dim` buckets, with sublinear counts.

    A text's vector is Σ (1 + ln count) · word vector, scaled to unit length. A word vector has unit length: the
    hashed word and its hashed n-grams (Weinberger et al., "Feature hashing for large scale multitask
    learning", ICML 2009; n-grams in brackets as in Bojanowski et al., TACL 2017). BLAKE2b places the
    features, since Python's own `hash` differs in every process.
    """

    def __init__(self, dim: int = HASHING_DIM) -> None:
        self._dim = dim
        self._words: dict[str, _Features] = {}

    @property
    def name(self) -> str:
        """The scheme, its version and its size."""
        return f"hashing-1-{self._dim}"

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._dim

    @property
    def weight(self) -> float:
        """Less than BM25's, since this leg is the weaker one on real text."""
        return HASHING_WEIGHT

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32[len(texts), dim], computed in a thread: some 2,000 abstracts a second."""
        return await asyncio.to_thread(self.embedded, tuple(texts))

    async def embed_query(self, text: str) -> Vectors:
        """float32[dim]; computed in place, since a question takes less time than a change of threads."""
        return self._row(text).astype(np.float32)

    def embedded(self, texts: Sequence[str]) -> Vectors:
        """float32[len(texts), dim], at once; may run in several threads."""
        rows = np.zeros((len(texts), self._dim), np.float32)
        for at, text in enumerate(texts):
            rows[at] = self._row(text)
        return rows

    def _row(self, text: str) -> npt.NDArray[np.float64]:
        words = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))
        counted = [
            (self._features(word[:LIMIT_WORD_CHARS]), n) for word, n in words.items() if word not in FUNCTION_WORDS
        ]
        if not counted:
            return np.zeros(self._dim)
        buckets = np.concatenate([found for (found, _), _ in counted])
        weights = np.concatenate([signed for (_, signed), _ in counted])
        factors = [1.0 + math.log(n) for _, n in counted]
        weights *= np.repeat(factors, [len(found) for (found, _), _ in counted])
        row = np.bincount(buckets, weights=weights, minlength=self._dim).astype(np.float64, copy=False)
        length = float(np.linalg.norm(row))
        return row / length if length else row

    def _features(self, word: str) -> _Features:
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= LIMIT_CACHED_WORDS:
                # Starting over costs less than keeping an order, and the frequent words are back at once.
                self._words = {}
            known = self._words[word] = self._hashed(word)
        return known

    def _hashed(self, word: str) -> _Features:
        """The buckets of a word and its n-grams, with signed weights of unit length together."""
        bracketed = f"<{word}>"
        grams = [bracketed[at : at + n] for n in GRAM_CHARS for at in range(len(bracketed) - n + 1)]
        # No gram can be taken for a word: a mark goes before each.
        names = [f"w{word}", *(f"g{gram}" for gram in grams)]
        weights = [math.sqrt(WORD_SHARE), *([math.sqrt((1.0 - WORD_SHARE) / len(grams))] * len(grams))]
        numbers = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in names]
        buckets = np.array([number % self._dim for number in numbers], np.int64)
        signs = np.array([1.0 if number >> 63 else -1.0 for number in numbers])
        return buckets, np.array(weights) * signs
