"""`report`: the page itself."""

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lens_steer.arguments import Accepts, FilePath, Text
from lens_steer.files import write_whole
from lens_steer.models import versions
from lens_steer.pages.folders import sections_of_folder, title_of_folder
from lens_steer.pages.sections import Section, sections_of

if TYPE_CHECKING:
    import jinja2


def report(
    results: Annotated[Any, Accepts(Any)],
    out: FilePath = "report.html",
    *,
    title: Text | None = None,
) -> Path:
    """Write results as one HTML file: figures, tables and texts, readable without a network.

    It has a contents list, follows the light or dark of the reader's screen, and prints. Figures
    are SVG with units and intervals on them; a table that is too large for a page is folded away.

    Args:
        results: The folder of `lens-steer demo` or `compare`, or of `benchmark.run(..., out=)`; or
            the table of `compare`, a `Comparison`, an `AnswerTable` or any other report; or a
            mapping of headings to these, to figures and to text, in order.
        out: The file, which ends in .html; an older one is replaced.
        title: The heading of the page; None makes one of the results.

    Returns:
        The file that was written.

    Raises:
        ValueError: If there is nothing to show, a result cannot be shown, a folder holds no
            results, or the file cannot be written or is called otherwise.

    Example:
        >>> ls.report("out/demo", out="report.html")
        >>> found = {"What": "Praise at layer 3.", "Methods": table, "Texts": run}
        >>> ls.report(found, out="report.html", title="Praise")
    """
    target = Path(out)
    check_page(target)
    sections = list(_sections(results))
    if not sections:
        raise ValueError("got no results, expected at least one to show")
    text = _template().render(
        title=title or _title_of(results),
        sections=sections,
        versions=", ".join(f"{name} {number}" for name, number in versions().packages),
    )
    write_whole(target, lambda place: place.write_text(text, encoding="utf-8"))
    return target


def check_page(out: FilePath) -> None:
    """Raise a ValueError unless a page can be written there: any other file is left alone."""
    target = Path(out)
    if target.suffix.lower() != ".html":
        raise ValueError(f"got {str(out)!r}, expected a file whose name ends in .html")
    if target.is_dir() or not target.parent.is_dir():
        wrong = "is a folder" if target.is_dir() else "is in no folder that exists"
        raise ValueError(f"{str(out)!r} {wrong}: choose another place")


def _sections(results: Any) -> Iterator[Section]:
    if isinstance(results, str | Path):
        yield from sections_of_folder(Path(results))
    elif isinstance(results, Mapping):
        for title, value in results.items():
            yield from sections_of(str(title), value)
    else:
        yield from sections_of(_title_of(results), results)


def _title_of(results: Any) -> str:
    if isinstance(results, str | Path):
        return title_of_folder(Path(results))
    return "Results" if isinstance(results, Mapping) else f"Results: {type(results).__name__}"


def _template() -> "jinja2.Template":
    import jinja2

    text = files("lens_steer.pages").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["anchor"] = lambda title: escape("-".join(title.lower().split()))
    return environment.from_string(text)
