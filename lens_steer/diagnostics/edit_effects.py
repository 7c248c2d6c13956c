"""How an edit's effect reaches the answer: runs of the clean, the steered and the patched model.

A component is an attention head or an MLP. With g the gradient of a row's score with respect to a
component's output in the clean run, and d what steering changes in that output,

- its *effect* is <g, d> summed over positions: to first order, what putting the steered output into
  the clean run would change, through all that comes after it;
- its *direct* effect is <r, d>, r being the gradient with respect to the last residual stream: what
  it changes through the final norm and the unembedding alone.

Heads are read at their input to W_O, which is linear: <g, d> is the same on either side of it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.diagnostics.scored_rows import keeper, log_probability
from lens_steer.models import (
    Encoded,
    SteerableModel,
    attach,
    gradients_possible,
    hooked,
    pad,
)
from lens_steer.sites import Kind, Site, sites_of
from lens_steer.steering import Intervention, Scope, steered


@dataclass(frozen=True, eq=False)
class RowEffects:
    """What steering changes in the scores of some rows; nats per token, float64, on the CPU.

    Attributes:
        effects: To first order by component: the heads of each layer, then its MLP.
        direct: The same through the final norm and the unembedding alone.
        stream: The direct effect of the whole change of the last residual stream.
        total: The measured change of the score.
    """

    effects: Float[Tensor, "row layer component"]
    direct: Float[Tensor, "row layer component"]
    stream: Float[Tensor, " row"]
    total: Float[Tensor, " row"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows with a method and the tokens that it steers.

    Attributes:
        model: The model.
        rows: The rows; a score is the log-probability per token of a row's continuation.
        method: What steers.
        scope: Where it steers.
    """

    model: SteerableModel
    rows: Sequence[Encoded]
    method: Intervention
    scope: Scope

    @gradients_possible()
    def effects(self) -> RowEffects:
        """Run the clean model with gradients, and the steered one without."""
        tokens, mask = self._padded()
        heads, mlps, last = self._sites()
        attach(self.model)
        clean: dict[Site, Tensor] = {}
        with torch.enable_grad():
            # The first activation asks for gradients, so that weights need none.
            start = {Site(0, Kind.RESID_PRE): lambda x: x.detach().requires_grad_()}
            outputs = [Site(site.layer, Kind.ATTN_OUT) for site in heads]
            keep = {site: keeper(clean, site) for site in (*heads, *outputs, *mlps, last)}
            with hooked(self.model, {**start, **keep}):
                score = log_probability(self.model, tokens, mask, self.rows)
            read = [*heads, *mlps, last]
            found = torch.autograd.grad(score.sum(), [clean[s] for s in read], retain_graph=True)
            gradient = dict(zip(read, found, strict=True))
            through_w_o = {
                site: torch.autograd.grad(
                    clean[output], clean[site], gradient[last].to(clean[output]), retain_graph=True
                )[0]
                for site, output in zip(heads, outputs, strict=True)
            }
        steered, kept = self._run(tokens, mask, read)
        change = {site: kept[site].double() - clean[site].detach().double() for site in read}
        product = partial(_product, mask, change)
        direct = {site: through_w_o.get(site, gradient[last]) for site in read}
        return RowEffects(
            torch.cat([product(gradient, heads), product(gradient, mlps)], dim=2),
            torch.cat([product(direct, heads), product(direct, mlps)], dim=2),
            product(direct, [last])[:, 0, 0],
            (steered - score.detach().to(steered.device)).cpu(),
        )

    @gradients_possible()
    def patched(self, components: Sequence[int]) -> Float[Tensor, "component row"]:
        """What the scores change when a component's steered output is put into the clean run.

        Args:
            components: Numbers in the order of `RowEffects.effects`, layers and components
                flattened.
        """
        if not components:  # an edit behind the last block has none after it
            return torch.zeros(0, len(self.rows), dtype=torch.double)
        tokens, mask = self._padded()
        heads, mlps, _ = self._sites()
        per_layer = int(self.model.cfg.n_heads) + 1
        places = [divmod(component, per_layer) for component in components]
        sites = [mlps[layer] if c == per_layer - 1 else heads[layer] for layer, c in places]
        _, kept = self._run(tokens, mask, sites)
        clean, _ = self._run(tokens, mask, [], steer=False)
        changes = []
        for site, (_, c) in zip(sites, places, strict=True):
            put = partial(_replace, kept[site], None if site.kind is Kind.MLP_OUT else c)
            with torch.no_grad(), hooked(self.model, {site: put}):
                changes.append(log_probability(self.model, tokens, mask, self.rows) - clean)
        return torch.stack(changes).cpu()

    def _padded(self) -> tuple[Tokens, Mask]:
        return pad(self.model, [row.ids for row in self.rows])

    def _sites(self) -> tuple[list[Site], list[Site], Site]:
        heads, mlps = (sites_of(self.model, kind, None) for kind in (Kind.HEAD, Kind.MLP_OUT))
        return heads, mlps, Site(self.model.cfg.n_layers - 1)

    def _run(
        self, tokens: Tokens, mask: Mask, sites: Sequence[Site], *, steer: bool = True
    ) -> tuple[Float[Tensor, " row"], dict[Site, Tensor]]:
        """Scores of the rows, and activations behind the edits where there are any."""
        kept: dict[Site, Tensor] = {}
        lengths = [row.prompt_length for row in self.rows]
        steering = partial(steered, scope=self.scope, prompt_lengths=lengths)
        with (
            torch.no_grad(),
            steering(self.model, self.method) if steer else nullcontext(),
            # Hooks run in the order in which they were set: steer, then read.
            hooked(self.model, {site: keeper(kept, site) for site in dict.fromkeys(sites)}),
        ):
            score = log_probability(self.model, tokens, mask, self.rows)
        return score, kept


def _product(
    mask: Mask,
    change: dict[Site, Float[Tensor, "row pos *site"]],
    gradient: dict[Site, Float[Tensor, "row pos *site"]],
    sites: Sequence[Site],
) -> Float[Tensor, "row layer component"]:
    """<gradient, change> over positions and width; one component where a site has no heads."""
    found = []
    for site in sites:
        real = mask.to(change[site].device).double()
        # z is [row pos head d_head], other outputs are [row pos d]
        values = (gradient[site].double() * change[site]).sum(dim=-1)
        values = values if site.kind is Kind.HEAD else values[..., None]
        found.append(torch.einsum("rpc,rp->rc", values, real).cpu())
    return torch.stack(found, dim=1)


def _replace(
    steered_output: Float[Tensor, "row pos *site"],
    head: int | None,
    x: Float[Tensor, "row pos *site"],
) -> Float[Tensor, "row pos *site"]:
    if head is None:
        return steered_output.to(x)
    patched = x.clone()
    patched[:, :, head] = steered_output[:, :, head].to(x)
    return patched
