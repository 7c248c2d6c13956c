"""Write `docs/architecture.md` and its drawing from the code: `python docs/architecture.py`.

The page draws the rooms of the package with the imports between them, and follows three calls
through the files. Nothing on it is written by hand but the sentences of this file.
"""

import ast
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from lens_steer.arguments import Expected, OneLineParser

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lens_steer"
PAGE = ROOT / "docs" / "architecture.md"
HEADER = """# Architecture

This page is written by `python docs/architecture.py` from the imports and from three calls that are
followed while they run; a test holds the drawing to the code.

A room is a folder (or a single file) of `lens_steer`. From outside it is entered by its `__init__`
alone, and imports only point downwards: `make layers` checks both. Mathematics sees tensors, never
models; hooks are placed in `models` and edited in `steering`.

## The rooms

An arrow means "imports". An import that a longer path implies is not drawn. `arguments` and the
single files `axes` (shapes), `files`, `figures`, `reports` and `sites` (hook names) are used by
many rooms, and `renamed` is used by none; they are left out of the drawing.

"""
PICTURE = "![Boxes for the rooms, arrows for their imports](pictures/architecture.svg)\n"


def rooms() -> dict[str, list[Path]]:
    """The files of each room; a single file is a room of its own."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        name = inside.parts[0].removesuffix(".py")
        if name not in ("__init__", "__main__"):
            found.setdefault(name, []).append(path)
    return found


def imports() -> set[tuple[str, str]]:
    """Pairs of rooms, the first of which imports the second."""
    known, found = rooms(), set()
    for room, paths in known.items():
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    found |= {(room, target) for target in _targets(node) if target in known}
    return {(a, b) for a, b in found if a != b}


def _targets(node: ast.ImportFrom) -> list[str]:
    if node.module == "lens_steer":
        return [alias.name for alias in node.names]
    package, _, inside = str(node.module).partition(".")
    return [inside.split(".")[0]] if package == "lens_steer" and inside else []


def reduced(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that no longer path implies.

    Raises:
        ValueError: If there is a circle.
    """
    following: dict[str, set[str]] = {}
    for a, b in edges:
        following.setdefault(a, set()).add(b)

    def reached(start: str, path: tuple[str, ...] = ()) -> set[str]:
        if start in path:
            raise ValueError(f"rooms import each other in a circle: {' -> '.join([*path, start])}")
        inside = (reached(b, (*path, start)) for b in following.get(start, ()))
        return following.get(start, set()).union(*inside)

    return sorted(
        (a, b) for a, b in edges if not any(b in reached(c) for c in following[a] if c != b)
    )


def drawn_edges() -> list[tuple[str, str]]:
    """The imports that are drawn: not of single files, and not what a longer path implies."""
    single = {"arguments", "axes", "figures", "files", "renamed", "reports", "sites"}
    return reduced({(a, b) for a, b in imports() if not {a, b} & single})


def rows(edges: list[tuple[str, str]]) -> list[list[str]]:
    """Rooms by depth: each as near below what imports it as its other importers let it.

    A room that none imports stands right above what it imports. Within a row, rooms stand below
    the middle of their importers, so that few arrows cross.
    """
    above: dict[str, set[str]] = {room: set() for edge in edges for room in edge}
    for a, b in edges:
        above[b].add(a)

    def depth(room: str) -> int:
        return 1 + max(map(depth, above[room]), default=-1)

    depths = {room: depth(room) for room in above}
    for room in [room for room in above if not above[room]]:
        depths[room] = min(depths[b] for a, b in edges if a == room) - 1
    found: list[list[str]] = []
    placed: dict[str, float] = {}
    for level in range(max(depths.values()) + 1):
        here = [room for room in sorted(above) if depths[room] == level]
        middle = {r: sum(placed[a] for a in above[r]) / max(1, len(above[r])) for r in here}
        found.append(sorted(here, key=lambda room: (middle[room], room)))
        placed |= {room: i - (len(here) - 1) / 2 for i, room in enumerate(found[-1])}
    return found


def drawing() -> str:
    """The rooms as an SVG picture: boxes in rows, arrows from a room to what it imports."""
    edges = drawn_edges()
    levels = rows(edges)
    width, step, down = 132 * max(map(len, levels)), 132, 56
    at = {
        room: (width / 2 + step * (i - (len(row) - 1) / 2), 24 + down * level)
        for level, row in enumerate(levels)
        for i, room in enumerate(row)
    }
    lines = [
        f'<line x1="{at[a][0]:g}" y1="{at[a][1] + 14:g}" x2="{at[b][0]:g}" '
        f'y2="{at[b][1] - 18:g}" stroke="#555" marker-end="url(#arrow)"/>'
        for a, b in edges
    ]
    boxes = [
        f'<rect x="{x - 56:g}" y="{y - 14:g}" width="112" height="28" rx="4" fill="#e8eaf6" '
        f'stroke="#3f51b5"/><text x="{x:g}" y="{y + 5:g}" text-anchor="middle">{room}</text>'
        for room, (x, y) in at.items()
    ]
    size = f"{width} {down * len(levels)}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width}" '
        'font-family="sans-serif" font-size="14">\n<title>The rooms and their imports</title>\n'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>\n'
    )
    return head + "\n".join([*lines, *boxes, "</svg>\n"])


def table() -> str:
    """What each room is for, in its own words, with its size."""
    written = ["| room | files | lines | what it is for |", "|---|---|---|---|"]
    for room, paths in rooms().items():
        first = next((p for p in paths if p.name == "__init__.py"), paths[0])
        doc = ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or ""
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        sentence = " ".join(doc.split("\n\n")[0].split())
        written.append(f"| `{room}` | {len(paths)} | {lines} | {sentence} |")
    return "\n".join(written) + "\n"


def walk(call: Callable[[], Any]) -> dict[str, Counter[str]]:
    """Files in the order in which a call first enters them, and their functions that it enters."""
    entered: dict[str, Counter[str]] = {}

    def enter(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event != "call" or not path.is_relative_to(PACKAGE) or code.co_name.startswith("<"):
            return
        file = str(path.relative_to(PACKAGE))
        if file.startswith("arguments"):  # the checks of every call, whichever it is
            return
        entered.setdefault(file, Counter())[code.co_qualname] += 1

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def walks() -> dict[str, dict[str, Counter[str]]]:
    """The three calls, on the embedded model, after it has been looked at once."""
    import lens_steer as ls

    model = ls.load_model("organism", device="cpu")
    train = ls.ContrastivePairs.load("organism:sentiment").first(8)
    resid = ls.capture(model, train, "resid", read="mean", progress=False)
    jacobians = ls.linearize(model, train, progress=False)
    caa = ls.CAA.fit(resid.at(layer=3))
    return {
        'ls.capture(model, pairs, "resid", read="mean")': walk(
            lambda: ls.capture(model, train, "resid", read="mean", progress=False)
        ),
        "ls.generate(model, prompts, caa, seed=0)": walk(
            lambda: ls.generate(model, train.prompts[:2], caa, max_new_tokens=8, seed=0)
        ),
        "ls.LQR.fit(jacobians, resid)": walk(lambda: ls.LQR.fit(jacobians, resid)),
    }


def page() -> str:
    """The whole page."""
    parts = [HEADER, PICTURE, "\n", table(), "\n## Three calls\n"]
    for name, entered in walks().items():
        functions = sum(map(len, entered.values()))
        parts.append(f"\n### `{name}`\n\n{functions} functions in {len(entered)} files:\n\n")
        for number, (file, names) in enumerate(entered.items(), start=1):
            shown = ", ".join(f"`{name}`" for name in names)
            parts.append(f"{number}. `{file}`: {shown}\n")
    return "".join(parts)


def main() -> None:
    """Write the page, and its drawing into a folder `pictures` beside it."""
    parser = OneLineParser(description=__doc__)
    place = Annotated[Path, Expected("the path of a file in a folder that exists", _can_be_page)]
    parser.add("--out", place, default=PAGE, help="where the page is written")
    out = parser.parse_args().out
    out.write_text(page(), encoding="utf-8")
    picture = out.parent / "pictures" / "architecture.svg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(drawing(), encoding="utf-8")


def _can_be_page(path: Path) -> bool:
    return path.parent.is_dir() and not path.is_dir()


if __name__ == "__main__":
    main()
