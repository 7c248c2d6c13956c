"""How varied texts are: the share of different n-grams, and of repeated ones.

An n-gram is of words and punctuation marks, in lower case; of characters where the script writes no
spaces between words, as in Chinese, Japanese and Thai.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lens_steer.evaluation.scripts import tokens_of

Words = tuple[str, ...]


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of the texts together (Li et al. 2016); NaN without any.

    It falls with the amount of text: compare as many texts of about the same length.
    """
    found = [gram for text in texts for gram in _grams(tokens_of(text), n)]
    return len(set(found)) / len(found) if found else float("nan")


def distinct_without(texts: Sequence[str], groups: Sequence[Any], n: int) -> dict[Any, float]:
    """For each group of texts, `distinct` of all the others together."""
    own: dict[Any, list[Words]] = {group: [] for group in groups}
    for text, group in zip(texts, groups, strict=True):
        own[group] += _grams(tokens_of(text), n)
    owners = Counter(gram for grams in own.values() for gram in set(grams))
    total, found = sum(map(len, own.values())), {}
    for group, grams in own.items():
        alone = sum(owners[gram] == 1 for gram in set(grams))
        rest = total - len(grams)
        found[group] = (len(owners) - alone) / rest if rest else float("nan")
    return found


def repetition(texts: Sequence[str], n: int = 3) -> float:
    """The share of n-grams that were in the same text before; NaN without any.

    Unlike `distinct` it sees one text at a time: 0 for texts that never repeat themselves.
    """
    each = [_grams(tokens_of(text), n) for text in texts]
    total = sum(map(len, each))
    return sum(len(grams) - len(set(grams)) for grams in each) / total if total else float("nan")


def _grams(words: Words, n: int) -> list[Words]:
    return [words[i : i + n] for i in range(len(words) - n + 1)]
