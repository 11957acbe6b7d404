"""Words made comparable: what two texts share, whatever the inflexion or spelling of identifiers. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[^\W_]+")
# Scripts without spaces between words: each sign counts as a word, which is crude but finds overlaps.
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

STEM_CACHE_LIMIT: Final = 20_000
"""Words whose stem is remembered; a technical corpus has fewer frequent ones."""

SHORTEST_KIN: Final = 5
"""Signs that two words must share at their beginning to count as kin (supervisor, supervision)."""

_KIN_ENDINGS: Final = frozenset(
    (
        " able age al an ance ant ar ary at ation ator e ed enc ence ent er ful i ibl ibility ic ing ion ist ity iv "
        "ive less ment ness or ous s t ur ure y"
    ).split(" ")
)
_IRREGULAR: Final = {
    form: word
    for word, forms in {
        "die": "died dies dying death deaths",
        "run": "ran running runs",
        "send": "sent sends sending",
        "lose": "lost loses losing loss losses",
        "keep": "kept keeps keeping",
        "write": "wrote written writes writing",
        "read": "reads reading",
        "hold": "held holds holding",
        "begin": "began begun begins beginning",
        "choose": "chose chosen chooses choosing choice choices",
        "build": "built builds building",
        "find": "found finds finding",
        "pay": "paid pays paying",
        "grow": "grew grown grows growing",
        "lead": "led leads leading",
        "win": "won wins winning winner",
        "leave": "left leaves leaving",
        "break": "broke broken breaks breaking",
        "decide": "decides decided deciding decision decisions decider deciders",
        "fall": "fell fallen falls falling",
    }.items()
    for form in forms.split()
}

_ASKING: Final = re.compile(
    r"\bhow (?:long|fast|often|far|large|big|old|quick(?:ly)?)\b|\bwhat (?:kind|sort|year|time)\b", re.IGNORECASE
)

STOPWORDS: Final = frozenset(
    """
    a about after all also am an and any are as at be because been before being below between both but by can
    cannot could did do does doing done down each either else ever every few for from further get gets give given
    gives got had has have having he her here hers him his how however i if in into is it its itself just let like
    made make makes many may me might more most much must my neither no nor not now of off on once one only or other
    our out over own per please rather same say says shall she should since so some such take tell than that the
    their them then there these they this those though through thus to too under until up upon us use used uses
    using very via was we well were what whatever when where whether which while who whom whose why will with within
    without would yes yet you your explain describe show list name mean means happen happens
    """.split()
)
"""English words that carry no topic, with the verbs that only ask ("explain", "happens")."""


def terms(text: str) -> list[str]:
    """Give the stems of all words of `text` in order; identifiers are split at case and underscore.

    >>> terms("AskTimeout: retries of max_restarts")
    ['ask', 'timeout', 'retri', 'of', 'max', 'restart']
    """
    spaced = _UNSPACED.sub(r" \g<0> ", text) if _UNSPACED.search(text) else text
    return [stem(word) for word in _WORD.findall(_CAMEL.sub(" ", spaced))]


def content_terms(text: str) -> list[str]:
    """Give the stems that carry a topic, in order; all stems where the text has stopwords only."""
    spaced = _UNSPACED.sub(r" \g<0> ", text) if _UNSPACED.search(text) else text
    spaced = _ASKING.sub(" ", spaced)
    words = _WORD.findall(_CAMEL.sub(" ", spaced))
    kept = [stem(word) for word in words if word.lower() not in STOPWORDS and "'" not in word]
    return kept or [stem(word) for word in words]


@lru_cache(maxsize=STEM_CACHE_LIMIT)
def stem(word: str) -> str:
    """Cut the commonest English endings; the shape of the stem does not matter, only that kin share it.

    A light form of Porter's step 1 (An algorithm for suffix stripping, 1980).
    """
    low = word.lower().replace(",", "").replace("’", "'")
    if low.endswith("'s"):
        low = low[:-2]
    if len(low) <= 3 or not low.isalpha():
        return _IRREGULAR.get(low, low)
    low = _IRREGULAR.get(low, low)
    low = _without_plural(low)
    for ending in ("ing", "ed"):
        if low.endswith(ending) and len(low) - len(ending) >= 3 and _has_vowel(low[: -len(ending)]):
            low = _mended(low[: -len(ending)])
            break
    if low.endswith("ly") and len(low) > 5:
        low = low[:-2]
    if low.endswith("y") and len(low) > 3 and low[-2] not in "aeiou":
        low = low[:-1] + "i"
    elif low.endswith("e") and len(low) > 4:
        low = low[:-1]
    return _as_spelt_once(low)


def kin(one: str, other: str) -> bool:
    """Tell whether two different stems belong to one family: the same beginning, and known endings."""
    shared = 0
    for sign, twin in zip(one, other, strict=False):
        if sign != twin:
            break
        shared += 1
    # The split may lie before or behind a letter that both endings begin with ("iv", "ion").
    return (
        any(
            one[at:] in _KIN_ENDINGS and other[at:] in _KIN_ENDINGS
            for at in range(shared, max(SHORTEST_KIN, shared - 1) - 1, -1)
        )
        and shared >= SHORTEST_KIN
    )


def trigrams(text: str) -> frozenset[str]:
    """Give the three-sign windows of the words of `text`, so that labels match misspelt or compound words."""
    found: set[str] = set()
    for word in _WORD.findall(text.lower()):
        padded = f" {word} "
        found.update(padded[at : at + 3] for at in range(len(padded) - 2))
    return frozenset(found)


def _without_plural(low: str) -> str:
    if low.endswith(("sses", "xes", "ches", "shes")):
        return low[:-2]
    if low.endswith("ies"):
        return low[:-3] + "y" if len(low) > 4 else low[:-1]
    if low.endswith("s") and not low.endswith(("ss", "us", "is")):
        return low[:-1]
    return low


def _as_spelt_once(low: str) -> str:
    """One spelling for British and American: behaviour, organise, licence."""
    if len(low) > 5:
        if low.endswith("our"):
            return low[:-3] + "or"
        if low.endswith("iz"):
            return low[:-1] + "s"
        if low.endswith("enc"):
            return low[:-1] + "s"
    return low


def _has_vowel(part: str) -> bool:
    return any(sign in "aeiouy" for sign in part)


def _mended(base: str) -> str:
    # "stopped" leaves "stopp", which must meet "stop"; "falling" leaves "fall", which keeps its two l.
    if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "aeiouflsz":
        return base[:-1]
    return base
