"""The sets of texts whose Jacobians' spectra and subspaces are compared."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

import lens_steer as ls
from lens_steer.data import Example

FEWEST = 4  # texts of a set, of which one half is compared with the other


def text_sets(parts: Sequence[ls.ContrastivePairs], most: int, seed: int) -> dict[str, list[str]]:
    """Texts alike (the largest group), mixed (of all), and of mixed words in disorder.

    The last word stays in its place: it is the token that is linearised at, and would by itself
    make texts differ.

    Args:
        parts: The training pairs of every behaviour, of which the desired texts are taken.
        most: Texts of each set, at most.
        seed: Of the order of texts and words.

    Raises:
        ValueError: If a set has too few texts.
    """
    examples = [example for pairs in parts for example in pairs.desired]
    largest = Counter(example.group for example in examples).most_common(1)[0][0]
    source = np.random.default_rng(seed)
    mixed = [_text(examples[i]) for i in source.permutation(len(examples))[:most]]
    alike = [_text(example) for example in examples if example.group == largest][:most]
    if len(alike) < FEWEST:
        raise ValueError(
            f"the largest group of prompts has {len(alike)} training texts: expected {FEWEST} or "
            "more, whose Jacobians are compared; pass pairs with more texts of a group"
        )
    disordered = [_disordered(text, source) for text in mixed]
    return {"one group": alike, "mixed": mixed, "words in disorder": disordered}


def _disordered(text: str, source: np.random.Generator) -> str:
    *words, last = text.split()
    return " ".join([*source.permutation(words).tolist(), last])


def _text(example: Example) -> str:
    assert isinstance(example.prompt, str)  # these sets hold no chats
    return example.prompt + example.continuation
