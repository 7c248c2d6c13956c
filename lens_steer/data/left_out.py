"""What was left out of a set while it was read: why, how often, and which rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_SHOWN = 3  # rows that are named in print


@dataclass(frozen=True, repr=False, eq=False)  # it equals any mapping of the same counts
class LeftOut(Mapping[str, int]):
    """How many rows were left out for each reason; `rows` says which they were.

    Attributes:
        rows: The places of the rows, by reason: "line 3" of a file, "row 2" of a list (from 0).

    Example:
        >>> LeftOut({"a blank sentence": ("line 3", "line 8")})
        2 with a blank sentence (line 3, line 8)
    """

    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, reason: str) -> int:
        return len(self.rows[reason])

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return "; ".join(_in_words(reason, places) for reason, places in self.rows.items()) or "0"

    @property
    def total(self) -> int:
        """How many rows were left out for any reason."""
        return sum(self.values())

    @classmethod
    def of(cls, found: Iterable[tuple[str, str]]) -> "LeftOut":
        """Gather couples of reason and place, in their order.

        Args:
            found: A reason, worded to follow "with", and the place of one row.
        """
        rows: dict[str, list[str]] = {}
        for reason, place in found:
            rows.setdefault(reason, []).append(place)
        return cls({reason: tuple(places) for reason, places in rows.items()})


def _in_words(reason: str, places: tuple[str, ...]) -> str:
    more = ", ..." if len(places) > _SHOWN else ""
    return f"{len(places)} with {reason} ({', '.join(places[:_SHOWN])}{more})"


def left_out_in_words(left_out: Mapping[str, int]) -> str:
    """What follows the counts of a set in print; empty if nothing was left out."""
    if not left_out:
        return ""
    listed = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
    return f"; left out: {left_out if isinstance(left_out, LeftOut) else listed}"
