from pathlib import Path
from typing import Any

import torch

import lens_steer as ls
from analyses.precision import COLUMNS, Passes, difference, figure_of, table_of


def test_a_difference_is_that_of_a_case_by_hand() -> None:
    right = [torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])]
    ours = [torch.tensor([[1.0, 4.0]]), torch.tensor([[2.0, 3.0], [0.0, 1.0]])]
    found = difference(ours, right)
    p, q = torch.tensor([2.0, 3.0]).softmax(0), torch.tensor([2.0, 0.0]).softmax(0)
    a, b = torch.tensor([1.0, 4.0]).softmax(0), torch.tensor([0.0, 4.0]).softmax(0)
    nats = ((p * (p / q).log()).sum() + (a * (a / b).log()).sum()) / 3
    assert found["largest"] == 1.5
    assert abs(found["nats"] - nats.item()) < 1e-6
    assert found["other_token"] == 1 / 3
    assert difference(right, right) == dict.fromkeys(COLUMNS, 0.0)


def test_float16_rounds_finer_than_bfloat16_and_no_pass_loses_a_prompt(
    model_dirs: dict[str, Path],
) -> None:
    pairs = ls.ContrastivePairs.of(
        [("The cat", " was sad. It", " was glad. It"), ("A dog in the sun", " lost it", " has it")],
        name="tiny",
    )
    table, _ = table_of(str(model_dirs["llama"]), pairs, "cpu")
    assert set(table["method"]) == {"none", "CAA"}
    assert len(table) == 2 * (3 + 4 + 4)
    worst: Any = table.groupby("dtype")["largest"].max()
    assert worst["float32"] < 1e-5
    assert 1e-5 < worst["float16"] < worst["bfloat16"] < 0.1
    figure_of(table)


def test_a_lost_prompt_would_be_seen(model_dirs: dict[str, Path]) -> None:
    model = ls.load_model(model_dirs["llama"])
    row = (1, 40, 41, 42, 43, 44, 45, 46)
    whole = Passes(model, [row]).alone()[0][-3:]
    cut = Passes(model, [row[:1] + row[5:]]).alone()[0][-3:]
    assert difference([cut], [whole])["largest"] > 0.1
