"""What every report has: a table, a figure, one screen of text, and a table in a notebook."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # both take long to import
    import pandas as pd
    from matplotlib.figure import Figure

_ROWS = 20  # of a table, on one screen


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
        table = self.table()
        more = f"\n... {len(table) - _ROWS} more rows" if len(table) > _ROWS else ""
        shown = table.head(_ROWS).to_string(index=False, float_format=lambda x: f"{x:.4g}")
        return f"{type(self).__name__}\n{shown}{more}"

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        return self.table().to_html(index=False, float_format=lambda x: f"{x:.4g}", max_rows=_ROWS)
