"""The study of combined methods: what it is made of; it is run by hand."""

from typing import Any

import pandas as pd

import lens_steer as ls
from analyses.combined.__main__ import ORDER, STUDY, figure_of
from analyses.combined.methods import COMPARED, masks


def test_masks_are_of_one_size_and_leave_out_block_0(embedded: Any) -> None:
    pairs = ls.ContrastivePairs.load("organism:sentiment").first(4)
    found = masks(embedded, pairs, "head", 5, seed=0)
    assert list(found) == [
        "heads by slope per nat",
        "heads by SADI difference",
        "heads by attribution patching",
        "random heads of these layers",
    ]
    for mask in found.values():
        assert mask.count == 5
        assert not bool(mask.selected[0].any())
    drawn, chosen = found["random heads of these layers"], found["heads by slope per nat"]
    assert drawn.by_layer.tolist() == chosen.by_layer.tolist()


def test_every_method_that_is_compared_is_drawn() -> None:
    assert {name for pair in COMPARED for name in pair} <= set(ORDER)
    assert list(STUDY.signature.parameters) == [
        "model",
        "pairs",
        "heads",
        "neurons",
        "tokens",
        "out",
        "seed",
    ]
    ends = {f"{c}{end}": [0.1, 0.2] for c in ("behaviour", "kl") for end in ("", "_low", "_high")}
    table = pd.DataFrame({"method": ["LQR", "ODESteer"], "behaviour_name": "x", **ends})
    figure_of(table)
