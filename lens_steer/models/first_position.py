"""How far the first position of a text stands out: whether it is a sink, and at which layers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lens_steer.axes import ranges
from lens_steer.models.agreement import probe_tokens
from lens_steer.models.forward_pass import context_length, input_device, read
from lens_steer.models.protocol import SteerableModel
from lens_steer.models.tokens import encode_prompt
from lens_steer.sites import Site

_TEXT = "The weather was fine that day, and so they walked along the river until it was dark."
_FACTOR = 10.0  # of the median norm: from here on the first position is called a sink


@dataclass(frozen=True)
class FirstPosition:
    """The residual stream behind each block at the first position of a short plain text.

    Attributes:
        ratios: The norm at position 0, in units of the median norm of the other positions, by
            layer.
        dimensions: The dimension that holds most of that norm's square, by layer.
        shares: The share of the square that it holds, by layer.
    """

    ratios: tuple[float, ...]
    dimensions: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def sink_layers(self) -> tuple[int, ...]:
        """The layers behind which the norm is over 10 times the others' median."""
        return tuple(layer for layer, ratio in enumerate(self.ratios) if ratio > _FACTOR)

    def __str__(self) -> str:
        layers = self.sink_layers
        largest = max(range(len(self.ratios)), key=lambda layer: self.ratios[layer])
        most = f"{self.ratios[largest]:.3g} times the others' median norm behind layer {largest}"
        if not layers:
            return f"none (position 0: at most {most})"
        return (
            f"position 0, over {_FACTOR:.0f} times the others' median norm behind layers "
            f"{ranges(layers)} (at most {most}, {self.shares[largest]:.0%} of its square in "
            f"dimension {self.dimensions[largest]})"
        )


@torch.no_grad()
def first_position(model: SteerableModel) -> FirstPosition:
    """Measure the first position of a plain sentence, at every layer, in one forward pass.

    A model without a tokenizer is run on the 8 tokens of the first look.
    """
    if model.tokenizer is None:
        tokens = probe_tokens(model)
    else:
        ids = encode_prompt(model, _TEXT)[: context_length(model)]
        tokens = torch.tensor([ids], device=input_device(model))
    layers = range(int(model.cfg.n_layers))
    activations = read(model, tokens, None, dict.fromkeys(map(Site, layers), _first_and_median))
    ratios, dimensions, shares = zip(*(_of(activations[Site(i)]) for i in layers), strict=True)
    return FirstPosition(ratios, dimensions, shares)


def _first_and_median(x: Tensor) -> Tensor:
    """The activation at the first position, and behind it the median norm of the others."""
    rows = x[0].double()
    others = rows[1:] if len(rows) > 1 else rows
    return torch.cat([rows[0], others.norm(dim=-1).median()[None]])


def _of(first_and_median: Tensor) -> tuple[float, int, float]:
    first, median = first_and_median[:-1], first_and_median[-1]
    squares = first.square()
    total = squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
    largest = int(squares.argmax())
    ratio = total.sqrt() / median.clamp(min=torch.finfo(torch.float64).tiny)
    return ratio.item(), largest, (squares[largest] / total).item()
