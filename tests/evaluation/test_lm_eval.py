"""The scores of answers against lm-eval: its metrics, and its own reading of a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.benchmark import load
from lens_steer.data import Question, Questions
from lens_steer.evaluation import ChoiceScores, answer_log_probs
from tests.data.files import as_json

NOT_HERE = "lm-eval, an oracle, is not installed"
# float32 sums in another order: batches there, one shared prompt here.
NATS = 1e-4


def metrics(choices: Sequence[str], gold: int, answers: Sequence[tuple[float, bool]]) -> Any:
    """`acc` and `acc_norm` of one item of a multiple-choice task."""
    task = pytest.importorskip("lm_eval.api.task", reason=NOT_HERE)

    class Items(task.ConfigurableTask):
        OUTPUT_TYPE = "multiple_choice"
        multiple_input, multiple_target = 0, 0
        _metric_fn_list = dict.fromkeys(("acc", "acc_norm"))

        def __init__(self) -> None:
            self._config: Any = type("Config", (), {"process_results": None})()

        def doc_to_choice(self, doc: Any) -> list[str]:
            return doc["choices"]

        def doc_to_target(self, doc: Any) -> int:
            return doc["gold"]

    return Items().process_results({"choices": list(choices), "gold": gold}, answers)


def mass(labels: Sequence[int], answers: Sequence[tuple[float, bool]]) -> float:
    """MC2 of one item of TruthfulQA's task."""
    truthfulqa = pytest.importorskip("lm_eval.tasks.truthfulqa.utils", reason=NOT_HERE)
    return truthfulqa.process_results_mc2({"mc2_targets": {"labels": labels}}, answers)["acc"]


def test_metrics_are_those_of_lm_eval() -> None:
    """MC1 as `acc`, per character as `acc_norm`, MC2 as TruthfulQA's task there computes it."""
    source = np.random.default_rng(0)
    rows, correct, choices, expected = [], [], [], []
    for _ in range(40):
        n = int(source.integers(2, 7))
        gold = int(source.integers(n))
        lengths = source.integers(1, 30, size=n)
        log_probs = (-source.uniform(0.5, 2, size=n) * lengths).tolist()
        texts = ["x\u00e9y"[: 1 + k % 3] * int(length) for k, length in enumerate(lengths)]
        answers = [(x, False) for x in log_probs]
        one = metrics(texts, gold, answers)
        two = mass([int(k == gold) for k in range(n)], answers)
        expected.append((one["acc"], one["acc_norm"], two))
        rows.append(log_probs)
        correct.append([k == gold for k in range(n)])
        choices.append([f" {text}" for text in texts])
    found = ChoiceScores.of(
        [torch.tensor(row, dtype=torch.float64) for row in rows],
        correct,
        [[1] * len(row) for row in rows],
        choices,
    )
    acc, acc_norm, by_mass = map(list, zip(*expected, strict=True))
    assert found.mc1.tolist() == acc
    assert found.per_character.mc1.tolist() == acc_norm
    assert found.mc2.tolist() == pytest.approx(by_mass, rel=1e-12)


class Reader:
    """lm-eval's own model class on a plain model of Transformers, beginning as ours does."""

    def __init__(self, folder: Path, beginning: bool) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        models = pytest.importorskip("lm_eval.models.huggingface", reason=NOT_HERE)
        self.instance = pytest.importorskip("lm_eval.api.instance").Instance
        self.model = models.HFLM(
            pretrained=AutoModelForCausalLM.from_pretrained(folder),
            tokenizer=AutoTokenizer.from_pretrained(folder),
            device="cpu",
            batch_size=3,
            add_bos_token=beginning,
        )

    def __call__(self, prompt: str, choices: Sequence[str]) -> list[tuple[float, bool]]:
        asked = [
            self.instance("loglikelihood", {}, (prompt, choice), i)
            for i, choice in enumerate(choices)
        ]
        return self.model.loglikelihood(asked, disable_tqdm=True)


# Llama's tokenizer writes a BOS. GPT-2's writes none: lm-eval then adds none, whatever it is told,
# and TransformerLens adds one unless it is told not to.
@pytest.fixture(params=[("llama", True), ("gpt2", False)], ids=str)
def both(request: Any, model_dirs: dict[str, Path], fresh_model: Any) -> tuple[Reader, Any]:
    """Both readers of one model."""
    architecture, beginning = request.param
    reader = Reader(model_dirs[architecture], beginning)
    ours = fresh_model(architecture)
    ours.cfg.default_prepend_bos = beginning
    return reader, ours


TARGETS = (
    ("Is it far?", {"It is.": 1, "It is not.": 0, "So": 0}, {"Very far.": 1}),
    ("Who can see the sea?", {"All of us": 1, "Only the sea itself": 0}, {"I can, too.": 1}),
    ("Why?", {"Nobody knows.": 1, "Because": 0, "For no reason at all": 0}, {}),
)


def test_truthfulqa_is_scored_as_by_lm_eval(tmp_path: Path, both: tuple[Reader, Any]) -> None:
    reader, ours = both
    rows = [
        {"question": asked, "mc1_targets": one, "mc2_targets": one | more}
        for asked, one, more in TARGETS
    ]
    questions = load("truthfulqa-mc", as_json(tmp_path / "mc_task.json", rows)).questions
    assert questions is not None
    found = answer_log_probs(ours, questions)
    scores = found.scores(0)
    for i, row in enumerate(rows):
        prompt = f"Q: {row['question']}\nA:"
        first, every = ([f" {answer}" for answer in row[f"mc{k}_targets"]] for k in (1, 2))
        answers = dict(zip(every, reader(prompt, every), strict=True))
        nats = [answers[choice][0] for choice in questions[i].choices]
        assert found.rows(0)[i].tolist() == pytest.approx(nats, abs=NATS)
        labels = [*row["mc2_targets"].values()]
        assert scores.mc2[i].item() == pytest.approx(mass(labels, [*answers.values()]), abs=NATS)
        one = metrics([*row["mc1_targets"]], 0, [answers[choice] for choice in first])
        assert (scores.mc1[i], scores.per_character.mc1[i]) == (one["acc"], one["acc_norm"])


def test_two_choices_are_scored_as_by_lm_eval(both: tuple[Reader, Any]) -> None:
    reader, ours = both
    items = [("The sea is so", " wide", " very dry"), ("It rained because", " it did.", " of you.")]
    questions = Questions(
        tuple(
            Question(prompt, tuple(choices), (right, not right))
            for prompt, *choices in items
            for right in (True, False)
        )
    )
    found = answer_log_probs(ours, questions)
    scores = found.scores(0)
    for i, question in enumerate(questions):
        assert isinstance(question.prompt, str)
        answers = reader(question.prompt, question.choices)
        assert found.rows(0)[i].tolist() == pytest.approx([x for x, _ in answers], abs=NATS)
        one = metrics([x.strip() for x in question.choices], question.correct.index(True), answers)
        assert scores.accuracy[i] == one["acc"]
        assert scores.per_character.accuracy[i] == one["acc_norm"]
