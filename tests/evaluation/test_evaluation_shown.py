"""What is printed of an evaluation: every quantity with its interval, and the first texts."""

from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.evaluation import Evaluation, TextCosts
from lens_steer.intervals import interval

GROUPS = ("a", "a", "b", "b", "c")


def d(*values: float) -> torch.Tensor:
    return torch.tensor(values).double()


def made(**changes: Any) -> Evaluation:
    costs = TextCosts(d(1, 2, 3, 4, 5), d(10, 10, 10, 10, 10), d(9, 9, 9, 9, 9), d(9, 9, 9, 9, 9))
    given: dict[str, Any] = {
        "behaviour": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]),
        "groups": GROUPS,
        "perplexity": float(torch.e),
        "texts": (" one", " two words", "", " <b>four</b>", " five\x1b[31m"),
        "well_formed": torch.tensor([True, True, True, False, True]),
        "text_costs": costs,
        "text_groups": GROUPS,
    }
    return Evaluation(**given | changes)


def value(trial: Evaluation, quantity: str) -> tuple[float, float, float]:
    table = trial.summary(seed=0).set_index("quantity")
    row: Any = table.loc[quantity]
    return row["value"], row["value_low"], row["value_high"]


def html_of(trial: Any) -> str:
    return trial._repr_html_()


def test_the_summary_holds_the_quantities_with_their_intervals() -> None:
    """By hand: 15 nats in 50 draws and 5 texts, two of five texts failed, 45 nats in 45 tokens."""
    trial = made()
    assert value(trial, "behaviour")[0] == pytest.approx(0.6)
    assert value(trial, "behaviour")[1:] == (
        trial.interval(seed=0).low,
        trial.interval(seed=0).high,
    )
    assert value(trial, "nats per token")[0] == pytest.approx(15 / 50)
    assert value(trial, "nats per text")[0] == pytest.approx(3)
    known = interval(d(1, 2, 3, 4, 5), GROUPS, seed=0)
    assert value(trial, "nats per text")[1:] == (known.low, known.high)
    assert value(trial, "perplexity") == pytest.approx((torch.e,) * 3)
    assert value(trial, "failed")[0] == pytest.approx(2 / 5)
    assert value(trial, "tokens per text") == pytest.approx((9, 9, 9))


def test_other_seeds_draw_other_groups() -> None:
    many = {"groups": tuple(range(5)), "text_groups": tuple(range(5))}
    first, second = (made(**many).summary(seed=seed)["value_low"] for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_the_screen_shows_numbers_and_texts_and_escapes_them() -> None:
    lines = str(made()).split("\n")
    assert lines[0] == "Evaluation: 5 texts, 5 scores, 3 groups"
    [behaviour] = [line for line in lines if line.startswith("behaviour")]
    assert str(made().interval(seed=0)) in behaviour
    assert "[1] 0 ' two words'" in lines
    assert "\x1b" not in "".join(lines)
    html = html_of(made())
    assert "&lt;b&gt;four&lt;/b&gt;" in html
    assert "<b>four</b>" not in html
    assert html.count("<tr>") == 7 + 5


def test_of_one_group_no_intervals_are_promised() -> None:
    for groups, said in ((("a",) * 5, False), (("a", "a", "b", "b", "b"), True)):
        trial = made(groups=groups, text_groups=groups)
        assert (value(trial, "behaviour")[1] == value(trial, "behaviour")[1]) == said  # NaN or not
        assert ("95 % intervals: groups drawn again, seed 0" in str(trial)) == said
        assert ("no intervals: they take 2 groups" in str(trial)) == (not said)


def test_on_one_line_it_says_what_was_reached_and_paid() -> None:
    line = repr([made()])
    assert line.startswith("[Evaluation(behaviour 0.6 [")
    assert "0.3 nats per token, perplexity 2.72, 5 texts)" in line


def test_what_is_not_known_is_a_dash() -> None:
    by_hand = made(text_costs=None, text_groups=())
    assert "nats" not in str(by_hand)
    nan = float("nan")
    greedy = TextCosts(d(nan, nan, nan, nan, nan), d(1, 1, 1, 1, 1), d(1, 1, 1, 1, 1), d(*[1] * 5))
    lines = str(made(text_costs=greedy)).split("\n")
    assert any(line.split()[:4] == ["nats", "per", "token", "-"] for line in lines)


def test_what_failed_and_what_could_not_be_judged_is_said() -> None:
    trial = made(unjudged=("", "no verb", "", "", "")).without([0], "NaN logits", judged=True)
    assert "unjudged          0.2" in str(trial)
    assert "failure: 1 of 5 texts failed, such as NaN logits" in str(trial)
    assert "failed)" in repr(trial)


@pytest.mark.parametrize("changes", [{"texts": ()}, {"groups": ()}, {"text_groups": ("a",)}])
def test_what_has_no_means_prints_its_fields(changes: dict[str, Any]) -> None:
    trial = made(**changes)
    assert str(trial) == repr(trial)
    assert repr(trial).startswith("Evaluation(behaviour=a tensor float32 [5], groups=(")
    assert "behaviour=a tensor" in html_of(trial)


def test_many_texts_are_counted_and_long_ones_shortened() -> None:
    n = 30
    keys = tuple(range(n))
    trial = Evaluation(torch.zeros(n), keys, 5.0, ("a text " * 50,) * n)
    lines = str(trial).split("\n")
    assert lines[-1] == "... 22 more texts"
    assert max(map(len, lines)) <= 100


def test_an_evaluation_of_a_model_prints(llama: Any, pairs: ls.ContrastivePairs) -> None:
    trial = ls.evaluate(llama, pairs, judge=ls.WordList(("the",)), max_new_tokens=5, seed=0)
    assert f"{len(pairs.prompts)} texts" in str(trial)
    assert "nats per token    0 [0, 0]" in str(trial)
