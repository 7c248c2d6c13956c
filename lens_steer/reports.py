"""What every report has: a table, a figure, one screen of text, and both in a notebook."""

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from html import escape
from inspect import isfunction
from io import BytesIO
from math import isfinite
from textwrap import shorten
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lens_steer.arguments import shortened

if TYPE_CHECKING:  # both take long to import
    import pandas as pd
    from matplotlib.figure import Figure

ROWS, WIDTH = 19, 100  # of a table on one screen, with three lines around it; in letters
_CELL = 46  # letters of a text in a table
_LATEX = str.maketrans(
    {
        **{mark: rf"\{mark}" for mark in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": "$<$", ">": "$>$", "|": "$|$"},
    }
)
_SECONDS = 1.0  # a table that takes longer is shown without its figure, which would as well


class Report(ABC):
    """A finished analysis: frozen values, which a table and a figure show.

    What is estimated from a model or from data is made by `fit`; what only rearranges another
    object is made by `of`. Reports are frozen dataclasses and can be saved (`lens_steer.save`).
    """

    @abstractmethod
    def table(self) -> "pd.DataFrame":
        """The numbers of the report, with their intervals; units are in the names of columns."""

    @abstractmethod
    def figure(self, *args: Any, **options: Any) -> "Figure":
        """The report as a matplotlib Figure, with units and intervals."""

    def __repr__(self) -> str:
        """The name of the report and the first rows of its table, on one screen."""
        return f"{type(self).__name__}\n{screenful(self.table())}"

    def _repr_html_(self) -> str:
        """The first rows of the table and the figure, as a notebook shows them."""
        start = perf_counter()
        table = self.table()
        shown = folded(table.head(ROWS)).to_html(index=False)
        more = f"<p>... {len(table) - ROWS} more rows</p>" if len(table) > ROWS else ""
        parts = [f"<b>{type(self).__name__}</b>", shown, more]
        if perf_counter() - start > _SECONDS:
            parts.append("<p>.figure() draws it</p>")
        else:
            parts.append(self._figure_as_html())
        return "\n".join(parts)

    def _figure_as_html(self) -> str:
        """The figure as an image, or why there is none."""
        try:
            figure = self.figure()
        except ValueError as error:  # a report that has nothing to draw says so
            return f"<p>no figure: {escape(str(error))}</p>"
        image = BytesIO()
        figure.savefig(image, format="png", dpi=80)
        data = b64encode(image.getvalue()).decode("ascii")
        return f'<img alt="{type(self).__name__}" src="data:image/png;base64,{data}">'


def folded(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table as texts, each number and its interval in one column: `0.50 [0.37, 0.63]`.

    Columns `x_low` and `x_high` beside `x` are folded into `x`. Long texts are shortened; what is
    NaN is a dash.

    Args:
        table: Any table.

    Example:
        >>> folded(pd.DataFrame({"share": [0.5], "share_low": [0.37], "share_high": [0.63]}))
    """
    import pandas as pd

    names, texts = list(table.columns), {}
    ends = {f"{name}{end}" for name in names for end in ("_low", "_high") if _triple(name, names)}
    for name in names:
        if name in ends:
            continue
        group = [name, f"{name}_low", f"{name}_high"] if _triple(name, names) else [name]
        columns = [table[column].tolist() for column in group]
        texts[name] = _texts(columns)
    return pd.DataFrame(texts, index=table.index)


def screenful(table: "pd.DataFrame", *, rows: int = ROWS, width: int = WIDTH) -> str:
    """A table on one screen: its first rows and columns, and how many others there are.

    Args:
        table: Any table.
        rows: At most so many.
        width: Of a line, in letters.
    """
    if table.empty:
        return f"no rows; columns: {shorten(', '.join(map(str, table.columns)), width - 18)}"
    short: Any = folded(table.head(rows))
    shown: list[Any] = []
    for name in short.columns:
        if shown and len(_lines(short[[*shown, name]])[0]) > width:
            break
        shown.append(name)
    lines = [line[:width] for line in _lines(short[shown])]
    if len(table) > rows:
        lines.append(f"... {len(table) - rows} more rows")
    left = [str(name) for name in short.columns[len(shown) :]]
    if left:
        names = shorten(", ".join(left), width - 24, placeholder=" ...")
        lines.append(f"... {len(left)} more columns: {names}")
    return "\n".join(lines)


def latex_table(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    r"""Texts as a LaTeX `tabular` that needs no package, under notes as comments.

    What LaTeX would read as a command is escaped. Letters that the document's font does not have,
    such as Greek ones for pdflatex, stay as they are.

    Args:
        columns: The headings.
        rows: A text for each column, of each row.
        notes: What stands above it; line breaks in them become spaces.

    Example:
        >>> latex_table(["share, %"], [["0.5 & more"]], ["a note"]).splitlines()[-3]
        '0.5 \\& more \\\\'
    """
    head = [f"% {' '.join(note.split())}" for note in notes]
    begin = rf"\begin{{tabular}}{{{'l' * len(columns)}}}"
    lines = [begin, r"\hline", _latex_row(columns), r"\hline", *map(_latex_row, rows)]
    return "\n".join([*head, *lines, r"\hline", r"\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    line = " & ".join(" ".join(cell.split()).translate(_LATEX) for cell in cells)
    # Behind the end of a row, a bracket or a star would be read as the space below that row.
    guard = "{}" if line.startswith(("[", "*")) else ""
    return rf"{guard}{line} \\"


def few(values: Sequence[Any], *, most: int = 8) -> str:
    """Values beside each other; of many the first, and the last after dots.

    Args:
        values: Texts, or numbers, which are written with three digits.
        most: At most so many.

    Example:
        >>> few(range(80))
        '0 1 2 3 ... 76 77 78 79'
    """
    texts = [f"{x:.3g}" if isinstance(x, int | float) else str(x) for x in values]
    if len(texts) > most:
        texts = [*texts[: most // 2], "...", *texts[-(most // 2) :]]
    return " ".join(texts)


def shortened_in_the_middle(text: str, width: int = WIDTH) -> str:
    """A text with dots in place of its middle, if it is longer than a line.

    Args:
        text: Any text.
        width: Of the line, in letters.

    Example:
        >>> shortened_in_the_middle("one two three", width=9)
        'one...ree'
    """
    half = (width - 3) // 2
    return text if len(text) <= width else f"{text[: width - 3 - half]}...{text[-half:]}"


def short_repr(self: object) -> str:
    """A dataclass with its fields in short: of tensors the shape, of long texts both ends.

    Assigned as `__repr__` in the class, it stands in place of the one that lists every number.

    Args:
        self: A dataclass.
    """
    value: Any = self
    shown = [field.name for field in fields(value) if field.repr]
    listed = ", ".join(f"{name}={_in_short(getattr(value, name))}" for name in shown)
    return f"{type(self).__name__}({listed})"


def _in_short(value: Any) -> str:
    """A value as in an error; a function by its name, without its address."""
    if isfunction(value):
        return value.__qualname__
    return str(value) if isinstance(value, Enum) else shortened(value)


def _lines(table: "pd.DataFrame") -> list[str]:
    return table.to_string(index=False).split("\n")


def _triple(name: Any, names: Sequence[Any]) -> bool:
    return f"{name}_low" in names and f"{name}_high" in names


def _texts(columns: Sequence[Sequence[Any]]) -> list[str]:
    """The cells of a column, or of a mean with its ends."""
    cells = list(zip(*columns, strict=True))
    rounded = len(columns) > 1 and 0.1 <= max(map(_largest, cells), default=0.0) < 100
    rows = []
    for row in cells:
        small = 0 < _largest(row) < 0.1  # two decimals would leave nothing of it
        style = (".2g" if small else ".2f") if rounded else ".4g"
        rows.append([_text(cell, style) for cell in row])
    return [row[0] if len(row) == 1 else _interval(*row) for row in rows]


def _largest(cells: Sequence[Any]) -> float:
    return max((abs(x) for x in cells if isinstance(x, float) and isfinite(x)), default=0.0)


def _interval(mean: str, low: str, high: str) -> str:
    return mean if low == high == "-" else f"{mean} [{low}, {high}]"


def _text(cell: Any, style: str) -> str:
    if isinstance(cell, float):
        return "-" if cell != cell else format(cell, style)  # noqa: PLR0124 - NaN alone is not itself
    return shortened_in_the_middle(" ".join(str(cell).split()), _CELL)  # sites stand at the end
