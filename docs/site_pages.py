"""Used by mkdocs: pages that lie outside docs/, and links as they read in the repository.

Pages are written so that their links work where the repository is read. Here files from other
folders become pages of the site (`PLACES`), and each link is led to where its target lies there. A
link to a file that is no page, such as a module, becomes the words of the link. Pages of the
reference say `<!-- room: lens_steer.data -->` where the docstrings of all that the room exports
shall stand, and `<!-- flat names -->` where a list of what `ls.` offers shall.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

# What of the repository is a page or a picture, and where it lies in the site: one name for each *.
PLACES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "notebooks/*.ipynb": "notebooks/*.ipynb",
    "analyses/results/*/README.md": "results/*.md",
    "analyses/results/text_kinds/*/skill.png": "results/text_kinds/*/skill.png",
    "analyses/results/text_kinds/*/kinds.png": "results/text_kinds/*/kinds.png",
    "analyses/results/registered/*/gates.png": "results/registered/*/gates.png",
    "analyses/results/registered/*/contrasts.png": "results/registered/*/contrasts.png",
    "lens_steer/organism/card.md": "organism/card.md",
    "lens_steer/organism/figures/*.png": "organism/figures/*.png",
}
ALSO = {"README.md": "index.md"}  # the first page says the same

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_ROOM = re.compile(r"<!-- room: ([\w.]+) -->")
_SHOWN = re.compile(r"^::: ([\w.]+)$", flags=re.MULTILINE)
_HREF = re.compile(r'href="([^":#]+\.(?:ipynb|md))(#[^"]*)?"')


def outside() -> Iterator[tuple[str, str]]:
    """Yield path in the repository and path in the site of each file that lies outside docs/."""
    for pattern, place in PLACES.items():
        before, _, after = pattern.partition("*")
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            yield name, place.replace("*", name[len(before) : len(name) - len(after)])


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures of other folders."""
    for name, place in outside():
        if name == place:  # mkdocs-jupyter needs the folder that a notebook is named from
            folders = str(ROOT), config.site_dir, config.use_directory_urls
            files.append(File(name, *folders))
        else:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put in what rooms export, and lead links to where their targets lie in the site."""
    markdown = markdown.replace("<!-- flat names -->", flat_names())
    markdown = _ROOM.sub(lambda room: _of_room(room[1]), markdown)
    return _LINK.sub(lambda link: _as_in_site(link, page.file.src_uri), markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Do the same in notebooks, which come as HTML."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    return _HREF.sub(lambda link: _as_html(link, page.file.src_uri), output)


def place_of(target: str, page: str) -> str | None:
    """Return where a link on a page of the site leads, from that page; None: to no page."""
    homes = {place: name for name, place in outside()}
    home = homes.get(page, f"docs/{page}")
    name = os.path.normpath(os.path.join(os.path.dirname(home), target)).replace(os.sep, "/")
    places = dict(outside()) | ALSO
    place = places.get(name, name.removeprefix("docs/") if name.startswith("docs/") else None)
    return place and os.path.relpath(place, os.path.dirname(page) or ".").replace(os.sep, "/")


def exports(room: str) -> list[str]:
    """Return the names that the `__init__` of a room exports, in its order."""
    path = ROOT.joinpath(*room.split("."), "__init__.py")
    lines = ast.parse(path.read_text(encoding="utf-8")).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    return [name.name for line in imports for name in line.names if name.asname == name.name]


def with_own_page() -> set[str]:
    """Return the names whose docstrings stand on pages of methods."""
    pages = (ROOT / "docs" / "methods").glob("*.md")
    return {name for page in pages for name in _SHOWN.findall(page.read_text(encoding="utf-8"))}


def flat_names() -> str:
    """Return what `lens_steer/__init__.py` offers, as a list of links under its own headings."""
    said: list[str] = []
    for line in (ROOT / "lens_steer" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"# (\w[\w ,:]+)\.", line):
            said.append(f"\n## {heading[1]}\n")
        elif name := re.fullmatch(r"from (lens_steer\.[\w.]+) import (\w+) as (\w+)", line):
            said.append(f"- [`ls.{name[3]}`][{name[1]}.{name[2]}]")
    return "\n".join(said)


def _of_room(room: str) -> str:
    own = with_own_page()
    names = [f"{room}.{name}" for name in exports(room) if name.isidentifier()]
    about = f"::: {room}\n    options:\n      members: false\n      show_root_heading: false\n"
    return about + "".join(f"\n::: {name}\n" for name in names if name not in own)


def _as_in_site(link: re.Match[str], page: str) -> str:
    picture, words, target, part = link.groups(default="")
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    place = place_of(target, page)
    return f"{picture}[{words}]({place}{part})" if place else words


def _as_html(link: re.Match[str], page: str) -> str:
    place = place_of(link[1], page)
    return f'href="{os.path.splitext(place)[0]}.html{link[2] or ""}"' if place else link[0]
