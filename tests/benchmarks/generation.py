"""Speed of greedy generation: ours against the bridge's own loop, and that against Transformers."""

import time
from typing import Any

import torch

import lens_steer as ls
from lens_steer.models import encode_prompt, pad
from lens_steer.steering import Additive
from tests.benchmarks.timing import interleaved, ratio

PROMPTS = [f"{number} apples and a dog were" for number in ("One", "Two", "Three", "Four") * 2]


def loop_speed(model: Any, runs: int, tokens: int = 40) -> str:
    """Greedy texts of a batch of 8, unsteered and with one vector added, in processor time."""
    ids, mask = pad(model, [encode_prompt(model, prompt) for prompt in PROMPTS], left=True)
    method = Additive((ls.Site(model.cfg.n_layers // 2),), (torch.zeros(model.cfg.d_model) + 0.01,))
    own: dict[str, Any] = {"max_new_tokens": tokens, "do_sample": False, "verbose": False}

    def ours() -> None:
        ls.generate(model, PROMPTS, max_new_tokens=tokens, temperature=0)

    def steered() -> None:
        ls.generate(model, PROMPTS, method, max_new_tokens=tokens, temperature=0)

    def bridge() -> None:
        with torch.no_grad():
            model.generate(ids, attention_mask=mask.long(), return_type="tokens", **own)

    def transformers() -> None:
        with torch.no_grad():
            model.original_model.generate(
                ids, attention_mask=mask.long(), max_new_tokens=tokens, do_sample=False
            )

    actions = (bridge, ours, steered, transformers, bridge)
    base, plain, caa, bare, again = interleaved(runs, *actions, clock=time.process_time)
    return (
        f"unsteered / bridge {ratio(plain, base):.3f}, CAA / bridge {ratio(caa, base):.3f}, bridge "
        f"/ Transformers {ratio(base, bare):.3f} (bridge / bridge {ratio(again, base):.3f})"
    )
