"""The named sets of contrastive pairs, as plain rows `(prompt, desired, undesired, group)`."""

from collections.abc import Callable

import numpy as np

from lens_steer import organism

Row = tuple[str, str, str, str]

_NAMES = (
    "Lily Tom Max Sue Ben Mia Sam Anna Tim Lucy Jack Sara Bob Amy "
    "Leo Emma Dan Kate Joe Nina Spot Jane Fred Rose Mark Ella Paul Zoe "
    "Nick Lisa Pete Ruby Bill Mary Alex Sophie John Jill Billy Molly"
)
_OPENINGS = (
    "Once upon a time, there was a little girl named {name}.",
    "Once upon a time, there was a little boy named {name}.",
    "Once upon a time, there was a child named {name}. {name} had a {toy}.",
    "Once upon a time, {name} lived in a small house with a big garden.",
    "One day, {name} went to the park with a {toy}.",
    "One day, {name} and mom went for a walk.",
    "One day, {name} was playing with a {toy}.",
    "{name} liked to play outside with a {toy}.",
)
_TOYS = "ball doll car book hat kite cake flower bear boat"
_TURNS = (
    ("{name} lost the {toy}.", "{name} found the {toy}."),
    ("The {toy} broke.", "The {toy} was new."),
    ("{name} fell down and got hurt.", "{name} ran and played with a friend."),
    ("The rain came and {name} could not play.", "The sun came out and {name} could play."),
    ("A mean boy took the {toy}.", "A nice boy gave {name} a {toy}."),
    ("{name} was all alone.", "{name} had many friends."),
    ("Mom said no.", "Mom said yes."),
)
_ENDS = ("{name} was very", "{name} felt very", "{name} was so", "{name} felt so")


def named(name: str) -> list[Row]:
    """The rows of a named set.

    Raises:
        ValueError: If there is no such set; the message lists them.
    """
    family, _, behaviour = name.partition(":")
    if family == "organism" and behaviour:
        return list(organism.rows(behaviour))
    if name not in _SETS:
        raise ValueError(
            f"unknown set {name!r}: expected one of {', '.join(set_names())}, or a .jsonl or .csv "
            "file"
        )
    return _SETS[name]()


def set_names() -> tuple[str, ...]:
    """The names of all named sets."""
    return (*(f"organism:{behaviour}" for behaviour in organism.behaviours()), *_SETS)


def behaviour_words(name: str) -> tuple[str, ...]:
    """Words that show a named set's behaviour in a text; empty for any other set."""
    return _WORDS.get(name, ())


def _sad_stories() -> list[Row]:
    """Sad and happy turns of a children's story, both ending in the same word ("... was very").

    The shared last word keeps a word for the mood out of what is read there: the activation holds
    what is about to be said. There is a row for each name and opening; the name is the group.
    """
    draw, names, toys = np.random.default_rng(0), _NAMES.split(), _TOYS.split()
    rows = []
    for name in names:
        for opening in _OPENINGS:
            sad, happy = _TURNS[draw.integers(len(_TURNS))]
            end = _ENDS[draw.integers(len(_ENDS))]
            words = {"name": name, "toy": toys[draw.integers(len(toys))]}
            prompt, *turns = (
                text.format(**words) for text in (opening, f" {sad} {end}", f" {happy} {end}")
            )
            rows.append((prompt, *turns, name))
    return rows


_SETS: dict[str, Callable[[], list[Row]]] = {"stories:sad": _sad_stories}
_WORDS = {
    "stories:sad": (
        "sad",
        "sadly",
        "cry",
        "cries",
        "cried",
        "crying",
        "tear",
        "tears",
        "upset",
        "unhappy",
        "lonely",
        "sorry",
        "hurt",
    )
}
