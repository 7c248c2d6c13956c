"""From a file of multiple-choice questions to a table: against the pieces, one after another."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.benchmark import AnswerTable
from lens_steer.data import Question, Questions
from tests.interventions import push

ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "goat")
OTHERS = ("duck", "hen", "fox", "wolf", "bear", "mouse")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TruthfulQA's mc_task.json, twice: the second half shares its words with no first."""
    folder = tmp_path_factory.mktemp("files")
    parts = {"train": ANIMALS, "test": OTHERS}
    for part, animals in parts.items():
        rows = [
            {
                "question": f"{part} {animal}?",
                "mc1_targets": {f"A {animal}.": 1, "A stone.": 0, "The sun.": 0},
                "mc2_targets": {f"A {animal}.": 1, "A stone.": 0, "The sun.": 0},
            }
            for animal in animals
        ]
        (folder / f"{part}.json").write_text(json.dumps(rows))
    return {part: folder / f"{part}.json" for part in parts}


@pytest.fixture(scope="module")
def table(llama: Any, files: dict[str, Path]) -> AnswerTable:
    methods = {"a push": push(llama, size=0.5), "its half": push(llama, size=0.25)}
    how = {
        "data": files["test"],
        "train": files["train"],
        "learn_at": ls.Site(1),
        "progress": False,
    }
    return ls.benchmark.run("truthfulqa-mc", llama, methods, instruction="Look. ", **how)


def test_rows_are_the_unsteered_model_controls_and_methods(table: AnswerTable) -> None:
    controls = ("shortest answer", "no question", "another question", "prompting", "learned vector")
    assert table.rows == ("unsteered", *controls, "a push", "its half")
    assert "no row answer bias: the set has no such control" in table.notes
    whole = table.table()
    assert whole["questions"].tolist() == [6] * len(table.rows)
    assert whole[["mc1_change", "mc2_change"]].iloc[0].tolist() == [0, 0]
    assert whole["kl_fixed"].isna().tolist() == [False, *[True] * 4, False, False, False]


def test_scores_and_costs_are_those_of_the_pieces(
    table: AnswerTable, llama: Any, files: dict[str, Path]
) -> None:
    questions = ls.benchmark.load("truthfulqa-mc", files["test"]).questions
    assert questions is not None
    method = push(llama, size=0.5)
    found = ls.evaluation.answer_log_probs(llama, questions, [method])
    costs = ls.evaluation.answer_costs(llama, found, seed=0)
    row = table.rows.index("a push")
    wanted = [costs.kl_fixed[1], costs.reference_kl[1].mean(), costs.choices_kl[1].mean()]
    assert table.costs[row].tolist() == pytest.approx(
        [x.item() for x in (*wanted, costs.least[1].mean())], abs=1e-6
    )
    assert torch.allclose(table.scores[row].log_probs, found.scores(1).log_probs, atol=1e-4)
    shown = table.table().iloc[row]
    change = (found.scores(1).mc2 - found.scores(0).mc2).mean().item()
    assert shown["mc2_change"] == pytest.approx(change, abs=1e-5)
    assert shown["mc2_change_low"] <= shown["mc2_change"] <= shown["mc2_change_high"]
    assert table.costs[row, 0] > 3 * table.costs[row + 1, 0]  # a quadratic in the strength


def test_methods_of_other_layers_and_strength_0_change_nothing_else(llama: Any) -> None:
    questions = Questions(
        tuple(
            Question(f"A {a} is", (" good.", " bad."), (True, False)) for a in (*ANIMALS, *OTHERS)
        )
    )
    late = replace(push(llama, size=0.5), at=(ls.Site(3),))
    methods = {"late": late, "early": push(llama, size=0.5), "off": late.with_strength(0)}
    how = {"data": questions, "controls": False, "progress": False}
    together = ls.benchmark.run("mine", llama, methods, **how)
    assert "train is half of the questions, drawn by group with seed 0" in together.notes
    assert torch.equal(together.scores[3].log_probs, together.scores[0].log_probs)
    assert together.costs[3].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-9)
    for name in ("late", "early"):
        alone = ls.benchmark.run("mine", llama, {name: methods[name]}, **how)
        row = together.rows.index(name)
        assert torch.allclose(alone.scores[1].log_probs, together.scores[row].log_probs, atol=1e-4)


def test_methods_are_calibrated_on_train(llama: Any, files: dict[str, Path]) -> None:
    how = {"data": files["test"], "train": files["train"], "controls": False, "progress": False}
    table = ls.benchmark.run("truthfulqa-mc", llama, [push(llama, size=3.0)], kl=0.05, **how)
    assert table.rows == ("unsteered", "Additive")
    assert table.costs[1, 0].item() == pytest.approx(0.05, rel=0.5)  # on other prompts
    assert "calibrated to 0.05 nats per token on 6 prompts of train" in table.notes


def test_a_table_is_printed_written_saved_and_drawn(table: AnswerTable, tmp_path: Path) -> None:
    lines = table.markdown().splitlines()
    assert lines[0] == "| method | mc1 | mc1_change | mc2 | mc2_change | kl_fixed |"
    assert len(lines) == 2 + len(table.rows) + 2 + len(table.notes)
    assert r"mc1\_change" in table.latex()
    assert table.latex().count(r"\\") == 1 + len(table.rows)
    assert repr(table).startswith("truthfulqa-mc: 6 questions, 95 % intervals\n")
    ls.save(table, tmp_path / "table")
    again = ls.load(tmp_path / "table")
    assert again.table().equals(table.table())
    assert [axes.get_xlabel() for axes in table.figure().axes] == [
        "MC1 (95 % interval)",
        "MC2 (95 % interval)",
    ]


def yes_or_no() -> Questions:
    return Questions(
        tuple(
            Question(f"Is a {a} one? It is", choices, (choices[0] == right, choices[1] == right))
            for i, (a, right) in enumerate(
                zip((*ANIMALS, *OTHERS), (" Yes", " No") * 6, strict=True)
            )
            for choices in [(" Yes", " No") if i % 3 else (" No", " Yes")]
        )
    )


def test_the_same_two_answers_have_scores_of_their_own(llama: Any, tmp_path: Path) -> None:
    questions = yes_or_no()
    fit_on, test = questions.split(0.5, 0.5, seed=1)
    method = push(llama, size=0.5)
    how = {"data": test, "train": fit_on, "controls": False, "progress": False}
    table = ls.benchmark.run("mine", llama, [method], **how)
    found = ls.evaluation.answer_log_probs(llama, test, [method])
    of_train = ls.evaluation.answer_log_probs(llama, fit_on, [method])
    for row in (0, 1):
        one, train = (
            ls.evaluation.BinaryScores.of(
                each.rows(row),
                [q.correct for q in each.questions],
                [q.choices for q in each.questions],
                (" Yes", " No"),
            )
            for each in (found, of_train)
        )
        sign = 1 if table.binary[row].answers[0] == " Yes" else -1
        assert torch.allclose(sign * table.binary[row].log_odds, one.log_odds, atol=1e-4)
        assert table.binary[row].auc == pytest.approx(one.auc)
        fitted = ls.evaluation.AnswerThreshold.fit(train.log_odds, train.labels)
        assert sign * table.binary[row].threshold.value == pytest.approx(fitted.value, abs=1e-4)
    shown = table.table()
    assert {"auc", "auc_low", "d_prime", "balanced", "first_share", "mass"} <= set(shown.columns)
    change = table.binary[1].auc - table.binary[0].auc
    assert shown["auc_change"].tolist() == pytest.approx([0.0, change])
    assert list(table.brief().columns)[2:6] == ["auc", "auc_change", "first_share", "mass"]
    ls.save(table, tmp_path / "table.safetensors")
    assert ls.load(tmp_path / "table.safetensors").table().equals(shown)


class StoppedError(RuntimeError):
    """A run is stopped."""


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    llama: Any, files: dict[str, Path], tmp_path: Path
) -> None:
    late = replace(push(llama, size=0.5), at=(ls.Site(3),))
    how = {"train": files["train"], "data": files["test"], "kl": 0.05, "progress": False}

    def run(folder: str, methods: Any, **more: Any) -> AnswerTable:
        given = {**how, "out": tmp_path / folder, **more}
        return ls.benchmark.run("truthfulqa-mc", llama, methods, **given)

    methods = {"early": push(llama, size=0.5), "late": late}
    whole = run("whole", methods)
    left = [0]

    def stop(module: Any, given: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise StoppedError

    for passes in (3, 40, 90):
        left[0] = passes
        with llama.original_model.register_forward_pre_hook(stop), pytest.raises(StoppedError):
            run("stopped", methods)
        assert not (tmp_path / "stopped" / "table.safetensors").exists()
    kept = (tmp_path / "stopped" / "rows.jsonl").read_text().splitlines()
    assert 1 <= len(kept) < len((tmp_path / "whole" / "rows.jsonl").read_text().splitlines())
    again = run("stopped", methods)
    assert again.table().equals(whole.table())
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == [
        "rows.jsonl", "table.csv", "table.json", "table.md", "table.png", "table.safetensors",
        "table.tex",
    ]  # fmt: skip
    for name in names:
        same = [(tmp_path / folder / name).read_bytes() for folder in ("whole", "stopped")]
        assert same[0] == same[1], name
    with pytest.raises(ValueError, match=r"run with other settings \(kl: 0.05, now 0.1\)"):
        run("whole", methods, kl=0.1)
    with pytest.raises(ValueError, match=r"other settings \(methods.late"):
        run("whole", methods | {"late": late.with_strength(2)})


def test_what_cannot_be_scored_is_refused(llama: Any, files: dict[str, Path]) -> None:
    def run(name: str, methods: Any = None, **how: Any) -> AnswerTable:
        methods = [push(llama)] if methods is None else methods
        return ls.benchmark.run(name, llama, methods, progress=False, **how)

    harmful = files["test"].parent / "harmful_test.json"
    harmful.write_text(json.dumps([{"instruction": "Do it.", "category": None}]))
    with pytest.raises(ValueError, match="looks like"):
        run("copa", data=files["test"])
    with pytest.raises(ValueError, match="'refusal' has no questions to choose from"):
        run("refusal", data=harmful)
    with pytest.raises(ValueError, match="expected at least one"):
        run("truthfulqa-mc", [], data=files["test"])
    with pytest.raises(ValueError, match="those of references"):
        run("truthfulqa-mc", {"unsteered": push(llama)}, data=files["test"])
    with pytest.raises(ValueError, match="expected a float above 0|expected a number above 0|kl"):
        run("truthfulqa-mc", kl=-1.0, data=files["test"])
    with pytest.raises(ValueError, match="those of controls"):
        run("truthfulqa-mc", {"no question": push(llama)}, data=files["test"])
    same = ls.benchmark.load("truthfulqa-mc", files["test"]).questions
    assert same is not None
    with pytest.raises(ValueError, match="nothing|no question|remains"):
        run("truthfulqa-mc", data=files["test"], train=same)
