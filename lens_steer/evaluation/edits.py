"""How large edits are: against the length of the residual stream, and against its spread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.evaluation.positions import positions_of
from lens_steer.evaluation.sampled_texts import SampledText, even_batches, steered_by_row
from lens_steer.models import (
    SteerableModel,
    attach,
    forward,
    hooked,
    pad,
    read,
    reading,
    residual_edit,
)
from lens_steer.reports import short_repr
from lens_steer.sites import Site
from lens_steer.steering import Methods, Scope


@dataclass(frozen=True, eq=False)
class EditSizes:
    """One method's edits at every steered position of some texts.

    Attributes:
        norm: |edit|, heads counted through W_O and neurons through W_out.
        relative: |edit| / |resid_post| of the clean model at the same layer and position.
        mahalanobis: Length of the edit in standard deviations of the clean residual stream, whose
            covariance is shrunk (Ledoit and Wolf 2004).
        text_index: The number of the text of each position.
        layers: Block indices of the layer axis.
    """

    norm: Float[Tensor, "position layer"]
    relative: Float[Tensor, "position layer"]
    mahalanobis: Float[Tensor, "position layer"]
    text_index: Int[Tensor, " position"]
    layers: tuple[int, ...]

    __repr__ = short_repr

    @property
    def relative_norm(self) -> float:
        """Root-sum-square over layers, mean over steered positions."""
        return self.relative.norm(dim=1).mean().item()

    @property
    def mahalanobis_length(self) -> float:
        """Root-sum-square over layers, mean over steered positions."""
        return self.mahalanobis.norm(dim=1).mean().item()

    @property
    def by_layer(self) -> Float[Tensor, " layer"]:
        """Mean |edit| / |resid_post| at each layer."""
        return self.relative.mean(dim=0)

    @property
    def energy(self) -> Float[Tensor, " layer"]:
        """Each layer's share of the sum of |edit|^2; NaN if there is no edit."""
        squares = (self.norm**2).sum(dim=0)
        return squares / squares.sum()


@dataclass(frozen=True, eq=False)
class CleanStream:
    """The clean residual stream at the positions that a scope steers.

    Attributes:
        resid: At each position and layer, the positions of text 0 first.
        text_index: The number of the text of each position.
        columns: Each position, counted from the first token of its text.
        whitening: By layer: `x @ whitening` has unit covariance.
        layers: Block indices of the layer axis.
    """

    resid: Float[Tensor, "position layer d"]
    text_index: Int[Tensor, " position"]
    columns: Int[Tensor, " position"]
    whitening: Float[Tensor, "layer d d"]
    layers: tuple[int, ...]

    @classmethod
    def read(
        cls,
        model: SteerableModel,
        texts: Sequence[SampledText],
        layers: Sequence[int],
        scope: Scope = "last",
    ) -> "CleanStream":
        """Run the clean model over the texts.

        Raises:
            ValueError: If a layer is out of range, or the scope steers nothing in these texts.
        """
        sites = [Site(layer) for layer in layers]
        parts: list[Tensor] = []
        owners: list[Tensor] = []
        columns: list[Tensor] = []
        for batch in even_batches(model, [len(text.ids) for text in texts]):
            part = [texts[i] for i in batch]
            tokens, mask = pad(model, [text.ids for text in part])
            where = positions_of(model, part, scope)
            select = dict.fromkeys(sites, partial(_gathered, where))
            attach(model)
            with torch.no_grad():
                streams = read(model, tokens, mask, select)
            parts.append(torch.stack([streams[site] for site in sites], dim=1))
            owners.append(torch.tensor(batch)[where.nonzero()[:, 0]])
            columns.append(where.nonzero()[:, 1])
        resid, owner, column = torch.cat(parts), torch.cat(owners), torch.cat(columns)
        if len(resid) == 0:
            raise ValueError(f"scope {scope!r} steers no position of these texts")
        order = owner.argsort(stable=True)
        return cls(resid[order], owner[order], column[order], _whitening(resid), tuple(layers))


def edit_sizes(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Sequence[Methods],
    *,
    scope: Scope = "last",
    clean_stream: Callable[[tuple[int, ...]], CleanStream] | None = None,
) -> list[EditSizes]:
    """Steer the texts by each of several methods and measure what is added.

    Args:
        model: The model.
        texts: The texts, teacher-forced.
        methods: Each steers all of them.
        scope: Where they steer.
        clean_stream: Gives the clean stream of these texts at some layers, where it is kept; None
            reads it.

    Raises:
        ValueError: If a method does not fit the model, or the scope steers nothing.
    """
    edited = {
        site.layer for combination in methods for method in combination for site in method.sites
    }
    layers = tuple(sorted(edited)) or (0,)
    read_stream = clean_stream or (lambda these: CleanStream.read(model, texts, these, scope))
    clean = read_stream(layers)
    return [
        _sizes(_added(model, texts, combination, clean, scope), clean) for combination in methods
    ]


def _sites(methods: Methods) -> tuple[Site, ...]:
    """The sites that any of the methods edits, in order."""
    return tuple(sorted({site for method in methods for site in method.sites}))


def _gathered(
    where: Bool[Tensor, "text pos"], x: Float[Tensor, "text pos d"]
) -> Float[Tensor, "position d"]:
    return x[where.to(x.device)].float().cpu()


def _added(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Methods,
    clean: CleanStream,
    scope: Scope,
) -> Float[Tensor, "position layer d"]:
    """What edits add to the residual stream at every steered position, in the order of `clean`."""
    added = torch.zeros(clean.resid.shape)
    sites = _sites(methods)
    if not sites:
        return added
    for batch in even_batches(model, [len(text.ids) for text in texts]):
        part = [texts[i] for i in batch]
        before, after = activations_around(model, part, methods, sites, scope)
        numbers = torch.tensor(batch)
        rows = torch.isin(clean.text_index, numbers).nonzero()[:, 0]
        order = numbers.argsort()
        row = order[torch.searchsorted(numbers[order], clean.text_index[rows])]
        for site in sites:
            device = before[site].device
            where = row.to(device), clean.columns[rows].to(device)
            edit = residual_edit(model, site, before[site][where], after[site][where]).cpu()
            added[rows, clean.layers.index(site.layer)] += edit
    return added


def activations_around(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Methods,
    sites: Sequence[Site],
    scope: Scope,
) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
    """Activations `[text pos *site]` before and after the edits at each site."""
    before: dict[Site, Tensor] = {}
    tokens, mask = pad(model, [text.ids for text in texts])
    lengths = [text.prompt_length for text in texts]
    attach(model)
    # Hooks run in the order in which they were set: read, steer, read again.
    with (
        torch.no_grad(),
        hooked(model, {site: partial(_keep, before, site) for site in sites}),
        steered_by_row(model, [methods] * len(texts), lengths, scope),
        reading(model, dict.fromkeys(sites, Tensor.detach)) as after,  # and stop there
    ):
        forward(model, tokens, mask)
    return before, after


def _keep(values: dict[Site, Tensor], site: Site, x: Tensor) -> None:
    values[site] = x.detach()


def _sizes(edits: Float[Tensor, "position layer d"], clean: CleanStream) -> EditSizes:
    norm, whitened = edits.norm(dim=2), torch.einsum("pld,lde->ple", edits, clean.whitening)
    relative = norm / clean.resid.norm(dim=2).clamp(min=1e-30)
    return EditSizes(norm, relative, whitened.norm(dim=2), clean.text_index, clean.layers)


def _whitening(resid: Float[Tensor, "position layer d"]) -> Float[Tensor, "layer d d"]:
    from sklearn.covariance import LedoitWolf

    transforms = []
    for x in resid.double().unbind(dim=1):
        if bool((x == x[0]).all()):
            raise ValueError(
                f"the clean activations of {len(x)} positions do not vary: give more prompts"
            )
        covariance = torch.from_numpy(LedoitWolf().fit(x.numpy()).covariance_)
        # shrunk, and so of full rank: with L L' the covariance, x L'^-1 has unit covariance
        lower = torch.linalg.cholesky(covariance)
        identity = torch.eye(len(lower), dtype=lower.dtype)
        inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
        transforms.append(inverse.T.float())
    return torch.stack(transforms)
