"""Words in any script: how texts are compared, what a word is, and how varied texts are."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import regex

from lens_steer.arguments import Count

# Scripts that write no spaces between words. Script extensions (scx) take in the marks that several
# of them share, such as the Japanese prolonged sound mark.
_WITHOUT_SPACES = """
    Han Hiragana Katakana Bopomofo Yi Thai Lao Khmer Myanmar Tibetan Javanese Balinese
    Tai_Le New_Tai_Lue Tai_Tham Tai_Viet
"""
_UNSPACED = "".join(rf"\p{{scx={script}}}" for script in _WITHOUT_SPACES.split())
# A letter, mark or digit of a script that writes spaces; accents that go with any script are among
# them. The zero-width joiner and non-joiner stand inside words (Persian, Indic scripts).
_LETTER = r"[\p{L}\p{M}\p{N}\u200c\u200d]"
_SPACED = rf"[{_LETTER}--[[{_UNSPACED}]--\p{{Script=Inherited}}]]"
_KOREAN = r"\p{Script=Hangul}"
_JOINED = rf"[{_SPACED}--[{_KOREAN}]]"

# Not seen by a reader: soft hyphens, word joiners, byte-order marks, choices between two looks of
# an emoji; and the vowel points of Hebrew and Arabic and the Arabic tatweel, which may be left out.
_UNSEEN = regex.compile(
    r"[\u00ad\u2060\ufeff\ufe00-\ufe0f\u0640]"
    r"|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc]"
)
_ALIKE = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2018": "'", "\u0131": "i", "\u2010": "-"})

_TOKENS = regex.compile(rf"[{_SPACED}_]+|(?!\s)\X", regex.V1)


def comparable(text: str) -> str:
    """The form in which texts are compared: NFKC, case folded, each run of white space one space.

    Composed and decomposed accents, full and half width, ligatures, curly and straight apostrophes,
    breaking and non-breaking hyphens, Turkish dotted and dotless i are alike. Accents count; vowel
    points of Hebrew and Arabic do not.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", folded.translate(_ALIKE)))
    return " ".join(seen.split())


def whole_words(words: tuple[str, ...]) -> "regex.Pattern[str]":
    """A pattern that finds any of the words in a `comparable` text, as its script writes words.

    Args:
        words: Each `comparable`, none empty.
    """
    return regex.compile("|".join(map(_bounded, words)), regex.V1)


def _bounded(word: str) -> str:
    """A pattern of one word and of what may not stand next to it; `_` joins words (`sad_1`)."""
    before = after = ""
    if regex.match(_KOREAN, word, regex.V1):
        before = rf"(?<!{_KOREAN})"
    elif regex.match(_JOINED, word, regex.V1):
        before = rf"(?<!{_JOINED}_*)"
    if regex.match(_JOINED, word[-1], regex.V1):
        after = rf"(?!_*{_JOINED})"
    # A mark belongs to the letter before it: without it that letter is another one.
    mark = r"(?!\p{M})" if regex.match(_LETTER, word[-1], regex.V1) else ""
    return before + regex.escape(word, special_only=True) + mark + after


def tokens_of(text: str) -> tuple[str, ...]:
    """Words, punctuation marks and symbols, in lower case.

    In a script that writes no spaces between words, each character with its marks is a token.
    """
    return tuple(_TOKENS.findall(unicodedata.normalize("NFC", text).lower()))


# ---- how varied texts are ----

# An n-gram is of words and punctuation marks, in lower case; of characters where the script writes
# no spaces between words, as in Chinese, Japanese and Thai.
NGram = tuple[str, ...]


def distinct(texts: Sequence[str], n: Count) -> float:
    """Different n-grams over all n-grams of the texts together; NaN if there are none.

    It falls with the amount of text: compare equally many texts of about the same length (Li et al.
    2016, arXiv:1510.03055).
    """
    grams = [gram for text in texts for gram in _grams(tokens_of(text), n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def distinct_without(texts: Sequence[str], groups: Sequence[Any], n: Count) -> dict[Any, float]:
    """For each group of texts, `distinct` of all the others together."""
    by_group: dict[Any, list[NGram]] = {group: [] for group in groups}
    for text, group in zip(texts, groups, strict=True):
        by_group[group] += _grams(tokens_of(text), n)
    groups_with = Counter(gram for grams in by_group.values() for gram in set(grams))
    total, shares = sum(map(len, by_group.values())), {}
    for group, grams in by_group.items():
        only_here = sum(groups_with[gram] == 1 for gram in set(grams))
        rest = total - len(grams)
        shares[group] = (len(groups_with) - only_here) / rest if rest else float("nan")
    return shares


def repetition(texts: Sequence[str], n: Count = 3) -> float:
    """The share of n-grams that occurred in the same text before; NaN if there are none.

    Unlike `distinct` it looks at one text at a time: it is 0 for texts that never repeat
    themselves.
    """
    by_text = [_grams(tokens_of(text), n) for text in texts]
    total = sum(map(len, by_text))
    return sum(len(grams) - len(set(grams)) for grams in by_text) / total if total else float("nan")


def _grams(words: NGram, n: int) -> list[NGram]:
    return [words[i : i + n] for i in range(len(words) - n + 1)]
