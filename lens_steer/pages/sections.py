"""Each result as a part of a page: a heading, words, figures, and tables."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_steer.arguments import shortened
from lens_steer.benchmark import Comparison, DoseResponse, Frontier
from lens_steer.reports import Report

if TYPE_CHECKING:  # both take long to import
    import pandas as pd
    from matplotlib.figure import Figure

_ROWS, _COLUMNS = 40, 9  # of a table; a larger one is folded away
_TEXTS = 6  # prompts whose texts are shown side by side
_OWN_HTML = ("Generation", "GeneratedText", "SideBySide", "Projection")  # coloured texts


@dataclass(frozen=True)
class Drawing:
    """A figure of a page.

    Attributes:
        name: What it shows, for readers who do not see it.
        source: The picture itself, as an address that holds SVG.
    """

    name: str
    source: str


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        words: Paragraphs.
        drawings: Figures.
        table: HTML of a table, or of coloured texts; empty for none.
        more: HTML of a larger table, folded away; empty for none.
        code: Lines to be copied.
    """

    title: str
    words: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    table: str = ""
    more: str = ""
    code: str = ""


def sections_of(title: str, value: Any) -> Iterator[Section]:
    """The parts of a page that show a value.

    Raises:
        ValueError: If it is nothing that can be shown.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    if isinstance(value, str):
        yield Section(title, words=tuple(filter(None, map(str.strip, value.split("\n\n")))))
    elif isinstance(value, Comparison):
        yield from _of_comparison(title, value)
    elif isinstance(value, pd.DataFrame):
        yield tabled(Section(title), value)
    elif isinstance(value, Figure):
        yield Section(title, drawings=(drawn(title, value),))
    elif isinstance(value, Report):
        yield _of_report(title, value)
    else:
        raise ValueError(
            f"got {shortened(value)} for {title!r}, expected text, a table of pandas, a figure of "
            "matplotlib, or a result of lens_steer that has a table and a figure"
        )


def _of_report(title: str, value: Report) -> Section:
    figure = drawn(title, value.figure())
    if type(value).__name__ in _OWN_HTML:
        return Section(title, drawings=(figure,), table=str(getattr(value, "html")()))  # noqa: B009
    words = tuple(getattr(value, "notes", ()))
    brief = value.brief() if hasattr(value, "brief") else None  # type: ignore[attr-defined]
    return tabled(Section(title, words, (figure,)), value.table(), brief)


def _of_comparison(title: str, value: Comparison) -> Iterator[Section]:
    whole = value.table()
    for name in value.behaviours:
        frontier, doses = Frontier.of(value, name), DoseResponse.of(value, name)
        heading = f"{title}: {name}" if len(value.behaviours) > 1 else title
        part: Any = whole[whole["behaviour_name"] == name]
        yield tabled(
            Section(
                heading,
                ("Shares and costs are of held-out prompts, with 95 % intervals in brackets.",),
                (
                    drawn("Behaviour against nats paid", frontier.figure()),
                    drawn("Behaviour and cost by strength", doses.figure()),
                ),
            ),
            part,
            _brief(part),
        )
        yield Section(f"{heading}, texts side by side", table=_html(_side_by_side(value, name)))


def _brief(table: "pd.DataFrame") -> "pd.DataFrame":
    """A row for each method, intervals in brackets."""
    import pandas as pd

    def shown(row: Any, name: str, form: str) -> str:
        mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
        if mean != mean:
            return "-"
        return f"{mean:{form}} [{low:{form}}, {high:{form}}]"

    return pd.DataFrame(
        {
            "method": row["method"],
            "shows it": shown(row, "behaviour", ".0%"),
            "nats per token": shown(row, "kl", ".3f"),
            "nats per text": shown(row, "kl_sequence", ".2f"),
            "efficiency": shown(row, "efficiency", ".2f"),
            "perplexity": shown(row, "perplexity", ".2f"),
            "failed": f"{row['failed']:.0%}",
            "p (Holm)": "-" if row["p_holm"] != row["p_holm"] else f"{row['p_holm']:.3f}",
        }
        for row in table.to_dict("records")
    )


def _side_by_side(value: Comparison, name: str) -> "pd.DataFrame":
    """Texts of the first prompts, a column for each method at its own strength."""
    import pandas as pd

    columns: dict[str, list[str]] = {}
    for trial in value.trials:
        wanted = trial.behaviour_name == name and trial.multiple in (0.0, 1.0)
        if wanted and trial.method not in columns:
            columns[trial.method] = [*trial.evaluation.texts[:_TEXTS]]
    most = max(map(len, columns.values()))
    table = pd.DataFrame(
        {key: texts + [""] * (most - len(texts)) for key, texts in columns.items()}
    )
    table.insert(0, "prompt", range(1, most + 1))
    return table


def tabled(section: Section, whole: "pd.DataFrame", brief: "pd.DataFrame | None" = None) -> Section:
    """The section with a table; of one that does not fit on a page the rest is folded away."""
    small = len(whole) <= _ROWS and whole.shape[1] <= _COLUMNS
    first = brief if brief is not None else whole.iloc[:_ROWS, :_COLUMNS]
    more = "" if small and brief is None else _html(whole)
    return Section(section.title, section.words, section.drawings, _html(first), more, section.code)


def _html(table: "pd.DataFrame") -> str:
    return table.to_html(
        index=False, border=0, na_rep="-", float_format=lambda x: f"{x:.4g}", justify="left"
    )


def drawn(name: str, figure: "Figure") -> Drawing:
    """A figure as SVG, the same bytes for the same figure."""
    from matplotlib import rc_context

    target = io.BytesIO()
    with rc_context({"svg.hashsalt": "lens_steer"}):
        figure.savefig(target, format="svg", bbox_inches="tight", metadata={"Date": None})
    data = base64.b64encode(target.getvalue()).decode("ascii")
    return Drawing(name, f"data:image/svg+xml;base64,{data}")
