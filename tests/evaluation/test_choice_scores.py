import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.artifacts import load, save
from lens_steer.evaluation import (
    ChoiceScores,
    answer_mass,
    choice_accuracy,
    choice_margins,
    letter_bias,
    mc1,
    mc1_chance,
    mc2,
)

NAN, NONE = math.nan, -math.inf


def scores(
    rows: list[list[float]], correct: list[list[bool]], choices: list[list[str]] | None = None
) -> ChoiceScores:
    texts = choices or [[f" {'ab'[k % 2] * (k + 1)}" for k in range(len(row))] for row in rows]
    tokens = [list(range(1, len(row) + 1)) for row in rows]
    return ChoiceScores.of([torch.tensor(row) for row in rows], correct, tokens, texts)


def test_metrics_of_questions_that_are_computed_by_hand() -> None:
    log_probs = torch.tensor(
        [
            [math.log(0.4), math.log(0.3), math.log(0.2), NONE],  # first correct is likeliest
            [math.log(0.1), math.log(0.3), math.log(0.2), NONE],  # the other correct one is
            [math.log(0.1), math.log(0.1), NONE, NONE],  # a tie
            [math.log(0.2), math.log(0.1), math.log(0.1), math.log(0.4)],
        ]
    )
    correct = torch.tensor(
        [
            [True, False, False, False],
            [True, True, False, False],
            [True, False, False, False],
            [False, True, False, False],
        ]
    )
    assert mc1(log_probs, correct).tolist() == [1, 0, 0, 0]
    assert choice_accuracy(log_probs, correct).tolist() == [1, 1, 0, 0]
    expected = [0.4 / 0.9, 0.4 / 0.6, 0.5, 0.1 / 0.8]
    assert mc2(log_probs, correct).tolist() == pytest.approx(expected, rel=1e-6)
    ratios = [0.4 / 0.3, 0.1 / 0.2, 1.0, 0.1 / 0.4]
    margins = choice_margins(log_probs, correct).exp().tolist()
    assert margins == pytest.approx(ratios, rel=1e-6)
    assert mc1_chance(log_probs, correct).tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 2, 1 / 4])
    assert answer_mass(log_probs).tolist() == pytest.approx([0.9, 0.6, 0.2, 0.8])


def test_improbable_choices_do_not_underflow() -> None:
    """exp(-1000) is 0 in float64: the ratio is not."""
    log_probs, correct = torch.tensor([[-1000.0, -1001.0]]), torch.tensor([[True, False]])
    assert mc2(log_probs, correct).item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_question_that_failed_is_nan_and_so_is_the_mean() -> None:
    found = scores([[-1.0, -2.0], [-1.0, NAN]], [[True, False], [True, False]])
    for values in (found.mc1, found.mc2, found.accuracy, found.margins):
        assert values.isnan().tolist() == [False, True]
    assert found.failed.tolist() == [False, True]
    assert math.isnan(found.mean(found.mc1).mean)
    assert found.table()["failed"].tolist() == [1, 1, 1]
    assert answer_mass(found.log_probs).isnan().tolist() == [False, True]


def test_lengths_divide_log_probabilities() -> None:
    """Short answers win as they are, long ones per token."""
    found = scores([[-3.0, -4.0]], [[False, True]], [[" ab", "  cdefgh "]])
    assert found.mc1.tolist() == [0]
    assert found.per_token.log_probs.tolist() == [[-3.0, -2.0]]
    assert found.per_token.mc1.tolist() == [1]
    assert found.characters.tolist() == [[2, 6]]
    assert found.per_character.margins.tolist() == pytest.approx([-4 / 6 + 3 / 2])
    assert found.per_token.mc2.item() == pytest.approx(1 / (1 + math.exp(-1)))


@given(
    content=st.lists(st.floats(-5, 0), min_size=2, max_size=2),
    bias=st.lists(st.floats(-5, 0), min_size=2, max_size=2),
)
def test_the_mean_of_both_orders_is_free_of_what_letters_favour(
    content: list[float], bias: list[float]
) -> None:
    """A planted preference for letters, added to log-probabilities of what the choices say."""

    def in_order(letters: tuple[int, int]) -> ChoiceScores:
        summed = torch.tensor(
            [c + bias[k] for c, k in zip(content, letters, strict=True)], dtype=torch.float64
        )
        return ChoiceScores.of(
            [summed.log_softmax(0)], [[True, False]], [[1, 1]], [[" A", " B"]], groups=["g"]
        )

    first, swapped = in_order((0, 1)), in_order((1, 0))
    found = ChoiceScores.over_orders([first, swapped])
    assert found.margins.item() == pytest.approx(content[0] - content[1], abs=1e-12)
    measured = letter_bias(first.log_probs, swapped.log_probs).item()
    assert measured == pytest.approx(bias[0] - bias[1], abs=1e-12)


def test_three_rotations_cancel_what_three_letters_favour() -> None:
    content, bias = [-1.0, -2.0, -3.0], [0.0, -4.0, -9.0]
    orders = [
        scores([[content[k] + bias[(k + turn) % 3] for k in range(3)]], [[False, True, False]])
        for turn in range(3)
    ]
    found = ChoiceScores.over_orders(orders)
    assert found.margins.item() == pytest.approx(content[1] - content[0], abs=1e-6)


def test_means_have_intervals_over_groups() -> None:
    rows, correct = [[-1.0, -2.0], [-2.0, -1.0]] * 20, [[True, False]] * 40
    alone = scores(rows, correct)
    tied = ChoiceScores(
        alone.log_probs, alone.correct, alone.tokens, alone.characters, ("g", "g") * 20
    )
    assert alone.mean(alone.mc1).mean == 0.5
    assert 0.3 < alone.mean(alone.mc1).low < 0.42
    assert math.isnan(tied.mean(tied.mc1).low)  # one group: nothing to draw again
    unnamed = ChoiceScores.of(
        list(alone.log_probs), correct, alone.tokens.tolist(), [["a", "b"]] * 40, groups=[""] * 40
    )
    assert unnamed.mean(unnamed.mc1) == alone.mean(alone.mc1)
    table = alone.table()
    assert table["mc2_low"].tolist()[0] == alone.mean(alone.mc2).low
    perfect = scores([[-1.0, -2.0]] * 8, correct[:8])
    assert perfect.mean(perfect.mc1).low == pytest.approx(0.025 ** (1 / 8))


def test_scores_are_saved_shown_and_drawn(tmp_path: Path) -> None:
    found = scores([[-1.0, -2.0, -3.0], [-2.0, -1.0]], [[True, True, False], [True, False]])
    save(found, tmp_path / "scores.safetensors")
    again = load(tmp_path / "scores.safetensors")
    assert isinstance(again, ChoiceScores)
    assert torch.equal(again.log_probs, found.log_probs)
    assert len(again) == 2
    table = found.table()
    assert table["log_probability"].tolist() == ["whole", "per token", "per character"]
    assert table["mc1"].tolist()[0] == found.mc1.mean().item()
    figure = found.figure()
    [axes] = figure.axes
    dots: Any = axes.lines[0]
    assert dots.get_ydata()[0] == found.mc1.mean().item()
    assert "2 questions" in figure.legends[0].get_title().get_text()
    assert "ChoiceScores" in repr(found)


YES_NO = torch.tensor([[True, False]])
BAD: list[tuple[Any, str]] = [
    (lambda: mc1(torch.tensor([[0.5, -1.0]]), YES_NO), "choice 0 of question 0 has log-prob"),
    (lambda: mc1(torch.tensor([[-1.0, NONE]]), YES_NO), "question 0 has no wrong choice"),
    (lambda: mc2(torch.tensor([[-1.0, -1.0]]), ~YES_NO & YES_NO), "has no correct choice"),
    (
        lambda: mc1(torch.tensor([[-1.0, -1.0, NONE]]), torch.tensor([[True, False, True]])),
        "choice 2 of question 0 is correct but",
    ),
    (lambda: mc1(torch.zeros(0, 2), torch.zeros(0, 2).bool()), "at least one question"),
    (lambda: answer_mass(torch.tensor([[-0.1, -0.1]])), "probability 1.81 together"),
    (lambda: scores([], []), "no question"),
    (lambda: scores([[-1.0, NONE]], [[True, False]]), "log-probability -inf"),
    (lambda: scores([[-1.0, -1.0]], [[True]]), "correct"),
    (lambda: scores([[-1.0, -1.0]], [[True, False]], [[" a", " "]]), "blank choice"),
    (lambda: ChoiceScores.over_orders([]), "at least two"),
    (
        lambda: ChoiceScores.over_orders(
            [scores([[-1.0, -1.0]], [[True, False]]), scores([[-1.0, -1.0]], [[False, True]])]
        ),
        "same questions",
    ),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_what_cannot_be_scored_is_refused(call: Any, words: str, untyped: None) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_fields_that_do_not_belong_together_are_refused(untyped: None) -> None:
    found = scores([[-1.0, -2.0]], [[True, False]])
    x, correct, ones = found.log_probs, found.correct, found.tokens
    with pytest.raises(ValueError, match="2 groups for 1 questions"):
        ChoiceScores(x, correct, ones, ones, ("a", "b"))
    with pytest.raises(ValueError, match="lengths of at least 1"):
        ChoiceScores(x, correct, ones * 0, ones, ("a",))
    with pytest.raises(ValueError, match="expected one for each of 1"):
        found.mean(torch.ones(3))
    with pytest.raises(ValueError, match="expected the same"):
        mc1(x, torch.tensor([[True, False, False]]))
    with pytest.raises(ValueError, match="in the other"):
        letter_bias(x, torch.cat([x, x]))
