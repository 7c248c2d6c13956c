"""Generated texts whose numbers are written by hand."""

from collections.abc import Sequence

import torch

from lens_steer.evaluation import GeneratedText, Generation
from lens_steer.sites import Site
from lens_steer.steering import Decoding


def text_of(tokens: Sequence[str], nats: Sequence[float], prompt: str = "Say:") -> GeneratedText:
    """A text by hand."""
    n = len(tokens)
    return GeneratedText(
        prompt=prompt,
        text="".join(tokens),
        token_ids=torch.arange(n),
        tokens=tuple(tokens),
        log_probs=torch.tensor([-1.0] * n).double(),
        clean_log_probs=torch.tensor([-1.5, -0.5, *[-1.0] * n][:n]).double(),
        nats=torch.tensor(nats).double(),
        edit_sizes=torch.full((n, 1), 0.25),
        projections=torch.zeros(n, 0),
        clean_projections=torch.zeros(n, 0),
        stop_reason="length",
    )


def run_of(*rows: GeneratedText) -> Generation:
    return Generation(rows, (Site(1),), (), ("CAA at strength 1",), Decoding(seed=0))
