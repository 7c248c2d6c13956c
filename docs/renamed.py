"""Write `docs/renamed.md` from the tables of `lens_steer.renamed`: `python docs/renamed.py`."""

from pathlib import Path

from lens_steer import renamed

PAGE = Path(__file__).parent / "renamed.md"
HEADER = """# Renamed

What names of version 0.1 are now. Old names of the package and of its rooms still work: a name that
only moved works as it did, and one that changed warns and says the new name. This page is written
by `python docs/renamed.py` from `lens_steer/renamed.py`, and a test holds the two together.
"""


def row(*cells: str) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |\n"


def code(room: str, name: str = "") -> str:
    """A room, or a name in it, as code."""
    return f"`{renamed.path_of(room)}{'.' if name else ''}{name}`"


def page() -> str:
    """The whole page."""
    rooms = [row(code(old), code(new)) for old, new in renamed.ROOMS.items()]
    moved = [
        row(code(room, name), code(now, name))
        for room, names in renamed.MOVED.items()
        for name, now in names.items()
    ]
    changed = [row(code(*old), code(*new)) for old, new in renamed.RENAMED.items()]
    removed = [row(code(*old), instead) for old, instead in renamed.REMOVED.items()]
    tables = (
        ("Rooms", "now", rooms),
        ("Names that moved", "now", moved),
        ("Names that changed", "now", changed),
        ("Names that are gone", "instead", removed),
    )
    parts = [HEADER]
    for title, heading, rows in tables:
        parts.append(f"\n## {title}\n\n{row('version 0.1', heading)}{row('---', '---')}")
        parts += rows
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
