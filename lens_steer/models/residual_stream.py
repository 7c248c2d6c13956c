"""Whether blocks that are not made of attention and MLP hand a residual stream on.

Where a block has `attn_out` and `mlp_out`, these must add up (`attach`). A block of another make
(state space, recurrence, convolution) has none of them: there it has to be enough that what leaves
a block enters the next one, and that an edit of it does.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lens_steer.models.agreement import probe_tokens, versions
from lens_steer.models.forward_pass import forward, hooked
from lens_steer.models.protocol import ModelRefused
from lens_steer.sites import Kind, Site


def check_stream(model: Any) -> None:
    """Edit what leaves every block, and look whether that is what enters the next one.

    Raises:
        ModelRefused: If it is not, somewhere: such blocks have no residual stream to be steered.
    """
    left: dict[int, Tensor] = {}
    entered: dict[int, Tensor] = {}
    layers = range(1, model.cfg.n_layers)
    edit = {Site(layer - 1): partial(_edit, left, layer) for layer in layers}
    see = {Site(layer, Kind.RESID_PRE): partial(_see, entered, layer) for layer in layers}
    with torch.no_grad(), hooked(model, edit | see):
        forward(model, probe_tokens(model))
    broken = [i for i in layers if i not in entered or not torch.equal(left[i], entered[i])]
    if broken:
        raise ModelRefused(
            f"what leaves block {broken[0] - 1} is not what enters block {broken[0]}: this "
            f"architecture has no residual stream that could be steered there, with {versions()}"
        )


def _edit(left: dict[int, Tensor], layer: int, x: Tensor) -> Tensor:
    left[layer] = x.flip(-1)  # another vector of the same length: nothing overflows
    return left[layer]


def _see(entered: dict[int, Tensor], layer: int, x: Tensor) -> None:
    entered[layer] = x
