"""Whether several attributions of the same elements agree, by method or label by label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lens_steer.activations import Activations
from lens_steer.arguments import Count
from lens_steer.artifacts import savable
from lens_steer.attribution.contrasts import contrast_of_pairs
from lens_steer.attribution.scores import ElementScores, Ranking
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_SCATTERED = 4  # as many attributions are drawn against each other, more as a map


@savable
@dataclass(frozen=True, eq=False, repr=False)
class AgreementReport(Report):
    """How alike several attributions of the same elements are.

    Attributes:
        scores: By name.
        k: Of the masks whose overlap is taken.
        ranking: How elements are ranked for them.
    """

    scores: dict[str, ElementScores]
    k: int
    ranking: Ranking

    @classmethod
    def of(
        cls, scores: Mapping[str, ElementScores], k: Count, *, by: Ranking = "signed"
    ) -> "AgreementReport":
        """The agreement of two attributions or more.

        Args:
            scores: Attributions of the same elements, by name.
            k: Elements of each mask.
            by: How elements are ranked for the masks; see `ElementScores.top`.

        Raises:
            ValueError: If there are fewer than two, or they are of different elements.

        Example:
            >>> ablation = ls.attribution.zero_ablation(model, pairs)
            >>> scores = {"contrast": ls.attribution.contrast(heads), "ablation": ablation}
            >>> ls.attribution.AgreementReport.of(scores, k=16)
        """
        if len(scores) < 2:
            raise ValueError(f"got {list(scores)}: expected two attributions or more")
        forms = {(s.kind.value, s.layers, tuple(s.values.shape)) for s in scores.values()}
        if len(forms) > 1:
            raise ValueError(
                f"got attributions of different elements, {sorted(map(str, forms))}: expected one "
                "kind and the same layers"
            )
        for attribution in scores.values():
            attribution.top(k, by)  # refuses a k or a ranking that it does not have
        return cls(dict(scores), k, by)

    @classmethod
    def by_label(
        cls, activations: Activations, labels: Sequence[str], k: Count, *, by: Ranking = "signed"
    ) -> "AgreementReport":
        """Whether the difference belongs to the behaviour or to one frequent label.

        The attributions are the mean differences of the pairs of each label and, as `balanced`,
        their mean, in which every label weighs the same.

        Args:
            activations: Of paired examples.
            labels: Of each pair, such as its desired answer; two or more different ones.
            k: Elements of each mask.
            by: How elements are ranked for the masks; see `ElementScores.top`.

        Raises:
            ValueError: If there is not one label per pair, or all have the same.

        Example:
            >>> labels = [example.continuation for example in pairs.desired]
            >>> report = ls.attribution.AgreementReport.by_label(heads, labels, k=16)
            >>> report.scores["balanced"].top(16)
        """
        n = len(activations.desired)
        if not activations.paired or len(labels) != n or len(set(labels)) < 2:
            raise ValueError(
                f"got {len(labels)} labels, {len(set(labels))} of them different, expected one for "
                f"each of {n} pairs and two different ones or more"
            )
        scores = {}
        for label in dict.fromkeys(labels):
            pairs = np.flatnonzero([other == label for other in labels])
            scores[f"{label} ({len(pairs)} pairs)"] = contrast_of_pairs(activations, pairs)
        balanced = torch.stack([of_label.values for of_label in scores.values()]).mean(dim=0)
        scores["balanced"] = ElementScores(
            balanced,
            activations.kind,
            activations.layers,
            "mean difference, labels weighing the same",
            provenance=activations.provenance,
        )
        return cls.of(scores, k, by=by)

    def table(self) -> "pd.DataFrame":
        """A row for each two: Spearman's rank correlation, overlap of the masks beyond chance."""
        import pandas as pd
        from scipy.stats import spearmanr

        rows, names = [], list(self.scores)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                x, y = (self.scores[name].values.flatten().numpy() for name in (a, b))
                rank: Any = spearmanr(x, y)
                masks = [self.scores[name].top(self.k, self.ranking) for name in (a, b)]
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "rank_correlation": float(rank.statistic),
                        "overlap": masks[0].overlap(masks[1]),
                    }
                )
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Every element's two scores against each other, for each two attributions.

        Of more than four attributions, a map of their rank correlations.
        """
        from lens_steer.figures import canvas

        table = self.table()
        if len(self.scores) > _SCATTERED:
            return self._map(table)
        columns = min(3, len(table))
        rows = -(-len(table) // columns)
        size = {"width": 3.1 * columns, "height": 2.9 * rows}
        with canvas(rows, columns, squeeze=False, **size) as (figure, grid):
            for axes, row in zip(grid.flat, table.to_dict("records"), strict=False):
                x, y = (self.scores[row[side]].values.flatten().numpy() for side in ("a", "b"))
                axes.axhline(0, color="k", lw=0.5)
                axes.axvline(0, color="k", lw=0.5)
                axes.plot(x, y, ".", color="C0", alpha=0.5)
                axes.set(xlabel=row["a"], ylabel=row["b"])
                correlation = f"rank correlation {row['rank_correlation']:.2f}"
                axes.set_title(f"{correlation}\noverlap of {self.k}: {row['overlap']:.2f}")
            for axes in grid.flat[len(table) :]:
                axes.set_axis_off()
        return figure

    def _map(self, table: Any) -> "Figure":
        from lens_steer.figures import canvas

        names = list(self.scores)
        matrix = np.eye(len(names))
        for row in table.to_dict("records"):
            i, j = names.index(row["a"]), names.index(row["b"])
            matrix[i, j] = matrix[j, i] = row["rank_correlation"]
        size = 0.42 * len(names) + 1.6
        with canvas(width=size + 1.0, height=size) as (figure, axes):
            image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
            figure.colorbar(image, ax=axes, label="rank correlation")
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
            for (i, j), value in np.ndenumerate(matrix):
                colour = "w" if abs(value) > 0.6 else "k"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=6)
        return figure
