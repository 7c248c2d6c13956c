"""`make gallery`: runs the code of gallery.md and draws docs/pictures anew.

A picture shows the `figure` that the block of code above it has made.
"""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DPI = 72  # of the pictures: all together they take less than 1.5 MB

_PARTS = re.compile(r"```python\n(.*?)```|!\[[^\]]*\]\((pictures/\S+\.png)\)", flags=re.DOTALL)


def parts(page: str) -> list[tuple[str, str]]:
    """Return blocks of code, each with the picture that follows it, or ''."""
    found: list[tuple[str, str]] = []
    for code, picture in _PARTS.findall((DOCS / page).read_text(encoding="utf-8")):
        if code:
            found.append((code, ""))
        elif found:
            found[-1] = (found[-1][0], picture)
    return found


def main() -> None:
    """Run the page, and draw."""
    names: dict[str, Any] = {}
    for code, _ in parts("index.md"):
        exec(code, names)
    for code, picture in parts("gallery.md"):
        exec(code, names)
        if picture:
            names.pop("figure").savefig(DOCS / picture, dpi=DPI, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
