"""Last-token Jacobians against autograd through whole blocks, as the paper's code takes them."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lens_steer.linearity import BlockMaps
from lens_steer.linearity.text_batches import default_budget
from lens_steer.models import forward
from tests.benchmarks.timing import interleaved, ratio

WIDTH, COTANGENTS, TEXTS = 256, 8, 4


def jacobian_speed(model: Any, runs: int) -> str:
    """Four texts, one block: all rows of A, and 8 products, against the sequences' Jacobians.

    Autograd takes one text and is multiplied: the paper's code takes one at a time.
    """
    found, rounds = [], max(1, runs // 5)
    for length in (32, 128):
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(3, 500, (TEXTS, length), generator=draw)
        rows = [tuple(row) for row in tokens.tolist()]
        maps = BlockMaps.of_rows(model, rows, default_budget(model))
        cotangents = torch.randn(COTANGENTS, TEXTS, WIDTH, generator=draw)
        whole = whole_sequence(model, tokens[:1], 3)

        def dense(maps: BlockMaps = maps) -> Tensor:
            return maps.matrices(3)

        def products(maps: BlockMaps = maps, c: Tensor = cotangents) -> Tensor:
            return maps.vjp(3, c)

        base, each, few = interleaved(rounds, whole, dense, products, clock=time.process_time)
        assert torch.allclose(whole(), dense()[0], atol=1e-4)
        ratios = [TEXTS * ratio(base, own) for own in (each, few)]
        found.append(f"{length} tokens: dense {ratios[0]:.1f}, 8 cotangents {ratios[1]:.0f}")
    return f"CPU of whole-block autograd / ours, {'; '.join(found)}"


def whole_sequence(model: Any, tokens: Tensor, layer: int) -> Callable[[], Tensor]:
    """The Jacobian of a block's last output by its whole input, of which the last token is kept."""
    calls: list[Any] = []

    def keep(_module: Any, args: Any, options: dict[str, Any]) -> None:
        calls.append((args, {k: None if "past" in k else v for k, v in options.items()}))

    handle = model.blocks[layer].register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        forward(model, tokens)
    handle.remove()
    args, options = calls[0]
    x = (args[0] if args else options["hidden_states"]).detach()

    def block(x: Tensor) -> Tensor:
        if args:
            out = model.blocks[layer](x, *args[1:], **options)
        else:
            out = model.blocks[layer](**{**options, "hidden_states": x})
        return (out[0] if isinstance(out, tuple) else out)[0, -1]

    def found() -> Tensor:
        whole: Any = torch.autograd.functional.jacobian(block, x, vectorize=True)
        return whole[:, 0, -1]

    return found


def dense_speed(model: Any, runs: int) -> str:
    """Matrices of all blocks at six texts, against the products of their weights alone.

    The floor: for every weight matrix of every block d rows of each text times that matrix, which
    any backward pass of d cotangents has to do. Norms, activations, attention to the context and
    the forward pass come on top.
    """
    found, rounds, texts = [], max(1, runs // 5), 6
    layers = [[p.detach() for p in b.parameters() if p.ndim == 2] for b in model.blocks]
    d = model.cfg.d_model
    draw = torch.Generator().manual_seed(0)
    rows = {w.shape[0]: torch.randn(texts * d, w.shape[0], generator=draw) for w in layers[0]}

    def floor() -> None:
        for weights in layers:
            for w in weights:
                torch.mm(rows[w.shape[0]], w)

    for length in (1, 20, 80):
        tokens = torch.randint(3, 500, (texts, length), generator=draw).tolist()
        maps = BlockMaps.of_rows(model, [tuple(row) for row in tokens], default_budget(model))

        def dense(maps: BlockMaps = maps) -> None:
            for layer in range(maps.n_layers):
                maps.matrices(layer)

        base, own, again = interleaved(rounds, floor, dense, floor, clock=time.process_time)
        found.append(f"{length} tokens {ratio(own, base):.2f} ({ratio(again, base):.2f})")
    return f"CPU of dense Jacobians / products of weights alone, {'; '.join(found)}"
