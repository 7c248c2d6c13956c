"""The registered study: parts, judges, gate, contrasts with known answers, and a run cut short."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.registered.__main__ import main, write
from analyses.registered.contrasts import Draws, TaskDraws, contrast, contrasts_table, realised
from analyses.registered.contrasts import verdict as verdict_of
from analyses.registered.gate import enters, gate_table
from analyses.registered.journals import Run
from analyses.registered.measuring import Terms, turned_round
from analyses.registered.methods import CONTRASTS, METHODS
from analyses.registered.tables import best_of_n, gains
from analyses.registered.tasks import FOLDS, TASKS, Task, task, task_names
from analyses.registered.texts import FOOD_WORDS, SEA_WORDS
from lens_steer.benchmark import instructed
from lens_steer.cli import run_command
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import WordList
from lens_steer.models import load_model

FAMILY = (("a", "CAA"),)


def small_task(n_groups: int = 16, each: int = 2) -> Task:
    rows = [
        (f"p{g} q{k}", f" good{(g + k) % 3}", f" bad{(g + k) % 3}", f"group {g}")
        for g in range(n_groups)
        for k in range(each)
    ]
    return Task("small", ContrastivePairs.of(rows, name="small"), EvenSum(), instructed("Be good."))


@dataclass(frozen=True)
class EvenSum:
    """Scores 1 where the characters of a text have an even sum: any edit may change it."""

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        del prompts
        return torch.tensor([float(sum(map(ord, text)) % 2 == 0) for text in texts])


@pytest.mark.parametrize("name", [name for name in TASKS if name != "sentiment"])
def test_judges_decide_the_endings_of_their_own_task(name: str) -> None:
    made = task(name, None)
    prompts = ["p"] * len(made.pairs)
    for side, expected in ((made.pairs.desired, 1.0), (made.pairs.undesired, 0.0)):
        scores = made.judge(prompts, [example.continuation for example in side])
        assert scores.tolist() == [expected] * len(scores)


@pytest.mark.parametrize(("name", "words"), [("sea", SEA_WORDS), ("food", FOOD_WORDS)])
def test_no_prompt_or_undesired_ending_holds_a_word_that_is_counted(
    name: str, words: tuple[str, ...]
) -> None:
    pairs = task(name, None).pairs
    texts = [f"{e.prompt}{e.continuation}" for e in pairs.undesired]
    assert not WordList(words)([""] * len(texts), texts).any()


@pytest.mark.parametrize("name", [*(n for n in TASKS if n != "sentiment"), "organism:concept"])
def test_every_item_is_tested_once_and_never_with_what_was_fitted_to_its_group(name: str) -> None:
    made = task(name, None)
    dev, folds = made.parts(3)
    parts = [set(part.groups) for part in (dev, *folds)]
    assert len(parts) == 1 + FOLDS
    assert sum(map(len, parts)) == len(set.union(*parts)) == 16
    prompts = [example.prompt for part in (dev, *folds) for example in part.desired]
    assert sorted(map(str, prompts)) == sorted(str(e.prompt) for e in made.pairs.desired)
    assert len(made.pairs.prompts) == 128


def test_half_of_the_pairs_are_turned_round() -> None:
    pairs = small_task().pairs
    turned = turned_round(pairs, seed=1)
    kept = [a == b for a, b in zip(pairs.desired, turned.desired, strict=True)]
    assert sum(kept) == len(pairs) // 2
    assert {*turned.desired, *turned.undesired} == {*pairs.desired, *pairs.undesired}


def test_a_gain_is_brought_to_one_cost_by_the_root_of_what_was_paid() -> None:
    plain = {"behaviour": [0.0, 1.0], "groups": ["a", "b"]}
    row = {
        "draw": 0,
        "nats": 0.1,
        "dev_gain": [0.5, 1.5],
        "behaviour": [1.0, float("nan")],
        "kl": [0.8, float("nan")],
        "tokens": [2.0, 5.0],
    }
    other = [row | {"draw": 1, "nats": 0.1, "failure": "x"}, row | {"nats": 0.3}]
    del other[0]["dev_gain"]
    found = Draws.of([other[0], row, other[1]], plain)
    assert realised(row) == 0.4
    np.testing.assert_allclose(found.gains, [[0.5, -0.5], [0.0, 0.0]])  # broken: shows nothing
    np.testing.assert_array_equal(found.dev, [[0.5, 1.5], [-np.inf, -np.inf]])


def planted(
    source: np.random.Generator,
    effects: dict[str, float],
    n_draws: int = 3,
    fit_noise: float = 0.05,
) -> TaskDraws:
    """Three folds of four groups of eight items, with noise of fits, groups, items and dev."""
    groups = [[4 * fold + k // 8 for k in range(32)] for fold in range(3)]
    draws = {}
    for name, effect in effects.items():
        folds = []
        for _ in range(3):
            quality = source.normal(0, 0.1, n_draws)
            dev = quality[:, None] + source.normal(0, 1.0, (n_draws, 32))
            by_group = np.repeat(source.normal(0, 0.05, 4), 8)
            noise = source.normal(0, 0.4, (n_draws, 32)) + by_group + source.normal(0, fit_noise)
            folds.append(Draws(dev, effect + quality[:, None] * 0.3 + noise))
        draws[name] = folds
    return TaskDraws(draws, groups)


@pytest.mark.parametrize("fit_noise", [0.0, 0.1])
def test_intervals_of_contrasts_cover_no_difference_at_least_as_often_as_stated(
    fit_noise: float,
) -> None:
    inside = 0
    for trial in range(120):
        source = np.random.default_rng(trial)
        tasks = [planted(source, {"a": 0.1, "CAA": 0.1}, fit_noise=fit_noise) for _ in range(4)]
        means = [each.means(source, 200) for each in tasks]
        found, p = contrast(means, "a", "CAA", 3)
        inside += found.low <= 0 <= found.high
        assert (p < 0.05) == (not found.low <= 0 <= found.high)
    assert inside >= 0.92 * 120


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [(0.3, "observed"), (-0.2, "not observed: the other way round")],
)
def test_a_planted_difference_is_found_in_either_direction(effect: float, verdict: str) -> None:
    source = np.random.default_rng(5)
    tasks = [planted(source, {"a": 0.3 + effect, "CAA": 0.3}) for _ in range(5)]
    [row] = contrasts_table(tasks, FAMILY, seed=0).to_dict("records")
    assert row["verdict"] == verdict
    assert abs(row["difference"] - effect) < 0.1


def test_two_methods_that_are_one_are_equivalent() -> None:
    source = np.random.default_rng(2)
    tasks = [planted(source, {"CAA": 0.3}) for _ in range(3)]
    same = [TaskDraws({"CAA": t.draws["CAA"], "a": t.draws["CAA"]}, t.groups) for t in tasks]
    [row] = contrasts_table(same, FAMILY, seed=0).to_dict("records")
    assert row["verdict"] == "equivalent"
    assert row["difference"] == 0


def test_a_wide_interval_around_nothing_is_no_equivalence() -> None:
    row = {"p_holm": 0.4, "difference": 0.01, "within_margin": False}
    assert verdict_of(row) == "not observed"


def test_dev_chooses_and_the_choice_is_made_again_in_resamples() -> None:
    dev = np.stack([np.tile([1.0, -1.0], 16) * 3, np.zeros(32)])  # equal on average
    task_draws = TaskDraws(
        {"a": [Draws(dev, np.stack([np.ones(32), np.zeros(32)]))] * 3}, [[0] * 32] * 3
    )
    drawn = task_draws.means(np.random.default_rng(0), 500)["a"][1:]
    assert 0.3 < drawn.mean() < 0.7  # the first structure is taken about half of the time
    assert set(drawn) == {0.0, 1.0}


def gate_rows(nats: float, change: float) -> list[dict[str, Any]]:
    """Eight items of four groups; words move every one of them by so much."""
    base: dict[str, Any] = {"groups": [0, 0, 1, 1, 2, 2, 3, 3], "tokens": [1] * 8, "seed": 0}
    return [
        base | {"method": "unsteered", "behaviour": [0.0] * 8, "kl": [0.0] * 8},
        base | {"method": "prompting", "behaviour": [change] * 8, "kl": [nats] * 8},
        {"method": "CAA", "failure": "not calibrated"},
    ]


@pytest.mark.parametrize(
    ("nats", "change", "expected"), [(0.3, 0.1, True), (0.4, 0.1, False), (0.3, 0.05, False)]
)
def test_words_let_a_task_in_only_at_the_cost_of_the_gate(
    nats: float, change: float, expected: bool
) -> None:
    table = gate_table("t", gate_rows(nats, change), seed=0)
    assert enters(table) is expected
    [caa] = [row for row in table.to_dict("records") if row["method"] == "CAA"]
    assert caa["why"] == "not calibrated"


def test_what_moves_one_group_alone_does_not_let_a_task_in() -> None:
    rows = gate_rows(0.3, 0.0)
    rows[1]["behaviour"] = [1.0, 1.0, *[0.0] * 6]  # 25 points, but the interval reaches 0
    assert not enters(gate_table("t", rows, seed=0))


def test_what_costs_more_than_the_gate_counts_for_less_by_the_root() -> None:
    rows = gate_rows(0.3, 0.0)[:2]
    rows.append(rows[0] | {"method": "learned", "behaviour": [1.0] * 8, "kl": [1.2] * 8})
    [learned] = [
        row
        for row in gate_table("t", rows, seed=0).to_dict("records")
        if row["method"] == "learned"
    ]
    assert learned["change"] == pytest.approx(1 / 2)


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    terms, tasks = Terms(tokens=3, draws=1, seed=4), [small_task()]  # a seed that lets it in
    whole = Run.of(model, tasks, terms, tmp_path / "whole.jsonl")
    units = list(islice(whole.measure(), 3))  # the gate, the references and CAA of a fold
    assert whole.entered(tasks[0])
    assert not whole.complete()
    assert len(whole.units()) == 1 + FOLDS * (1 + len(METHODS))
    assert [unit[2:] for unit in units] == [("gate",), (0, "references"), (0, "CAA")]
    for n in (1, 2):
        again = Run.of(model, tasks, terms, tmp_path / "again.jsonl")
        assert len(list(islice(again.measure(), n))) == n
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    table = gains(whole)
    assert {"unsteered", "prompting", "learned", "random", "CAA"} <= set(table["method"])
    assert best_of_n(table).set_index("method")["cells"].to_dict() == {"CAA": 1}
    write(whole, tmp_path, {"model": "small"})
    assert (tmp_path / "by_task.png").is_file()
    assert not (tmp_path / "contrasts.png").exists()
    assert Run.of(model, [task("sea", None)], terms, tmp_path / "whole.jsonl").left_out() == [
        "small"
    ]
    with pytest.raises(ValueError, match="run with other settings"):
        Run.of(model, tasks, Terms(tokens=4, draws=1, seed=4), tmp_path / "whole.jsonl")


def test_the_family_has_the_eight_registered_contrasts_of_nine_methods() -> None:
    assert len(CONTRASTS) == 8
    assert {name for pair in CONTRASTS for name in pair} == set(METHODS)
    registered = (Path(__file__).parents[2] / "docs" / "registration.md").read_text("utf-8")
    for first, second in CONTRASTS:
        assert f"| {first} | {second} |" in registered


@pytest.mark.parametrize("names", ["", "joy", "sea,sea", "organism:joy", "sea,"])
def test_unknown_tasks_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="expected all, or some of"):
        task_names(names)


def test_sentiment_asks_for_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(tasks="sentiment", out=tmp_path / "out"))
    assert ended.value.code == 2
    assert "--data None: expected a folder" in capsys.readouterr().err
