"""What came out: calls and values that make no sense."""

from typing import Any

import pytest
import torch

from lens_steer.evaluation import GeneratedText, Generation, SideBySide, generation, side_by_side
from lens_steer.sites import Site
from lens_steer.steering import Additive, Decoding, steered
from tests.evaluation.hand_made_texts import run_of, text_of
from tests.interventions import PROMPTS, drawn, push

NEW = 6
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": NEW}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"prompts": []}, "no prompts"),
        ({"prompts": "The cat"}, "a text for one|expected a list|one text"),
        ({"prompts": [""]}, "an empty prompt"),
        ({"seed": None}, "no seed"),
        ({"decoding": Decoding(seed=0)}, "expected one of the two"),
        ({"directions": {1: torch.ones(3)}}, r"directions\[1\] has shape \(3,\), expected \(32,\)"),
        ({"directions": {1: torch.zeros(32)}}, "direction of layer 1 has length 0"),
        ({"directions": {4: torch.ones(32)}}, "directions: layer 4, expected 0 to 3"),
        ({"directions": torch.ones(32)}, "directions"),
        ({"max_new_tokens": 500}, "500|context|fit"),
        ({"scope": (90,)}, "steers nothing"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_makes_no_sense_is_refused(load: Any, change: dict[str, Any], error: str) -> None:
    model = load("qwen2")  # has no token that begins a text
    options = {"prompts": ["The cat"], "max_new_tokens": NEW, "seed": 0} | change
    with pytest.raises(ValueError, match=error):
        generation(model, options.pop("prompts"), **options)


@pytest.mark.usefixtures("untyped")
def test_methods_and_models_that_do_not_fit_are_refused(llama: Any) -> None:
    other = Additive((Site(1),), (drawn((7,)),))
    with pytest.raises(ValueError, match="7"):
        generation(llama, PROMPTS, other, **GREEDY)
    with pytest.raises(ValueError, match="expected"):
        generation(llama, PROMPTS, [push(llama)], **GREEDY)  # type: ignore[arg-type]
    for strengths in ([], [1.0, 1.0], [float("nan")], 2.0):
        with pytest.raises(ValueError, match="strengths"):
            side_by_side(llama, PROMPTS, push(llama), strengths, **GREEDY)  # type: ignore[arg-type]
    with steered(llama, push(llama)), pytest.raises(ValueError, match="block of `steered`"):
        generation(llama, PROMPTS, **GREEDY)


@pytest.mark.usefixtures("untyped")
def test_values_that_contradict_each_other_are_refused() -> None:
    row = text_of([" a", " b"], [0.5, 1.0])
    fields = vars(row)
    for change, error in (
        ({"nats": row.nats[:1]}, "got 1 nats for 2 token_ids"),
        ({"token_ids": torch.zeros(0, dtype=torch.long)}, "at least one token"),
        ({"stop_reason": "bored"}, "stop_reason"),
        ({"clean_projections": torch.zeros(2, 1)}, "clean_projections of shape"),
    ):
        with pytest.raises(ValueError, match=error):
            GeneratedText(**{**fields, **change})
    with pytest.raises(ValueError, match="at least one GeneratedText"):
        run_of()
    with pytest.raises(ValueError, match="1 sites"):
        Generation((row,), (), (), (), Decoding(seed=0))
    run = run_of(row)
    for strengths, runs in (((1.0,), ()), ((1.0, 1.0), (run, run)), ((), ())):
        with pytest.raises(ValueError, match="expected"):
            SideBySide("CAA", strengths, runs)
    with pytest.raises(ValueError, match="different prompts"):
        SideBySide("CAA", (0.0, 1.0), (run, run_of(text_of([" a"], [0.1], "Other:"))))
