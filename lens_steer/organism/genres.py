"""The six kinds of text: the definition of the language."""

from functools import cache

from lens_steer.organism.genre import Genre
from lens_steer.organism.genres_of_mood import diary, reply, review
from lens_steer.organism.genres_of_world import fact, forecast, request
from lens_steer.organism.machine import Node, weighted, words_of


@cache
def genres() -> dict[str, Genre]:
    """All of them, by name."""
    made = (review(), fact(), reply(), request(), diary(), forecast())
    return {genre.name: genre for genre in made}


@cache
def language() -> Node:
    """Every text of the language."""
    return weighted(*((genre.share, genre.node()) for genre in genres().values()))


@cache
def words() -> frozenset[str]:
    """Every word of the language."""
    return frozenset(words_of(language()))
