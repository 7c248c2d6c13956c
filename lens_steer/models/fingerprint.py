"""A model in a few numbers, so that what was fitted on one model is not used on another."""

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.reports import short_repr

# Two runs of one model agree to a few units in the last place; two models do not agree to a tenth.
_TOLERANCE = {"float64": 1e-3, "float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Fingerprint:
    """A model's shape, its numerics, and how it answers 8 fixed tokens (the probe).

    Attributes:
        processed: Whether weights were folded or centred (TransformerLens' `fold_ln` and the like):
            the residual stream then differs from the raw model's.
        dtype: The dtype of the parameters, without the `torch.` prefix.
        norms: The length of `resid_post` at the probe's last token, by layer.
        projections: The cosine of that activation and a fixed random direction, by layer.
        revision: The commit of the hub's repository that the weights came from; empty where it is
            not known. It is not compared: two revisions may have the same weights.
    """

    architecture: str
    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    processed: bool
    dtype: str
    norms: tuple[float, ...]
    projections: tuple[float, ...]
    revision: str = field(default="", compare=False, metadata={"saved_if_set": True})

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if not all(map(isfinite, (*self.norms, *self.projections))):
            raise ValueError("numbers of a fingerprint are NaN or infinite: it would fit any model")

    @classmethod
    def of(cls, model: Any, residuals: Float[Tensor, "layer d"], processed: bool) -> "Fingerprint":
        """The fingerprint of a model whose residual stream was so at the probe's last token."""
        cfg, x = model.cfg, residuals.double().cpu()
        draw = torch.Generator().manual_seed(0)
        direction = torch.nn.functional.normalize(
            torch.randn(x.shape, generator=draw, dtype=torch.float64), dim=-1
        )
        norms = x.norm(dim=-1)
        cosines = (x * direction).sum(dim=-1) / norms.clamp(min=torch.finfo(torch.float64).tiny)
        return cls(
            architecture_of(model),
            *(
                int(getattr(cfg, name, None) or 0)  # 0: no attention, or no MLP
                for name in ("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "d_vocab")
            ),
            processed=processed,
            dtype=str(next(iter(model.parameters())).dtype).removeprefix("torch."),
            norms=tuple(norms.tolist()),
            projections=tuple(cosines.tolist()),
            revision=_revision(model),
        )

    def differences(self, other: "Fingerprint") -> list[str]:
        """What differs, a line for each difference; empty for the same model in another dtype."""
        measured = ("dtype", "norms", "projections", "revision")
        exact = [f.name for f in fields(self) if f.name not in measured]
        different = [
            f"{name} {getattr(self, name)} against {getattr(other, name)}"
            for name in exact
            if getattr(self, name) != getattr(other, name)
        ]
        if different:
            return different
        tolerance = max(_TOLERANCE.get(name, 1e-3) for name in (self.dtype, other.dtype))
        for layer in range(self.n_layers):
            stretch = abs(self.norms[layer] - other.norms[layer])
            turn = abs(self.projections[layer] - other.projections[layer])
            if stretch > tolerance * other.norms[layer] or turn > tolerance:
                return [f"weights: the probe's residual stream differs from layer {layer} on"]
        return []


def architecture_of(model: Any) -> str:
    """Hugging Face's name of the class that a model was made from."""
    cfg = model.cfg
    named = getattr(cfg, "architecture", None) or getattr(cfg, "original_architecture", None)
    return str(named)


def _revision(model: Any) -> str:
    """The commit that Hugging Face notes in the configuration of what it loads from the hub."""
    config = getattr(getattr(model, "original_model", None), "config", None)
    return str(getattr(config, "_commit_hash", None) or "")
