"""The registered study: parts, judges, gate, contrasts with known answers, and a run cut short."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.registered.__main__ import main, write
from analyses.registered.contrasts import (
    READINGS,
    contrast,
    contrasts_table,
    readings,
    realised,
    shown,
)
from analyses.registered.contrasts import verdict as verdict_of
from analyses.registered.gate import enters, gate_table
from analyses.registered.journals import Run
from analyses.registered.measuring import Terms, running_best, turned_round
from analyses.registered.methods import CONTRASTS, METHODS, OTHERS, OTHERS_ON
from analyses.registered.tables import best_of_n, gains, other_gains
from analyses.registered.tasks import FOLDS, TASKS, Task, task, task_names
from analyses.registered.texts import FOOD_WORDS, SEA_WORDS
from lens_steer.benchmark import FAMILIES, instructed
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


def rows_of(costs: Sequence[tuple[float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(costs, columns=["asked_nats", "nats", "gain"])


def test_a_gain_at_a_tenth_of_a_nat_is_read_in_three_ways() -> None:
    """Four times the cost asked for: half of the gain; between costs, straight on their root."""
    found = readings(
        rows_of([(0.03, 0.04, 0.1), (0.1, 0.4, 0.3), (0.1, 0.4, 0.5), (0.3, 0.9, 0.6)])
    )
    between = 0.1 + 0.3 * (np.sqrt(0.1) - 0.2) / (np.sqrt(0.4) - 0.2)
    assert found == pytest.approx(dict(zip(READINGS, (0.2, 0.4, between), strict=True)))
    beyond = readings(rows_of([(0.03, 0.01, 0.1), (0.1, 0.025, 0.2)]))
    assert beyond["interpolated"] == pytest.approx(0.4)
    assert set(readings(rows_of([])).values()) == {0.0}


def test_texts_that_broke_off_show_nothing_and_cost_nothing() -> None:
    row = {"behaviour": [1.0, float("nan")], "kl": [0.8, float("nan")], "tokens": [2.0, 5.0]}
    assert realised(row) == 0.4
    assert shown(row).tolist() == [1.0, 0.0]


def test_structures_that_lead_dev_are_those_before_which_none_is_better() -> None:
    assert running_best([None, [1.0, 2.0], [1.0], [2.0, 2.0], None, [2.0]]) == [1, 3]
    assert running_best([None, None]) == []
    assert running_best([[float("nan")], [-1.0], [float("nan"), 5.0]]) == [1]


def planted(
    source: np.random.Generator, difference: float, n_tasks: int = 5, fit: float = 0.03
) -> pd.DataFrame:
    """Three folds of tasks of unlike noise: of test, of choice, and of pairs that fits share."""
    rows = []
    for task_number in range(n_tasks):
        scale = np.exp(source.normal(0, 0.5))
        pairs = source.normal(0, fit * np.sqrt(8), 12)
        for fold in range(FOLDS):
            fitted = np.delete(pairs, range(4 * fold, 4 * fold + 4)).mean()
            noise = scale * (fitted + source.normal(0, np.hypot(0.09, 0.06)))
            for method, gain in (("CAA", 0.1), ("a", 0.1 + difference + noise)):
                row = {"task": f"t{task_number}", "fold": fold, "method": method}
                rows.append(row | dict.fromkeys(READINGS, gain))
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("fit", "most"), [(0.0, 0.06), (0.03, 0.07), (0.06, 0.1)])
def test_no_difference_is_found_about_as_rarely_as_stated(fit: float, most: float) -> None:
    """Fits share half of their pairs, which the folds of one run do not show; 300 runs."""
    source, found = np.random.default_rng(0), 0
    for _ in range(300):
        interval, p, _ = contrast(planted(source, 0.0, fit=fit), "a", "CAA")
        assert (p < 0.05) == (not interval.low <= 0 <= interval.high)
        found += p < 0.05
    assert 0.01 <= found / 300 <= most


def test_the_difference_that_four_of_five_runs_find_is_found_so_often() -> None:
    source = np.random.default_rng(1)
    least = [contrast(planted(source, 0.0), "a", "CAA")[2] for _ in range(100)]
    p = [contrast(planted(source, float(np.mean(least))), "a", "CAA")[1] for _ in range(200)]
    assert 0.7 <= np.mean(np.array(p) < 0.05) <= 0.9


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [(0.3, "observed"), (-0.3, "not observed: the other way round")],
)
def test_a_planted_difference_is_found_in_either_direction(effect: float, verdict: str) -> None:
    [row] = contrasts_table(planted(np.random.default_rng(5), effect), FAMILY).to_dict("records")
    assert row["verdict"] == verdict
    assert abs(row["difference"] - effect) < 0.1
    assert row["interpolated"] == pytest.approx(row["difference"])


def test_two_methods_that_are_one_are_equivalent() -> None:
    cells = planted(np.random.default_rng(2), 0.0)
    same = cells[cells["method"] == "CAA"]
    both = pd.concat([same, same.assign(method="a")])
    [row] = contrasts_table(both, FAMILY).to_dict("records")
    assert row["verdict"] == "equivalent"
    assert row["difference"] == 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.02, 0.02, "equivalent"),
        (-0.09, 0.02, "not observed"),
        (-0.09, 0.09, "undecided"),
        (-0.02, 0.09, "undecided"),
    ],
)
def test_without_a_difference_the_verdict_is_that_of_the_interval(
    low: float, high: float, expected: str
) -> None:
    row = {"p_holm": 0.4, "difference": (low + high) / 2, "margin": 0.03}
    assert verdict_of(row | {"difference_low": low, "difference_high": high}) == expected


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
    caa = table[table["method"] == "CAA"]
    assert sorted(zip(caa["asked_nats"], caa["seed"], strict=True)) == [
        (0.03, 0),
        (0.1, 0),
        (0.1, 1),
        (0.1, 2),
        (0.3, 0),
    ]
    first = best_of_n(table).set_index("method")["gain"]
    [tested] = caa[(caa["asked_nats"] == 0.1) & (caa["seed"] == 0)]["gain"]
    assert (first["CAA"], first["LQR"]) == (tested, 0.0)
    write(whole, tmp_path, {"model": "small"})
    assert (tmp_path / "by_task.png").is_file()
    assert not (tmp_path / "contrasts.png").exists()
    assert Run.of(model, [task("sea", None)], terms, tmp_path / "whole.jsonl").left_out() == [
        "small"
    ]
    with pytest.raises(ValueError, match="run with other settings"):
        Run.of(model, tasks, Terms(tokens=4, draws=1, seed=4), tmp_path / "whole.jsonl")


def test_other_methods_are_added_to_a_journal_and_change_nothing_in_it(
    model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    """A journal in which the nine are done is planted; only what is not in it is measured."""
    model = load_model(str(model_dirs["llama"]), device="cpu")
    terms, path = Terms(tokens=3, draws=1, seed=4), tmp_path / "journal.jsonl"
    tasks = [replace(small_task(), name="question"), small_task()]
    nine = Run.of(model, tasks, terms, path)
    for made in tasks:
        nine.journal.add(nine.unit(made, "gate"), gate_rows(0.3, 0.2))
    for unit in nine.units()[2:]:
        row = gate_rows(0.3, 0.2)[0] | {"unjudged": 0, "repetition": 0.0, "perplexity": 1.0}
        of_method = {"method": unit[3], "nats": 0.1, "draw": 0, "dev_gain": [1.0]}
        plain = [row | {"seed": k} for k in range(3)]
        nine.journal.add(unit, plain if unit[3] == "references" else [row | of_method])
    assert nine.complete()
    before, table = path.read_bytes(), gains(nine)
    run = Run.of(model, tasks, terms, path, others=True)
    assert [unit for unit in run.units() if unit in run.journal.done] == nine.units()
    others = run.other_units()
    assert [unit[3] for unit in others[: len(OTHERS)]] == list(OTHERS)
    assert {unit[0] for unit in others} == {"question"}
    assert len(others) == FOLDS * len(OTHERS)
    assert next(run.measure()) == others[0]
    assert path.read_bytes().startswith(before)
    assert gains(run).equals(table)
    beside = other_gains(run)
    assert set(beside["method"]) == {"unsteered", *METHODS, others[0][3]}
    assert Run.of(model, tasks, terms, path).complete()


def test_the_other_methods_are_all_families_beyond_the_nine() -> None:
    assert set(OTHERS) == {*FAMILIES, "JointLQR", "PID"} - set(METHODS)
    assert set(OTHERS_ON) <= set(TASKS)


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
