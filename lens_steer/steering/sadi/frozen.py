"""SADI as its code does it: a patch computed in a first, clean pass."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.axes import Activation, Mask, Tokens
from lens_steer.models import SteerableModel, read
from lens_steer.sites import Kind, Site, hook_point
from lens_steer.steering.base import Edit, Intervention
from lens_steer.steering.sadi.scaling import SADI, check_fits, edited_kind, on_model


@savable
@dataclass(frozen=True, eq=False, repr=False)
class FrozenSADI(SADI):
    """At the last prompt token, in every layer, the clean activation with the mask scaled.

    The published code's two passes: elements that were not chosen are held at their clean values
    too, so that an early scaled head cannot reach a later one at that position. Only the last
    prompt token is edited, whatever the scope holds besides.

    Attributes:
        clean: What the prompts' last tokens hold in each layer; made by `prepare`.
    """

    clean: tuple[Float[Tensor, "batch *site"], ...] | None = field(default=None, repr=False)

    @property
    @override
    def last_prompt_token_only(self) -> bool:
        return True

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return tuple(sorted(Site(layer, edited_kind(self.mask.kind)) for layer in self.mask.layers))

    @override
    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "FrozenSADI":
        if not bool(mask.any(dim=1).all()):
            raise ValueError("a prompt without a token: FrozenSADI patches its last one")
        columns = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask, columns, -1).amax(dim=1)

        def keep(x: Tensor) -> Tensor:
            return x[torch.arange(len(x), device=x.device), last.to(x.device)].detach()

        with torch.no_grad():
            clean = read(model, tokens, mask, dict.fromkeys(self.sites, keep))
        return replace(self, clean=tuple(clean[site] for site in self.sites))

    @override
    def select_prompts(self, rows: Int[Tensor, " row"]) -> "FrozenSADI":
        if self.clean is None:
            return self
        return replace(self, clean=tuple(x[rows.to(x.device)] for x in self.clean))

    def fold_into_weights(self, model: SteerableModel) -> SteerableModel:
        """Refuse: the patch is made of the prompt's own activations.

        Raises:
            ValueError: Always.
        """
        del model
        raise ValueError("FrozenSADI looks at the prompt first, which no weights do: fold a SADI")

    @override
    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        return Intervention.transform(self, x, site)  # refuses: a patch is made of the prompt

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:  # before `prepare`: they refuse
        check_fits(model, self.mask)
        if self.mask.kind is Kind.GATE and getattr(model.cfg, "gated_mlp", False):
            raise ValueError(
                "the published patch holds the gate and leaves what it multiplies: no hook point "
                "does that; choose kind 'neuron', whose patch holds their product"
            )
        gains = self.gains()
        edits: dict[Site, Edit] = {}
        for i, site in enumerate(self.sites):
            hook_point(model, site)
            factor = on_model(model, site, gains[site])
            edits[site] = _unready if self.clean is None else _patch(self.clean[i] * factor)
        return edits


def _patch(wanted: Tensor) -> Callable[[Tensor], Tensor]:
    def patch(x: Activation) -> Activation:
        return wanted.to(x.device, x.dtype)

    return patch


def _unready(x: Activation) -> Activation:
    raise ValueError(
        f"FrozenSADI on {len(x)} positions without their clean activations: it works in "
        "`steered` and `generate`, which read the prompts first"
    )
