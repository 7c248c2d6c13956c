"""Which positions of sampled texts a scope steers."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from lens_steer.evaluation.sampled_texts import SampledText
from lens_steer.models import SteerableModel, attach, bos_id, clean_sinks, pad
from lens_steer.steering import Scope, leaves_out_sinks, steered_positions


def positions_of(
    model: SteerableModel, texts: Sequence[SampledText], scope: Scope
) -> Bool[Tensor, "text pos"]:
    """The positions that a scope steers, rows padded on the right: those that `steered` edits.

    The last token of a text that was cut off is among them.
    """
    width = max(len(text.ids) for text in texts)
    positions = torch.arange(width).repeat(len(texts), 1)
    lengths = torch.tensor([len(text.ids) for text in texts])
    positions = torch.where(positions < lengths[:, None], positions, -1)
    prompts = torch.tensor([text.prompt_length for text in texts])
    first = bos_id(model)
    bos = torch.tensor([first is not None and text.ids[0] == first for text in texts])
    sinks = _prompt_sinks(model, texts) if leaves_out_sinks(scope) else None
    return steered_positions(scope, positions, prompts, bos, sinks)


def _prompt_sinks(
    model: SteerableModel, texts: Sequence[SampledText]
) -> Bool[Tensor, "text prompt_pos"]:
    attach(model)
    tokens, mask = pad(model, [text.ids for text in texts])
    lengths = torch.tensor([text.prompt_length for text in texts], device=mask.device)
    prompts = mask & (torch.arange(mask.shape[1], device=mask.device) < lengths[:, None])
    return clean_sinks(model, tokens, prompts).cpu()
