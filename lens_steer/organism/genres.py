"""The six kinds of text, which together are the definition of the language."""

from functools import cache

from lens_steer.organism.genre import Genre
from lens_steer.organism.machine import Node, weighted, words_of
from lens_steer.organism.speaker_genres import diary, reply, review
from lens_steer.organism.world_genres import fact, forecast, request


@cache
def genres() -> dict[str, Genre]:
    """All genres by name."""
    all_of_them = (review(), fact(), reply(), request(), diary(), forecast())
    return {genre.name: genre for genre in all_of_them}


@cache
def language() -> Node:
    """The grammar of every text of the language."""
    return weighted(*((genre.share, genre.node()) for genre in genres().values()))


@cache
def words() -> frozenset[str]:
    """Every word of the language."""
    return frozenset(words_of(language()))
