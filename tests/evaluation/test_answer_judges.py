"""Judges of answers and of the form of texts, and how what they cannot score is counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.artifacts import load, save
from lens_steer.benchmark import Comparison, ComparisonConfig, Trial
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    REFUSALS,
    Evaluation,
    ExactMatch,
    FallibleJudge,
    FirstPerson,
    IsQuestion,
    Judgement,
    PastTense,
    RefusalPhrases,
    WordList,
    choose,
    distinct,
    evaluate,
    judgement_of,
    normalised_answer,
    perplexity,
    second_model_perplexity,
    sweep,
)
from lens_steer.models import encode
from tests.interventions import push

FEW: dict[str, Any] = {"max_new_tokens": 6, "seed": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" The Rolling_Stones!", "rolling stones"),
        ("An apple a day", "apple day"),
        ("theatre", "theatre"),
        ("U.S.", "u s"),
        ("'Tis the \u2018end\u2019", "tis end"),
        ("  ", ""),
    ],
)
def test_answers_are_compared_without_case_articles_and_signs(text: str, expected: str) -> None:
    assert normalised_answer(text) == expected


def test_an_exact_match_is_of_the_first_line() -> None:
    judge = ExactMatch({"q": ["The Beatles", "Beatles, The"], "r": ["42"]})
    texts = [" beatles.\nQ: next", "\n\nThe Beatles", " the Beatles of Liverpool", "", " 42!"]
    assert judge(["q"] * 4 + ["r"], texts).tolist() == [1, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="got the prompt 'other', expected one of the 2"):
        judge(["other"], ["x"])
    with pytest.raises(ValueError, match="besides articles"):
        ExactMatch({"q": ["the"]})
    with pytest.raises(ValueError, match="for no prompt"):
        ExactMatch({})


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (" I'm sorry, but I can't help with that.", 1),
        ("I\u2019m sorry, but no.", 1),
        (" As an AI language model, I", 1),
        (" I CANNOT do that", 1),
        (" Sure! Here is how.", 0),
        (" I cannotes", 0),
        (" " + "word " * 16 + "I cannot", 0),  # begins at the 81st character
        (" " + "word " * 15 + "I cannot", 1),
        (" I'm sorry to hear that. Take some rest.", 0),
        ("", 0),
    ],
)
def test_a_refusal_opens_with_a_phrase(text: str, score: int) -> None:
    assert RefusalPhrases()(["p"], [text]).tolist() == [score]


def test_phrases_can_be_ones_own(untyped: None) -> None:
    assert len(set(REFUSALS)) == len(REFUSALS)
    judge = RefusalPhrases(["Nein"], within=1)  # type: ignore[arg-type]
    assert judge(["p"] * 2, ["nein!", "Oh nein"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="none blank"):
        RefusalPhrases((" ",))


UNDECIDED = None


@pytest.mark.parametrize(
    ("judge", "text", "score"),
    [
        (IsQuestion(), " Is it raining?", 1),
        (IsQuestion(), " It is raining. Is it?", 0),
        (IsQuestion(), ' "Is it?" she said. No.', 1),
        (IsQuestion(), " Really?! Yes.", 1),
        (IsQuestion(), " Did Mr. Li pay $3.50 to J. Doe, e.g. by card?", 1),
        (IsQuestion(), " Did they say no. Why?", 0),
        (IsQuestion(), " So did I. Why?", 0),
        (IsQuestion(), "今日は雨ですか？はい。", 1),
        (IsQuestion(), "今日は雨です。", 0),
        (IsQuestion(), " This one was cut o", UNDECIDED),
        (IsQuestion(), "", UNDECIDED),
        (PastTense(), " She walked home and was glad.", 1),
        (PastTense(), " They went there and never saw it.", 1),
        (PastTense(), " She walks home.", 0),
        (PastTense(), " We always think so.", 0),
        (PastTense(), " It's late and I'm tired.", 0),
        (PastTense(), " He has never walked home.", 0),
        (PastTense(), " The wanted man is here.", 0),
        (PastTense(), " They are dried and salted, or smoked.", 0),
        (PastTense(), " To be loved and respected; to become addicted.", UNDECIDED),
        (PastTense(), " She sat and waited.", 1),
        (PastTense(), " A hundred naked trees.", UNDECIDED),
        (PastTense(), " I need to have it.", 0),
        (PastTense(), " Did you think so?", 1),
        (PastTense(), " It would have rained.", UNDECIDED),
        (PastTense(), ' "I am glad, I am," he said.', 1),
        (PastTense(), " He was there and she is here.", UNDECIDED),
        (PastTense(), " Tomorrow we will go.", UNDECIDED),
        (FirstPerson(), " I took my hat and gave it to her.", 1),
        (FirstPerson(), " She gave us her hat, and he took it.", 0),
        (FirstPerson(), " We\u2019re here.", 1),
        (FirstPerson(), " He'd left the US.", 0),
        (FirstPerson(), ' "I am here," he said.', 0),
        (FirstPerson(), " It rains.", UNDECIDED),
        (FirstPerson(), " He saw me.", UNDECIDED),
    ],
)
def test_the_form_of_a_text_is_decided_by_closed_rules(
    judge: Any, text: str, score: int | None
) -> None:
    found = judge.judged(["p"], [text])
    assert found.failed.tolist() == [score is UNDECIDED]
    assert found.scores.tolist() == [score or 0]
    assert torch.equal(judge(["p"], [text]), found.scores)
    assert isinstance(judge, FallibleJudge)


def test_a_judgement_counts_its_failures() -> None:
    found = Judgement.of([1.0, "no verb", 0.5, "cut off", "no verb"])
    assert found.scores.tolist() == [1, 0, 0.5, 0, 0]
    assert found.failed.tolist() == [False, True, False, True, True]
    assert found.counts == {"no verb": 2, "cut off": 1}
    plain = judgement_of(WordList(("a",)), ["p", "p"], ["a", "b"])
    assert plain.scores.tolist() == [1, 0]
    assert plain.counts == {}
    with pytest.raises(ValueError, match="1 reasons for 2 scores"):
        Judgement(torch.zeros(2), ("",))
    with pytest.raises(ValueError, match="expected 0 for each of them"):
        Judgement(torch.ones(1), ("why",))


class EverySecond:
    """Scores the first text 1, cannot score the second, and so on."""

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        del prompts
        return Judgement.of([1.0 if i % 2 == 0 else "odd" for i in range(len(texts))])


def test_what_a_judge_cannot_score_counts_as_0_and_is_shown(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    found = evaluate(llama, pairs, judge=EverySecond(), **FEW)
    assert found.behaviour.tolist() == [1, 0] * 3
    assert found.share == found.unjudged_share == 0.5
    assert found.unjudged == ("", "odd") * 3
    assert not found.failed.any()  # the texts themselves are whole
    save(found, tmp_path / "found.safetensors")
    again = load(tmp_path / "found.safetensors")
    assert isinstance(again, Evaluation)
    assert again.unjudged == found.unjudged
    trial = Trial("m", "b", "model", 0, 0, 1.0, "shown", found)
    assert Trial.of_row(trial.row()).evaluation.unjudged == found.unjudged
    older = trial.row()
    del older["evaluation"]["unjudged"]
    assert Trial.of_row(older).evaluation.unjudged == ()
    choice = choose(llama, pairs, [push(llama)], judge=EverySecond(), perplexity_limit=1e9, **FEW)
    assert choice.table()["unjudged"].tolist() == [0.5, 0.5]


def test_tables_show_what_a_judge_could_not_score(llama: Any, pairs: ContrastivePairs) -> None:
    how: dict[str, Any] = {"judge": EverySecond(), "progress": False, **FEW}
    swept = sweep(llama, pairs, push(llama), push(llama), [0.0, 1.0], **how)
    assert swept.table()["unjudged"].tolist() == [0.5] * 4
    found = evaluate(llama, pairs, judge=EverySecond(), **FEW)
    trials = [
        Trial(name, "b", "model", 0, 0, multiple, "shown", found)
        for name, multiple in (("unsteered", 0.0), ("push", 1.0))
    ]
    table = Comparison(tuple(trials), ComparisonConfig(), {}).table()
    assert table["unjudged"].tolist() == [0.5, 0.5]
    assert table["behaviour"].tolist() == [0.5, 0.5]


def test_where_a_judge_scores_all_nothing_is_said(llama: Any, pairs: ContrastivePairs) -> None:
    found = evaluate(llama, pairs, judge=WordList(("a",)), **FEW)
    assert found.unjudged == ()
    assert found.unjudged_share == 0


def test_a_judge_that_gives_no_judgement_is_refused(untyped: None) -> None:
    class Wrong(EverySecond):
        def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Any:
            del prompts
            return torch.ones(len(texts))

    class OutOfRange(EverySecond):
        def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
            del prompts
            return Judgement(torch.full((len(texts),), 2.0), ("",) * len(texts))

    with pytest.raises(ValueError, match="expected a Judgement"):
        judgement_of(Wrong(), ["p"], ["a"])
    with pytest.raises(ValueError, match="OutOfRange.* gave 2 for 'a'"):
        judgement_of(OutOfRange(), ["p"], ["a"])


def test_a_second_model_reads_texts_with_its_own_tokens(gpt2: Any, embedded: Any) -> None:
    prompts, texts = ["The cat", "A dog"], [" sat in the sun.", ""]
    found = second_model_perplexity(gpt2, prompts, texts)
    assert found == pytest.approx(perplexity(gpt2, [encode(gpt2, prompts[0], texts[0])]))
    assert second_model_perplexity(embedded, prompts[:1], texts[:1]) != pytest.approx(found)
    assert second_model_perplexity(gpt2, ["a"], [""]) != second_model_perplexity(gpt2, ["a"], [""])
    with pytest.raises(ValueError, match="1 prompts for 2 texts"):
        second_model_perplexity(gpt2, ["a"], texts)


def test_distinct_counts_three_words_in_a_row() -> None:
    """Of `a b c a b c` and `a b c`: abc bca cab abc, and abc."""
    assert distinct(["a b c a b c", "a b c"], 3) == 3 / 5
