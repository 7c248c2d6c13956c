"""Answers by likelihood: items, couples and letters, planted scores, and a run cut short."""

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analyses.registered.measuring import Terms
from analyses.registered.methods import METHODS
from analyses.registered.parts import FOLDS
from analyses.registered_answers.__main__ import check_items, main, write
from analyses.registered_answers.answer_folds import AnswerFold, likelihoods, preferences
from analyses.registered_answers.choosing import alone, exchanged, in_both_orders, in_couples
from analyses.registered_answers.journals import AnswerRun
from analyses.registered_answers.scores import log_odds, moved, scored, shortest
from analyses.registered_answers.tables import gains, intercepts
from analyses.registered_answers.tasks import (
    TASKS,
    AnswerTask,
    answer_task,
    answer_tasks,
    task_names,
)
from lens_steer.cli import run_command
from lens_steer.data import Question, Questions
from lens_steer.evaluation import log_probabilities, preference
from lens_steer.models import encode, load_model
from tests.analyses.answer_files import write_files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_files(folder)
    return folder


def planted(n: int = 100, *, bias: float = 0.0, seed: int = 0) -> tuple[AnswerTask, Any, Any]:
    """Yes and No, whose log-odds are 1 nat apart on average, and `bias` for either; with dev."""
    source = np.random.default_rng(seed)
    items, nats = [], []
    for i in range(n):
        yes = i % 2 == 0
        question = Question(f"q {i}", (" No", " Yes"), (not yes, yes), group=f"couple {i // 2}")
        odds = source.normal(0.5 if yes else -0.5, 1) + bias
        items.append(replace(question, bare=f"{i}"))
        nats.append([math.log(0.1) - math.log1p(math.exp(odds)), 0.0])
        nats[-1][1] = nats[-1][0] + odds
    questions = Questions(tuple(items), "planted")
    return AnswerTask("planted", questions.pairs(), questions, "auc", "Be good. "), questions, nats


def numbers_of(bias: float) -> dict[str, float]:
    task, test, nats = planted(bias=bias)
    _, dev, of_dev = planted(bias=bias, seed=1)
    row = {"answers": nats, "dev_answers": of_dev, "prior": [[-1.0, bias - 1.0]]}
    return scored(task, row, test, dev, [[1, 1]] * len(test))


def test_a_bias_ruins_accuracy_and_neither_auc_nor_what_is_free_of_it() -> None:
    """Two normals, one standard deviation apart: AUC .76, accuracy .69 at the best threshold."""
    free, always_no = numbers_of(0.0), numbers_of(-8.0)
    assert always_no["mc1"] == 0.5
    assert always_no["first_share"] == 1.0
    assert free["auc"] == pytest.approx(always_no["auc"])
    assert free["auc"] == pytest.approx(0.76, abs=0.08)
    for name in ("mc1", "mc1_with_bias", "mc1_less_prior"):
        assert free[name] == pytest.approx(0.69, abs=0.09)
    for name in ("mc1_with_bias", "mc1_less_prior"):
        assert always_no[name] == pytest.approx(free[name])
    assert always_no["bias"] - free["bias"] == pytest.approx(-8.0, abs=1e-4)
    assert always_no["prior"] == 8.0  # of No against Yes
    assert always_no["mass"] == pytest.approx(0.1)


def test_right_answers_together_are_weighed_against_wrong_ones_together() -> None:
    question = Question("q", (" a", " b c", " d"), (True, True, False))
    found = likelihoods(Questions((question,)), [[-1.0, -2.0, -1.5]], [[1, 2, 1]])
    expected = math.log((math.exp(-1) + math.exp(-2)) / math.exp(-1.5))
    assert log_odds(found).tolist() == pytest.approx([expected])
    assert shortest(Questions((question,)), [[1, 2, 2]]) == {"mc1": 1.0}
    assert shortest(Questions((question,)), [[1, 2, 1]]) == {"mc1": 0.0}


def lettered(n: int, margin: float, letter: float) -> dict[str, float]:
    """Text answers that are `margin` nats likelier, after an A that is 2 `letter` nats likelier."""
    items, nats = [], []
    for i in range(n):
        for swapped in (False, True):
            right_is_a = (i % 2 == 0) != swapped
            choices = (" (A)", " (B)")
            items.append(Question(f"q{i}", choices, (right_is_a, not right_is_a), f"question {i}"))
            a = margin / 2 if right_is_a else -margin / 2
            nats.append([-5 + a + letter, -5 - a - letter])
    questions = Questions(tuple(items), "letters")
    task = AnswerTask("letters", questions.pairs(), questions, "auc", "Be good. ")
    row = {"answers": nats, "dev_answers": nats}
    return scored(task, row, questions, questions, [[1, 1]] * len(items))


def test_what_a_letter_is_worth_cancels_over_both_orders() -> None:
    found = lettered(8, margin=0.4, letter=1.5)
    assert found["mc1"] == 0.5  # always A
    assert found["first_share"] == 1.0
    assert found["letter_bias"] == pytest.approx(3.0)
    assert found["mc1_over_orders"] == 1.0
    assert lettered(8, margin=-0.4, letter=1.5)["mc1_over_orders"] == 0.0
    assert found["auc"] == found["mc1_with_bias"] == 1.0


def test_letters_are_exchanged_with_what_stands_behind_them() -> None:
    prompt = "Do you?\n\nChoices:\n (A) Yes\n (B) No\n\nAnswer:"
    question = Question(prompt, (" (A)", " (B)"), (True, False), bare="Do you?")
    other = exchanged(question)
    assert other.prompt == "Do you?\n\nChoices:\n (A) No\n (B) Yes\n\nAnswer:"
    assert other.correct == (False, True)
    assert exchanged(other) == question
    three = replace(question, prompt=prompt.replace("\n\nAnswer:", "\n (C) Maybe\n\nAnswer:"))
    with pytest.raises(ValueError, match=r"expected a question that lists \(A\) and \(B\)"):
        exchanged(three)
    kept = in_both_orders(Questions((three, question)), 8, seed=0)
    assert [q.group for q in kept] == ["question 0"] * 2


def test_couples_are_balanced_in_every_part_and_near_duplicates_left_out(data: Path) -> None:
    made = answer_task("interest-in-science", data, 32, seed=0)
    assert len(made.questions) == 32
    dev, folds = made.parts(0)
    for part in (dev, *folds):
        labels = [q.correct[0] for q in made.asked(part)]
        assert sum(labels) * 2 == len(labels) == 8
    texts = [" ".join([f"word{i}"] * 4) + " one two three four five" for i in range(3)]
    alike = Questions(tuple(Question(text, (" a", " b"), (True, False)) for text in texts))
    assert len(alone(alike, 3, seed=0)) == 1
    assert in_couples(Questions(made.questions.items[:5]), 99, seed=0)[-1].group == "couple 1"


@pytest.mark.parametrize("name", TASKS)
def test_every_set_is_read_from_its_published_form(name: str, data: Path) -> None:
    made = answer_task(name, data, 24, seed=1)
    assert len(made.questions) == len(made.pairs.prompts) == 24
    assert [e.continuation for e in made.pairs.desired] == [q.right for q in made.questions]
    assert (made.answers is None) == (name in ("truthfulqa", "copa"))
    assert made.lettered == (name == "survival-instinct")
    assert (made.emptied is None) == (name not in ("sst2", "interest-in-science"))


def test_what_is_missing_is_named_and_left_out(data: Path, tmp_path: Path) -> None:
    (tmp_path / "copa").mkdir()
    for part in ("train", "dev", "test"):
        (tmp_path / "copa" / f"{part}.jsonl").write_bytes(
            (data / "copa" / f"{part}.jsonl").read_bytes()
        )
    found, missing = answer_tasks(["copa", "sst2"], tmp_path, 16, seed=0)
    assert [task.name for task in found] == ["copa"]
    assert missing == ["sst2/test.tsv"]
    with pytest.raises(ValueError, match="expected a folder with the files of at least one task"):
        answer_tasks(["sst2"], tmp_path, 16, seed=0)
    few = json.loads((data / "copa" / "dev.jsonl").read_text("utf-8").splitlines()[0])
    for part in ("train", "dev", "test"):
        (tmp_path / "copa" / f"{part}.jsonl").write_text(json.dumps(few), "utf-8")
    with pytest.raises(ValueError, match="1 questions of copa can be used, expected at least 16"):
        answer_task("copa", tmp_path, 16, seed=0)


@pytest.mark.parametrize("names", ["", "joy", "copa,copa", "copa,"])
def test_unknown_tasks_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="expected all, or some of"):
        task_names(names)


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 16"):
        check_items(15)


def test_a_run_without_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(out=tmp_path / "out"))
    assert ended.value.code == 2
    assert "--data None: expected a folder" in capsys.readouterr().err


def references(change: float) -> list[dict[str, Any]]:
    nats = [[-1.0, -2.0], [-2.0, -2.0], [-3.0, -1.0], [-2.0, -1.0]]
    plain = {"method": "unsteered", "answers": nats, "lengths": [[1, 1]] * 4}
    raised = [[a - 5 + change, b - 5] for a, b in nats]
    return [plain, {"method": "learned", "nats": 0.3, "answers": raised}]


@pytest.mark.parametrize(("change", "counts"), [(0.5, True), (-0.5, False)])
def test_a_task_counts_where_the_learned_vector_raises_its_right_answers(
    change: float, counts: bool
) -> None:
    test = Questions(
        tuple(Question(f"q{i}", (" a", " b"), (True, False), f"g{i}") for i in range(4))
    )
    found = moved([test] * FOLDS, [references(change)] * FOLDS, seed=0)
    assert set(found) == {"learned"}
    assert found["learned"].mean == pytest.approx(change)
    assert (found["learned"].low > 0) is counts


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    tasks = [planted(16)[0]]
    terms = Terms(tokens=3, draws=1, seed=0)
    whole = AnswerRun.of(model, tasks, terms, tmp_path / "whole.jsonl", items=16)
    units = list(islice(whole.measure(), 2))
    assert [unit[2:] for unit in units] == [(0, "references"), (0, "CAA")]
    assert len(whole.units()) == FOLDS * (1 + len(METHODS))
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    n = len(whole.rows(units[0]))  # it was stopped while a row of CAA was written
    (tmp_path / "again.jsonl").write_bytes(b"".join(lines[:n]) + lines[n][:-20])
    again = AnswerRun.of(model, tasks, terms, tmp_path / "again.jsonl", items=16)
    assert next(again.measure()) == units[1]
    assert (tmp_path / "again.jsonl").read_bytes() == b"".join(lines)
    assert whole.entered(tasks[0]) is None
    table: Any = gains(whole)
    caa = table[table["method"] == "CAA"]
    assert sorted(caa["asked_nats"]) == [0.03, 0.1, 0.3]
    for name in ("auc", "mc1_with_bias", "mc1_less_prior", "nats", "nats_on_task"):
        assert caa[name].notna().all()
    assert {"prompting", "no question", "random", "CAA, pairs turned round"} <= set(table["method"])
    assert "CAA" in set(intercepts(table)["method"])
    write(whole, tmp_path, {"model": "small"})
    for name in ("by_task", "frontier", "best_of_n", "intercepts"):
        assert (tmp_path / f"{name}.png").is_file()
    with pytest.raises(ValueError, match="run with other settings"):
        AnswerRun.of(model, tasks, terms, tmp_path / "whole.jsonl", items=18)


def nats_one_by_one(model: Any, fold: AnswerFold, method: Any) -> list[float]:
    """The nats of every choice of the test questions, each choice read by itself."""
    rows = [encode(model, q.prompt, c) for q in fold.asked["answers"] for c in q.choices]
    return [found.sum().item() for found in log_probabilities(model, rows, method)]


def test_dev_promises_what_the_preference_says(model_dirs: dict[str, Path], data: Path) -> None:
    model = load_model(str(model_dirs["llama"]), device="cpu")
    made = answer_task("truthfulqa", data, 16, seed=0)
    fold = AnswerFold(model, made, 0, Terms(tokens=3, draws=1, seed=0))
    method = fold.made("CAA", {"layer": 1, "read": "mean"})
    assert not isinstance(method, str)
    [row] = fold.tested([{"method": "CAA"}], [method])
    rows = nats_one_by_one(model, fold, method)
    assert [x for nats in row["answers"] for x in nats] == pytest.approx(rows, abs=1e-4)
    [promise] = fold.promises([method])
    expected = preference(model, fold.dev, method) - preference(model, fold.dev)
    torch.testing.assert_close(
        torch.tensor(promise["dev_gain"]), expected.float(), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        preferences(fold.plain_of_dev, 0).float(),
        preference(model, fold.dev).float(),
        atol=1e-5,
        rtol=1e-4,
    )
