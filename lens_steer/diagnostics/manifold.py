"""How far off the manifold steering goes: the steered residual stream among natural ones.

The distance is Mahalanobis', under the mean and the covariance (Ledoit and Wolf 2004) of one half
of some reference texts; a percentile is the share of positions of the other half that lie nearer.
At 50 an activation cannot be told from natural ones by its distance, at 100 it lies farther out
than anything natural.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import Layers
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.clouds import Cloud, halved, quartiles_of, residuals
from lens_steer.diagnostics.named_methods import check_named
from lens_steer.evaluation import FixedTexts, SampledText, random_like
from lens_steer.models import SteerableModel, encode
from lens_steer.reports import Report
from lens_steer.sites import sites_of
from lens_steer.steering import (
    Decoding,
    DecodingOptions,
    Intervention,
    Methods,
    Scope,
    decoding_of_call,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CLEAN, DESIRED = "clean", "desired"  # the references
UNSTEERED, DESIRED_TEXTS = "unsteered", "desired texts"  # rows beside the methods
_TITLES = {CLEAN: "among unsteered texts", DESIRED: "among texts that show the desired class"}
_RANDOM, _DRAWS = "random, as ", 3  # random directions for each method, pooled into one row


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ManifoldReport(Report):
    """Whether steered activations stay where natural ones are, layer by layer.

    Attributes:
        names: The rows: `unsteered`, `desired texts`, the methods, and `random, as ...` for each.
        references: The natural activations they are ranked in: `clean` and `desired`.
        layers: Block indices; activations are outputs of the blocks.
        quartiles: The 25 %, 50 % and 75 % points over positions of the percentile, in [0, 100].
        edited: The block indices that each of `names` edits.
        positions: The number of positions that percentiles are counted in, for each reference.
        texts: The number of texts that those positions come from.
        seed: The seed of the fixed texts, the halves and the random directions.
    """

    names: tuple[str, ...]
    references: tuple[str, ...]
    layers: tuple[int, ...]
    quartiles: Float[Tensor, "reference name layer 3"]
    edited: tuple[tuple[int, ...], ...]
    positions: tuple[int, ...]
    texts: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        expected = (len(self.references), len(self.names), len(self.layers), 3)
        if tuple(self.quartiles.shape) != expected or len(self.edited) != len(self.names):
            raise ValueError(
                f"got quartiles of shape {tuple(self.quartiles.shape)} and {len(self.edited)} sets "
                f"of edited layers, expected {expected} and {len(self.names)}"
            )

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Mapping[str, Intervention],
        *,
        layers: Layers | None = None,
        decoding: Decoding | None = None,
        **options: Unpack[DecodingOptions],
    ) -> "ManifoldReport":
        """Steer along fixed unsteered texts and see where the activations go.

        The texts are halved. The covariance is estimated on one half, and the positions of the
        other are steered, so that no steering gives 50 (quartiles 25 and 75) exactly. The positions
        compared are those that the scope steers; in the desired texts they are the tokens of the
        continuations.

        Args:
            pairs: Their prompts are continued, and their desired continuations are the reference.
            methods: Methods by name; three random directions of the same size accompany each.
            layers: Blocks to read; None is all.
            decoding: How texts are written, and where methods steer; or as keywords. The seed is
                also that of the halves and the random directions.
            options: As `FixedTexts.sample`.

        Raises:
            ValueError: As `FixedTexts.sample`, if a method does not fit the model, edits nothing or
                has a name that the report uses itself, or there are too few texts.
            TypeError: If a keyword is unknown.

        Example:
            >>> report = ls.diagnostics.ManifoldReport.fit(model, test, {"CAA": caa}, seed=0)
            >>> report.figure()
        """
        decoding = decoding_of_call(cls.fit, decoding, options)
        named = check_named(methods, pairs, model)
        reserved = [n for n in named if n in (UNSTEERED, DESIRED_TEXTS) or n.startswith(_RANDOM)]
        if reserved:
            raise ValueError(f"the name {reserved[0]!r} is one of the report's own: give another")
        chosen = tuple(site.layer for site in sites_of(model, "resid", layers))
        texts = FixedTexts.sample(model, pairs, decoding=decoding)
        scope, seed = decoding.steered_scope, decoding.seed or 0
        fitted, steered = halved(texts.texts, seed)
        desired_fitted, desired = halved(_desired_texts(model, pairs), seed)

        def states(texts: Sequence[SampledText], methods: Methods, where: Scope) -> Tensor:
            return residuals(model, texts, methods, layers=chosen, scope=where)

        clean, natural = states(steered, (), scope), states(desired, (), "generated")
        clouds = [
            Cloud.fit(states(fitted, (), scope), clean),
            Cloud.fit(states(desired_fitted, (), "generated"), natural),
        ]
        quartiles = [quartiles_of(clouds, clean), quartiles_of(clouds, natural)]
        rows = _with_random(model, named, replace(texts, texts=steered), seed)
        for variants in rows.values():
            pushed = torch.cat([states(steered, (variant,), scope) for variant in variants])
            quartiles.append(quartiles_of(clouds, pushed))
        edited = [
            tuple(sorted({site.layer for variant in variants for site in variant.sites}))
            for variants in rows.values()
        ]
        return cls(
            names=(UNSTEERED, DESIRED_TEXTS, *rows),
            references=(CLEAN, DESIRED),
            layers=chosen,
            quartiles=torch.stack(quartiles, dim=1),
            edited=((), (), *edited),
            positions=(len(clean), len(natural)),
            texts=(len(steered), len(desired)),
            seed=seed,
        )

    def table(self) -> "pd.DataFrame":
        """One row per reference, name and layer."""
        import pandas as pd

        rows = []
        for i, reference in enumerate(self.references):
            for j, name in enumerate(self.names):
                for k, layer in enumerate(self.layers):
                    low, median, high = self.quartiles[i, j, k].tolist()
                    row: dict[str, Any] = {"reference": reference, "method": name, "layer": layer}
                    row |= {"edited": layer in self.edited[j], "percentile": median}
                    row |= {"percentile_25": low, "percentile_75": high}
                    rows.append(row | {"positions": self.positions[i], "texts": self.texts[i]})
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Median percentile and its interquartile band against the layer, for each reference."""
        from lens_steer.figures import canvas, name_layers

        with canvas(1, 2, width=8.6, height=3.6, sharey=True) as (figure, panels):
            for i, (axes, reference) in enumerate(zip(panels, self.references, strict=True)):
                self._panel(axes, i)
                counted = f"{self.positions[i]} positions of {self.texts[i]} texts"
                axes.set(title=f"{_TITLES[reference]}\n({counted})", ylim=(-2, 102))
                axes.set(xlabel="layer (output of the block)")
                name_layers(axes.xaxis, list(map(str, self.layers)), most=10)
            panels[0].set(
                ylabel="Mahalanobis percentile, median\n(band: 25 % to 75 % of positions)"
            )
            handles, labels = panels[0].get_legend_handles_labels()
            title = "squares: edited layer\nthin dotted: no difference"
            figure.legend(handles, labels, loc="outside right upper", title=title)
        return figure

    def _panel(self, axes: Any, reference: int) -> None:
        for height in (25, 50, 75):
            axes.axhline(height, color="k", ls=":", lw=0.8 if height == 50 else 0.4)
        colours = {name: f"C{i}" for i, name in enumerate(self._methods)}
        for j, name in enumerate(self.names):
            low, median, high = self.quartiles[reference, j].T.numpy()
            like = name.removeprefix(_RANDOM)
            colour = {UNSTEERED: "0.2", DESIRED_TEXTS: "0.6"}.get(name) or colours[like]
            style = "--" if like != name else ":" if name in (UNSTEERED, DESIRED_TEXTS) else "-"
            places = list(range(len(self.layers)))
            axes.plot(places, median, style, marker=".", color=colour, label=name)
            if name in colours:
                axes.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)
            at = [k for k, layer in enumerate(self.layers) if layer in self.edited[j]]
            axes.plot(at, median[at], "s", color=colour)

    @property
    def _methods(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self.names
            if name not in (UNSTEERED, DESIRED_TEXTS) and not name.startswith(_RANDOM)
        )


def _with_random(
    model: SteerableModel, named: Mapping[str, Intervention], texts: FixedTexts, seed: int
) -> dict[str, list[Intervention]]:
    """The methods, then random directions of the same size for each of them."""
    seeds = [_DRAWS * seed + i for i in range(_DRAWS)]
    rows: dict[str, list[Intervention]] = {name: [method] for name, method in named.items()}
    for name, method in named.items():
        rows[_RANDOM + name] = [*random_like(model, method, texts, seeds=seeds)]
    return rows


def _desired_texts(model: SteerableModel, pairs: ContrastivePairs) -> list[SampledText]:
    """The desired examples as texts, without repeats."""
    rows = [encode(model, e.prompt, e.continuation) for e in pairs.desired]
    return [SampledText(row.ids, row.prompt_length) for row in dict.fromkeys(rows)]
