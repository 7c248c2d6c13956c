"""Comparing: trials, what is made of them, references, and a planted truth that is found."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from lens_steer.benchmark import (
    Comparison,
    ComparisonConfig,
    ComparisonRun,
    FixedCosts,
    Trial,
    best_of_n,
    compare,
    comparison,
    learn,
    prompted,
    time_generation,
)
from lens_steer.benchmark.comparing import timing_work
from lens_steer.benchmark.comparison_run import methods_by_name
from lens_steer.benchmark.grouped_sums import GroupedSums, all_groups, group_differences
from lens_steer.benchmark.references import instructed
from lens_steer.benchmark.statistics import distinct_interval
from lens_steer.benchmark.trials import fixed_costs
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    FixedTexts,
    TextCosts,
    WordList,
    best_of_n_kl,
    binary_kl,
    distinct,
    evaluate,
    kl_divergence,
    preference,
    teacher_forced_kl,
)
from lens_steer.models import Message
from lens_steer.sites import Kind, Site
from lens_steer.steering import CAA, Decoding, Random
from tests.interventions import Scale, push

JUDGE = WordList(("a", "the", "e"))
FEW: dict[str, Any] = {"max_new_tokens": 5, "seed": 3}
DECODING: dict[str, Any] = {"max_new_tokens": 5, "temperature": 1.0, "seed": 3}
# Float32 logits in batches of other shapes.
CLOSE = 1e-4
# A row keeps seven digits of every number.
DIGITS = 1e-6


# Synthetic trials.


def trial(
    method: str,
    behaviour: Sequence[float],
    *,
    nats: float = 0.0,
    multiple: float = 1.0,
    fit: int = 0,
    seed: int = 0,
    model: str = "m",
    name: str = "b",
    groups: Sequence[Any] | None = None,
    texts: Sequence[str] | None = None,
) -> Trial:
    """One example a group unless said otherwise; ten draws to a text, `nats` each."""
    count = len(behaviour)
    own = tuple(range(count)) if groups is None else tuple(groups)
    written = tuple(f"text {i}" for i in range(count)) if texts is None else tuple(texts)
    ten = torch.full((count,), 10.0).double()
    costs = TextCosts(nats * ten, ten, 2 * ten, ten)
    shown = torch.tensor(list(behaviour), dtype=torch.float32)
    found = Evaluation(shown, own, math.exp(2), written, text_costs=costs, text_groups=own)
    ones = torch.ones(count).double()
    fixed = FixedCosts(2 * nats * ten, ten, nats * ones, 3 * nats * ones, ones, ((0, 1.0),))
    return Trial(method, name, model, fit, seed, multiple, method, found, fixed)


def compared(*trials: Trial, budgets: tuple[float, ...] = (0.1,)) -> Comparison:
    return Comparison(trials, ComparisonConfig(budgets=budgets), {})


def row_of(table: Any, method: str) -> dict[str, Any]:
    [row] = table[table["method"] == method].to_dict("records")
    return row


def test_a_table_by_hand() -> None:
    plain = trial("unsteered", [0, 0, 1, 0], multiple=0.0)
    half = trial("push", [0, 1, 1, 0], nats=0.05, multiple=0.5)
    whole = trial("push", [1, 1, 1, 0], nats=0.2)
    table = compared(plain, half, whole, budgets=(0.05, 0.1, 0.2)).table()
    row = row_of(table, "push")
    by_hand = {
        "behaviour": 0.75,
        "kl": 0.2,
        "kl_sequence": 2.0,
        "kl_fixed": 0.4,
        "kl_median": 2.0,
        "kl_95": 2.0,
        "efficiency": binary_kl(0.75, 0.25) / 2.0,
        "perplexity": math.exp(2),
        "relative_norm": 0.2,
        "mahalanobis": 0.6,
        "failed": 0.0,
        "change": 0.5,
        "p": 0.5,  # two of two groups that differ: 2 of 4 patterns
        "at_0.05": 0.5,
        "at_0.1": 0.5 + 0.25 / 3,
        "at_0.2": 0.75,
        # from 0.25 to 0.5 over a quarter of the budgets, from 0.5 to 0.75 over the rest
        "area": 0.25 * 0.375 + 0.75 * 0.625,
        "fits": 1,
    }
    for name, value in by_hand.items():
        assert row[name] == pytest.approx(value, rel=1e-3), name
    assert row["p_holm"] == row["p"]
    bare = row_of(table, "unsteered")
    assert (bare["behaviour"], bare["kl"]) == (0.25, 0)
    for name in ("efficiency", "p", "p_holm", "change", "at_0.1", "area"):
        assert math.isnan(bare[name]), name


def test_a_behaviour_never_seen_unsteered_has_no_efficiency() -> None:
    found = compared(trial("unsteered", [0] * 6, multiple=0.0), trial("push", [1] * 6, nats=0.1))
    row = row_of(found.table(), "push")
    assert math.isnan(row["efficiency"])
    assert row["change"] == 1


def test_differences_are_paired_and_corrected_together() -> None:
    source = np.random.default_rng(0)
    p = source.random(24)
    shown = [(source.random(24) < p).astype(float) for _ in range(3)]
    found = compared(
        trial("unsteered", shown[0].tolist(), multiple=0.0),
        trial("one", shown[1].tolist(), nats=0.2),
        trial("other", shown[2].tolist(), nats=0.2),
    )
    table = found.differences()
    assert table[["method", "other"]].to_numpy().tolist() == [
        ["unsteered", "one"],
        ["unsteered", "other"],
        ["one", "other"],
    ]
    rows: list[Any] = table.to_dict("records")
    for row, (a, b) in zip(rows, ((0, 1), (0, 2), (1, 2)), strict=True):
        assert row["change"] == pytest.approx((shown[a] - shown[b]).mean(), abs=1e-9)
        assert row["p_holm"] >= row["p"]
    assert rows[2]["at_0.1"] == pytest.approx((shown[1] - shown[2]).mean() / 2, abs=1e-9)
    less = found.differences("other")
    assert less[["method", "other"]].to_numpy().tolist() == [
        ["unsteered", "other"],
        ["one", "other"],
    ]
    wanted = [rows[i]["change"] for i in (1, 2)]
    np.testing.assert_allclose(less["change"], wanted, atol=1e-9)
    with pytest.raises(ValueError, match="no trial of .*'third'"):
        found.differences("third")


def test_what_was_tried_is_listed() -> None:
    found = compared(
        trial("unsteered", [0, 1, 0], multiple=0.0),
        trial("push", [1, 1, 0], nats=0.1, multiple=0.5),
        trial("push", [1, 1, 1], nats=0.3),
    )
    assert found.multiples("b", "push") == [0.5, 1]
    assert found.methods("b") == ("unsteered", "push")
    assert found.grouped_sums("b", "unsteered", 1.0).sums.behaviour.sum() == 1
    with pytest.raises(ValueError, match="no trial of .*'pull'"):
        found.grouped_sums("b", "pull")


# What is found, and what is not.


def stand_in(source: np.random.Generator, gain: float, groups: int = 30) -> Comparison:
    """Three texts for each of the prompts, which differ; `gain` is added to a method's share."""
    p = source.beta(2, 2, groups)
    keys = [i for i in range(groups) for _ in range(3)]

    def shown(more: float) -> list[float]:
        return (
            (source.random(3 * groups) < np.repeat((p + more).clip(0, 1), 3)).astype(float).tolist()
        )

    return compared(
        trial("unsteered", shown(0.0), multiple=0.0, groups=keys),
        trial("one", shown(gain), nats=0.2, groups=keys),
        trial("copy", shown(0.0), nats=0.2, groups=keys),
        trial("third", shown(0.0), nats=0.2, groups=keys),
    )


def test_copies_are_found_equal_about_as_often_as_stated(untyped: None) -> None:
    source, alarms, any_alarm = np.random.default_rng(0), 0, 0
    for _ in range(200):
        found = stand_in(source, 0.0)
        cells = [found.grouped_sums("b", name) for name in found.methods("b")]
        p = [sign_flip_of(cells[i], cells[0]) for i in (1, 2, 3)]
        alarms += p[0] <= 0.05
        any_alarm += min(holm_of(p)) <= 0.05
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert alarms / 200 <= limit
    assert any_alarm / 200 <= limit


def sign_flip_of(one: GroupedSums, other: GroupedSums) -> float:
    from lens_steer.benchmark import sign_flip

    return sign_flip(group_differences(one, other), seed=0, resamples=499)


def holm_of(p: Sequence[float]) -> list[float]:
    from lens_steer.benchmark import holm

    return holm(p)


def test_a_method_that_truly_helps_is_found_better() -> None:
    source, better = np.random.default_rng(1), 0
    for _ in range(20):
        found = stand_in(source, 0.3)
        cells = {name: found.grouped_sums("b", name) for name in found.methods("b")}
        p = [sign_flip_of(cells[name], cells["unsteered"]) for name in ("one", "copy", "third")]
        better += holm_of(p)[0] <= 0.05
    assert better >= 18
    row = row_of(stand_in(source, 0.3).table(), "one")
    assert row["p_holm"] < 0.05
    assert row["change_low"] > 0


# Arrays of trials.


def test_cells_are_sums_by_fit_seed_and_group() -> None:
    keys = ["x", "x", "y"]
    trials = [
        trial("push", [f, s, 1], nats=0.1 * (f + 1), fit=f, seed=s, groups=keys)
        for f in (0, 1)
        for s in (0, 1)
    ]
    found = GroupedSums.of(trials, all_groups(trials))
    assert found.groups == ("x", "y")
    assert found.sums.behaviour.tolist() == [[[0, 1], [1, 1]], [[1, 1], [2, 1]]]
    assert found.sums.examples.tolist() == [[[2, 1]] * 2] * 2
    np.testing.assert_allclose(found.sums.kl, [[[2, 1]] * 2, [[4, 2]] * 2])
    assert found.sums.texts.tolist() == found.sums.examples.tolist()


def test_a_seed_that_is_missing_is_named() -> None:
    trials = [trial("push", [1], fit=f, seed=s) for f, s in ((0, 0), (0, 1), (1, 0))]
    with pytest.raises(ValueError, match=r"push: no trial of fit and seed \(1, 1\); run all"):
        GroupedSums.of(trials, [0])


def test_of_several_models_each_is_a_unit() -> None:
    trials = [
        trial("push", [1, 0], fit=f, seed=s, model=m) for m in "ab" for f in (0, 1) for s in (0, 1)
    ]
    found = GroupedSums.of(trials, [0, 1])
    assert found.sums.behaviour.tolist() == [[4, 0], [4, 0]]


def test_trials_without_fixed_costs_have_none() -> None:
    bare = replace(trial("prompting", [1, 0]), fixed=None)
    found = compared(trial("unsteered", [0, 0], multiple=0.0), bare).table()
    row = row_of(found, "prompting")
    assert math.isnan(row["kl_fixed"])
    assert math.isnan(row["relative_norm"])
    assert row["behaviour"] == 0.5


def test_a_method_is_not_compared_over_other_models_or_seeds() -> None:
    plain = [trial("unsteered", [0, 1], multiple=0.0, model=m) for m in "ab"]
    with pytest.raises(ValueError, match=r"trials of model \['a'\].*\['a', 'b'\]: run all of them"):
        compared(*plain, trial("push", [1, 1], model="a")).table()
    plain = [trial("unsteered", [0, 1], multiple=0.0, seed=s) for s in (0, 1)]
    with pytest.raises(ValueError, match=r"trials of seed \[0\].*\[0, 1\]: run all of them"):
        compared(*plain, trial("push", [1, 1])).table()


def test_groups_with_texts_but_no_examples_do_not_count() -> None:
    one, other = (trial("push", [1, 0, 1], groups=("x", "y", "z")) for _ in range(2))
    extra = [GroupedSums.of([t], ["x", "y", "z", "without"]) for t in (one, other)]
    assert group_differences(*extra).tolist() == [0, 0, 0]


def test_several_behaviours_are_corrected_together() -> None:
    each = [
        compared(
            trial("unsteered", [0] * 8, multiple=0.0, name=name),
            trial("push", [1] * 8, nats=0.1, name=name),
        )
        for name in ("b", "c")
    ]
    alone = each[0].table()
    both = Comparison.merge(each)
    assert both.behaviours == ("b", "c")
    table = both.table()
    rows = table[table["method"] == "push"]
    assert rows["p"].tolist() == [2 / 2**8] * 2
    assert rows["p_holm"].tolist() == pytest.approx([4 / 2**8] * 2)
    assert row_of(alone, "push")["p_holm"] == pytest.approx(2 / 2**8)


def test_a_comparison_is_shown_in_a_line() -> None:
    found = compared(trial("push", [1]), trial("unsteered", [0], multiple=0.0))
    assert repr(found) == "Comparison(2 trials of unsteered, push on b)"


def test_what_cannot_be_merged_is_refused() -> None:
    part = compared(trial("unsteered", [0], multiple=0.0))
    with pytest.raises(ValueError, match="at least one, all with the same config"):
        Comparison.merge([])
    with pytest.raises(ValueError, match="all with the same config"):
        Comparison.merge([part, replace(part, config=ComparisonConfig(seeds=2))])
    with pytest.raises(ValueError, match="two comparisons have the trial .*'unsteered'"):
        Comparison.merge([part, part])


def test_distinct_words_have_a_jackknife_interval() -> None:
    texts = ["a b", "a c d", "e a", "a a a"]
    found = distinct_interval([trial("push", [0] * 4, texts=texts, groups="wxyz")], 1)
    left = np.array([distinct([t for j, t in enumerate(texts) if j != i], 1) for i in range(4)])
    error = math.sqrt(3 / 4 * ((left - left.mean()) ** 2).sum())
    assert found.mean == distinct(texts, 1) == 5 / 10
    assert found.high - found.mean == pytest.approx(3.182446 * error, rel=1e-5)
    one = distinct_interval([trial("push", [0, 0], texts=["a", "b"], groups="ww")], 1)
    assert math.isnan(one.low)


# Rows.


def test_a_trial_is_what_its_row_was(llama: Any, pairs: ContrastivePairs) -> None:
    run = ComparisonRun.of(llama, pairs, [push(llama)], judge=JUDGE, config=config(), train=None)
    for trials in (run.units()[key]() for key in (("unsteered", 0, 0), ("best of n", 0, 0))):
        for before in trials:
            after = Trial.of_row(json.loads(json.dumps(before.row())))
            assert after.key == before.key
            assert after.row() == before.row()
            assert after.evaluation.texts == before.evaluation.texts
            assert after.evaluation.groups == before.evaluation.groups
            assert after.evaluation.kl_sequence == pytest.approx(
                before.evaluation.kl_sequence, rel=DIGITS
            )
            assert (after.fixed is None) == (before.fixed is None)


def test_the_table_of_rows_is_the_table() -> None:
    trials = [
        trial("unsteered", [0, 1, 0, 1], multiple=0.0),
        trial("push", [1, 1, 0, 1], nats=0.125),
    ]
    again = [Trial.of_row(json.loads(json.dumps(t.row()))) for t in trials]
    one, other = (compared(*each).table() for each in (trials, again))
    assert one.equals(other)


def test_well_formed_texts_come_back() -> None:
    before = trial("push", [1, 0])
    formed = replace(before.evaluation, well_formed=torch.tensor([True, False]))
    after = Trial.of_row(json.loads(json.dumps(replace(before, evaluation=formed).row())))
    assert after.evaluation.well_formed is not None
    assert after.evaluation.well_formed.tolist() == [True, False]
    assert after.fixed is not None
    assert after.fixed.energy == ((0, 1.0),)


def test_chats_are_groups_that_can_be_written_down(fresh_model: Any) -> None:
    model = fresh_model("llama")
    model.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    chats = [[{"role": "user", "content": text}] for text in ("The cat", "A dog")]
    pairs = ContrastivePairs.of([(chat, " a", " b") for chat in chats])
    for judge in (JUDGE, None):
        found = evaluate(model, pairs, judge=judge, **FEW)
        assert found.groups == found.text_groups == ("user: The cat", "user: A dog")
        row = json.loads(json.dumps(replace(trial("push", [1, 0]), evaluation=found).row()))
        assert Trial.of_row(row).evaluation.groups == found.groups


@pytest.mark.parametrize(
    "broken", [{}, {"evaluation": {}}, {"evaluation": {"text_costs": None}, "fixed": None}]
)
def test_a_row_that_is_no_trial_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a trial that lens_steer wrote"):
        Trial.of_row(broken)


def test_a_row_whose_values_are_of_another_kind_or_number_is_refused() -> None:
    """What 10,000 broken journals showed: later an error of torch, or of an unhashable value."""
    row = json.loads(json.dumps(trial("push", [1, 0]).row()))
    changes: list[dict[str, Any]] = [
        {"method": ["CAA"]},
        {"model": {}},
        {"multiple": 10**400},
        {"evaluation": row["evaluation"] | {"perplexity": 10**400}},
        {"evaluation": row["evaluation"] | {"groups": [[], {}]}},
        {"evaluation": row["evaluation"] | {"behaviour": [1.0, 0.0, 1.0]}},
        {"evaluation": row["evaluation"] | {"texts": ["one"]}},
    ]
    assert Trial.of_row(row).method == "push"
    for change in changes:
        with pytest.raises(ValueError, match="not a trial that lens_steer wrote") as refused:
            Trial.of_row(row | change)
        assert len(str(refused.value)) < 300


# Settings and names.


def config(**others: Any) -> ComparisonConfig:
    few: dict[str, Any] = {"max_new_tokens": 5, "multiples": (0.5, 1), "randoms": 1, "best_of": 3}
    return ComparisonConfig(**(few | others))


def test_the_method_as_given_is_always_tried() -> None:
    assert ComparisonConfig(multiples=(0.5, 2)).multiples == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "greedy texts have no finite divergence"),
        ({"temperature": -1.0}, "expected 0"),
        ({"seeds": 0}, "seeds=0, expected a whole number of at least 1"),
        ({"best_of": 1}, "best_of=1, expected a whole number of at least 2"),
        ({"randoms": 0}, "randoms=0, expected a whole number of at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0, expected a whole number of at least 1"),
        ({"multiples": ()}, "expected positive numbers in rising order"),
        ({"multiples": (1, 0.5)}, "rising order"),
        ({"multiples": (1, 1)}, "rising order"),
        ({"multiples": (0, 1)}, "positive"),
        ({"multiples": (1.0, math.inf)}, "positive numbers"),
        ({"budgets": (-0.1, 0.1)}, "positive"),
        ({"budgets": (math.nan,)}, "positive"),
        ({"scope": "first"}, "scope"),
        ({"top_p": 0.9}, "the divergence is infinite"),
        ({"top_k": 5}, "the divergence is infinite"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ComparisonConfig(**wrong)


def test_methods_are_called_by_their_class_and_numbered_if_alike(llama: Any) -> None:
    one, other, scale = push(llama), push(llama, seed=1), Scale()
    assert methods_by_name([one, scale, other]) == {
        "Additive": (one,),
        "Scale": (scale,),
        "Additive 2": (other,),
    }
    assert methods_by_name({"mine": [one, other], "yours": scale}) == {
        "mine": (one, other),
        "yours": (scale,),
    }


@pytest.mark.parametrize("methods", [[], {}, {"mine": []}])
def test_no_methods_are_refused(methods: Any) -> None:
    with pytest.raises(ValueError, match="expected at least one, none without a fit"):
        methods_by_name(methods)


def test_the_names_of_references_are_taken(llama: Any) -> None:
    with pytest.raises(ValueError, match=r"names \['random'\] are those of references"):
        methods_by_name({"random": push(llama)})


# References.


def test_prompting_costs_what_the_instruction_changes(llama: Any, pairs: ContrastivePairs) -> None:
    rewrite = instructed("Be very sad.")
    found = prompted(llama, pairs, rewrite, judge=JUDGE, **DECODING)
    asked = ContrastivePairs.of([(f"Be very sad. {p}", " a", " b") for p in pairs.prompts])
    written = FixedTexts.sample(llama, asked, **FEW).texts
    plain = FixedTexts.sample(llama, pairs, **FEW).texts
    expected = []
    for ours, theirs in zip(written, plain, strict=True):
        new = ours.ids[ours.prompt_length :]
        beside = replace(theirs, ids=(*theirs.ids[: theirs.prompt_length], *new), ended=ours.ended)
        expected.append(
            teacher_forced_kl(llama, [ours], [()], Decoding(), clean_texts=[beside]).kl.item()
        )
    assert found.text_costs is not None
    assert found.text_costs.kl.tolist() == pytest.approx(expected, rel=CLOSE, abs=CLOSE)
    assert list(found.texts) == list(evaluate(llama, asked, judge=JUDGE, **FEW).texts)
    assert found.groups == pairs.prompts
    assert min(expected) > 0.01


def test_an_instruction_that_changes_nothing_costs_nothing(
    llama: Any, pairs: ContrastivePairs
) -> None:
    found = prompted(llama, pairs, lambda prompt: prompt, judge=None, **DECODING)
    plain = evaluate(llama, pairs, **FEW)
    assert found.texts == plain.texts
    assert found.kl == pytest.approx(0, abs=1e-9)
    assert found.behaviour.tolist() == plain.behaviour.tolist()


def test_without_a_judge_prompting_is_scored_by_preference_after_the_instruction(
    llama: Any, pairs: ContrastivePairs
) -> None:
    found = prompted(llama, pairs, instructed("Hi."), judge=None, **DECODING)
    other = ContrastivePairs.of(
        [
            (f"Hi. {d.prompt}", d.continuation, u.continuation)
            for d, u in zip(pairs.desired, pairs.undesired, strict=True)
        ]
    )
    assert found.behaviour.tolist() == (preference(llama, other) > 0).float().tolist()


def test_an_instruction_goes_before_a_text_and_is_the_system_of_a_chat() -> None:
    rewrite = instructed("Be kind. ")
    assert rewrite("Hi") == "Be kind. Hi"
    chat = (Message("user", "Hi"),)
    assert rewrite(chat) == (Message("system", "Be kind. "), *chat)
    with pytest.raises(ValueError, match="expected text that is not blank"):
        instructed("  ")


def test_the_best_of_n_is_the_text_that_scores_highest(llama: Any, pairs: ContrastivePairs) -> None:
    seen: list[str] = []

    def judge(prompts: Sequence[str], texts: Sequence[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.tensor([sum(map(ord, text)) % 97 / 97 for text in texts])

    found = best_of_n(llama, pairs, 4, judge=judge, **DECODING)
    count = len(pairs.prompts)
    scores = judge([], seen[: 4 * count]).reshape(4, count)
    assert found.behaviour.tolist() == scores.max(dim=0).values.tolist()
    picked = [seen[: 4 * count][int(k) * count + i] for i, k in enumerate(scores.argmax(dim=0))]
    assert list(found.texts) == picked
    # the first of the n is the text that evaluate has
    assert seen[:count] == list(evaluate(llama, pairs, judge=JUDGE, **FEW).texts)
    assert found.kl_sequence == pytest.approx(best_of_n_kl(4))
    alone = best_of_n(llama, pairs, 1, judge=judge, **DECODING)
    assert alone.kl_sequence == 0
    with pytest.raises(ValueError, match="got n=0|the best of 0"):
        best_of_n(llama, pairs, 0, judge=judge, **DECODING)


def test_fixed_costs_are_sums_over_texts(llama: Any, pairs: ContrastivePairs) -> None:
    texts = FixedTexts.sample(llama, pairs, **FEW)
    method = push(llama)
    found, off = fixed_costs(llama, texts, [method, None])
    [sizes] = texts.sizes(llama, [(method,)])
    assert found.relative.sum() / found.positions.sum() == pytest.approx(
        sizes.relative_norm, rel=CLOSE
    )
    assert (
        found.positions.tolist()
        == (texts.draws - torch.tensor([t.ended for t in texts.texts]).double() + 1).tolist()
    )
    assert found.energy == ((1, 1.0),)
    assert (off.energy, off.kl.abs().max().item() < 1e-9, off.relative.sum()) == ((), True, 0)


# A learned vector.


def loss(model: Any, pairs: ContrastivePairs, method: Any) -> float:
    """Minus the mean log-sigmoid of a tenth of the gain of desired over undesired, in nats."""
    from lens_steer.evaluation import log_probabilities
    from lens_steer.models import encode

    total = torch.zeros(len(pairs))
    for sign, side in ((1, pairs.desired), (-1, pairs.undesired)):
        rows = [encode(model, e.prompt, e.continuation) for e in side]
        for way, part in (((method,), sign), ((), -sign)):
            found = log_probabilities(model, rows, *way)
            total += part * torch.stack([nats.sum() for nats in found])
    return -torch.nn.functional.logsigmoid(0.1 * total).mean().item()


def test_a_learned_vector_lowers_the_loss_and_raises_the_preference(
    bridge: Any, pairs: ContrastivePairs
) -> None:
    found = learn(bridge, pairs, Site(1), seed=0, steps=8, progress=False)
    assert found.sites == (Site(1),)
    assert not found.vectors[0].requires_grad
    assert loss(bridge, pairs, found) < loss(bridge, pairs, found.with_strength(0)) - 0.01
    gained = preference(bridge, pairs, found) - preference(bridge, pairs)
    assert gained.mean() > 0.1
    assert all(parameter.grad is None for parameter in bridge.parameters())


def test_learning_is_the_same_for_a_seed(llama: Any, pairs: ContrastivePairs) -> None:
    how: dict[str, Any] = {"steps": 3, "batch": 2, "progress": False}
    one, again, other = (learn(llama, pairs, Site(1), seed=s, **how) for s in (0, 0, 1))
    assert torch.equal(one.vectors[0], again.vectors[0])
    assert not torch.equal(one.vectors[0], other.vectors[0])
    assert one.provenance is not None
    with torch.no_grad():  # a caller who wants no gradients does not stop it
        assert torch.equal(learn(llama, pairs, Site(1), seed=0, **how).vectors[0], one.vectors[0])


def test_learning_in_small_batches_is_the_same(llama: Any, pairs: ContrastivePairs) -> None:
    steps: list[int] = []
    how: dict[str, Any] = {"steps": 3, "batch": 5, "seed": 0, "progress": False}
    one = learn(llama, pairs, Site(1), token_budget=1, on_step=lambda: steps.append(1), **how)
    other = learn(llama, pairs, Site(1), token_budget=4096, **how)
    torch.testing.assert_close(one.vectors[0], other.vectors[0], atol=1e-4, rtol=1e-3)
    assert len(steps) == 3


@pytest.mark.parametrize("site", [Site(1, Kind.HEAD), Site(1, Kind.MLP_OUT)])
def test_what_cannot_be_learned_is_refused(llama: Any, pairs: ContrastivePairs, site: Site) -> None:
    with pytest.raises(ValueError, match="expected pairs and a site of kind 'resid'"):
        learn(llama, pairs, site, seed=0)
    with pytest.raises(ValueError, match="got steps=0, expected a whole number of at least 1"):
        learn(llama, pairs, Site(1), seed=0, steps=0)
    with pytest.raises(ValueError, match="expected pairs and a site"):
        learn(llama, ContrastivePairs.unpaired(["a"], ["b", "c"]), Site(1), seed=0)


# Whole comparisons.

SMALL = ContrastivePairs.of([("The cat", " sat", " ran"), ("A dog", " sat", " ran")])


@pytest.mark.slow
def test_a_comparison_has_every_reference_and_method(llama: Any, pairs: ContrastivePairs) -> None:
    method = push(llama, size=0.5)
    found = comparison(
        *(llama, pairs, {"mine": [method, push(llama, seed=1, size=0.5)]}),
        config=config(seeds=2),
        judge=JUDGE,
        train=pairs,
        instruction="Hi.",
        model_name="tiny",
        progress=False,
    )
    names = ("unsteered", "random", "random (covariance)", "prompting", "best of n", "learned")
    names += ("mine",)
    assert found.methods("tiny") == names
    table = found.table()
    assert table["method"].tolist() == list(names)
    assert table["fits"].tolist() == [1, 1, 1, 1, 1, 1, 2]
    assert bool(table["seconds"].notna().all())
    mine = [t for t in found.trials if (t.method, t.multiple, t.fit, t.seed) == ("mine", 0.5, 0, 1)]
    half = method.with_strength(0.5)
    expected = evaluate(llama, pairs, half, judge=JUDGE, max_new_tokens=5, seed=1)
    assert mine[0].evaluation.texts == expected.texts
    assert mine[0].evaluation.kl == pytest.approx(expected.kl, rel=CLOSE)
    assert mine[0].shown == repr(half)
    assert mine[0].model == "tiny"
    mine_row, learned = (row_of(table, name) for name in ("mine", "learned"))
    assert learned["relative_norm"] == pytest.approx(mine_row["relative_norm"], rel=0.2)
    first = [t for t in found.trials if (t.method, t.fit) == ("mine", 0)]
    for name in ("random", "random (covariance)"):
        alike = [t for t in found.trials if t.method == name]
        own, paid = (
            [t.fixed.kl.sum().item() for t in trials if t.fixed and (t.multiple, t.seed) == (1, 0)]
            for trials in (first, alike)
        )
        assert paid == pytest.approx(own, rel=0.01)
    assert row_of(table, "unsteered")["kl_fixed"] == pytest.approx(0, abs=1e-9)
    assert len(found.differences()) == len(names) * (len(names) - 1) // 2


def test_compare_is_the_table_and_the_same_for_a_seed(llama: Any, untyped: None) -> None:
    how: dict[str, Any] = {"max_new_tokens": 4, "multiples": (1,), "randoms": 1, "progress": False}
    one, again = (compare(llama, SMALL, [push(llama)], seed=2, **how) for _ in range(2))
    assert one["method"].tolist() == ["unsteered", "random", "random (covariance)", "Additive"]
    assert one.drop(columns="seconds").equals(again.drop(columns="seconds"))
    for name in ("behaviour", "kl", "kl_sequence", "kl_fixed", "efficiency", "perplexity"):
        assert {name, f"{name}_low", f"{name}_high"} <= set(one.columns)
    assert {"distinct_1", "distinct_2", "relative_norm", "seconds"} <= set(one.columns)


def test_a_misspelt_keyword_is_named_by_the_function_that_was_called(
    llama: Any, pairs: ContrastivePairs
) -> None:
    calls: dict[str, tuple[Any, ...]] = {
        "temperature": (compare, llama, SMALL, [push(llama)]),
        "budgets": (compare, llama, SMALL, [push(llama)]),
        "seed": (prompted, llama, pairs, instructed("Hi.")),
        "stop": (best_of_n, llama, pairs, 2),
    }
    for name, (function, *arguments) in calls.items():
        wrong = {name[:-1] + "x": 1}
        message = rf"^{function.__name__}\(\) got an unexpected keyword .*did you mean '{name}'"
        with pytest.raises(TypeError, match=message):
            function(*arguments, judge=JUDGE, **wrong)


def test_compare_takes_a_decoding_or_the_same_as_keywords(llama: Any, untyped: None) -> None:
    keywords: dict[str, Any] = {"max_new_tokens": 4, "seed": 2, "repetition_penalty": 1.5}
    how: dict[str, Any] = {"multiples": (1,), "randoms": 1, "progress": False}
    one = compare(llama, SMALL, [push(llama)], decoding=Decoding(**keywords), **how)
    other = compare(llama, SMALL, [push(llama)], **keywords, **how)
    assert one.drop(columns="seconds").equals(other.drop(columns="seconds"))
    plain = evaluate(llama, SMALL, **keywords)
    assert row_of(one, "unsteered")["perplexity"] == pytest.approx(plain.perplexity, rel=CLOSE)
    with pytest.raises(ValueError, match=r"^compare\(\) got decoding=.* and temperature as well"):
        compare(llama, SMALL, [push(llama)], decoding=Decoding(), temperature=0.7)


def test_strength_zero_is_no_change_in_any_column(llama: Any) -> None:
    table = compare(
        *(llama, SMALL, [push(llama), Scale(strength=0)]),
        judge=JUDGE,
        max_new_tokens=4,
        multiples=(1,),
        randoms=1,
        progress=False,
    )
    off, plain = row_of(table, "Scale"), row_of(table, "unsteered")
    for name in ("behaviour", "perplexity", "distinct_1", "distinct_2", "failed"):
        assert off[name] == plain[name], name
    for name in ("kl", "kl_sequence", "relative_norm", "mahalanobis", "change"):
        assert off[name] == 0, name
    assert off["kl_fixed"] == pytest.approx(0, abs=1e-9)
    assert off["p"] == 1


def test_a_method_that_breaks_the_model_is_named_and_changes_no_other_row(
    llama: Any, untyped: None
) -> None:
    how: dict[str, Any] = {"max_new_tokens": 4, "multiples": (1, 2), "randoms": 1, "judge": JUDGE}
    how |= {"progress": False, "stop": ["q"]}
    good, bad = push(llama), push(llama, seed=1).with_strength(1e39)
    table, without = (
        compare(llama, SMALL, each, **how) for each in ({"good": good, "bad": bad}, {"good": good})
    )
    lost = row_of(table, "bad")
    for name in ("behaviour", "kl", "perplexity", "change", "p", "p_holm", "at_0.1", "seconds"):
        assert math.isnan(lost[name]), name
    assert lost["failed"] == 1
    assert "2 of 2 texts failed, such as prompt" in lost["failure"]
    left = table[table["method"] != "bad"].drop(columns=["seconds", "failure"])
    assert left.reset_index(drop=True).equals(without.drop(columns="seconds"))


def test_a_strength_that_breaks_the_model_is_left_out_of_the_curve() -> None:
    plain = trial("unsteered", [0, 0, 1, 0], multiple=0.0)
    half = trial("m", [0, 1, 1, 0], nats=0.1, multiple=0.5)
    whole = trial("m", [1, 1, 1, 0], nats=0.2)
    lost = trial("m", [math.nan] * 4, nats=math.nan, multiple=2.0)
    broken = replace(lost, evaluation=replace(lost.evaluation, failure="broken"), fixed=None)
    again = Trial.of_row(json.loads(json.dumps(broken.row())))
    assert again.evaluation.failure == "broken"
    assert bool(again.evaluation.behaviour.isnan().all())
    tables = [compared(plain, half, whole, *more).table() for more in ((), (again,))]
    for name in ("behaviour", "kl", "at_0.1", "at_0.1_low", "at_0.1_high", "area", "p", "p_holm"):
        one, other = (row_of(table, "m")[name] for table in tables)
        assert one == other, name


def test_units_that_are_done_are_not_run_again(llama: Any, pairs: ContrastivePairs) -> None:
    run = ComparisonRun.of(llama, pairs, [push(llama)], config=config())
    keys = list(run.units())
    names = ("unsteered", "random", "random (covariance)", "Additive")
    assert keys == [(name, 0, 0) for name in names]
    assert [key for key, _ in run.run(keys[:3])] == keys[3:]
    assert list(run.run(keys)) == []


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("wrong", [[], [("a", "b", "c")]])
def test_a_run_refuses_what_are_not_pairs(llama: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a ContrastivePairs: ls.ContrastivePairs"):
        ComparisonRun.of(llama, wrong, [push(llama)], config=config())


def test_a_run_refuses_methods_of_another_model(
    llama: Any, gpt2: Any, pairs: ContrastivePairs
) -> None:
    from lens_steer.activations import capture

    method = CAA.fit(capture(gpt2, pairs, "resid", progress=False).at(layer=1))
    with pytest.raises(ValueError, match="model"):
        ComparisonRun.of(llama, pairs, [push(llama), method], config=config())


def test_a_run_without_judge_needs_pairs(llama: Any) -> None:
    pairs = ContrastivePairs.unpaired(["a b"], ["c d", "e f"])
    with pytest.raises(ValueError, match="pass judge="):
        ComparisonRun.of(llama, pairs, [push(llama)], config=config())


@pytest.mark.parametrize("name", ["random", "random (covariance)"])
def test_random_references_are_other_directions_of_the_same_cost(
    llama: Any, pairs: ContrastivePairs, name: str
) -> None:
    method = push(llama).with_strength(0.7)
    run = ComparisonRun.of(llama, pairs, [method], config=config(randoms=2))
    one, other = run.random(0, name), run.random(1, name)
    assert isinstance(one, Random)
    assert isinstance(other, Random)
    assert run.random(0, name) is one
    texts = FixedTexts.sample(llama, pairs, decoding=replace(config().decoding, seed=0))
    own, *paid = texts.kl(llama, [(way,) for way in (method, one, other)])
    assert paid == pytest.approx([own, own], rel=5e-3)
    for way in (one, other):
        assert way.sites == method.sites
        assert way.vectors[0].norm().item() == pytest.approx(method.vectors[0].norm().item())
    assert not torch.equal(one.vectors[0], other.vectors[0])
    with pytest.raises(ValueError, match="pass train="):
        _ = run.learned


@pytest.mark.parametrize("strength", [0.0, 1e39])
def test_what_costs_nothing_or_breaks_the_model_has_random_references_of_its_length(
    llama: Any, strength: float
) -> None:
    method = push(llama).with_strength(strength)
    run = ComparisonRun.of(llama, SMALL, [method], config=config(randoms=1))
    for name in ("random", "random (covariance)"):
        assert run.random(0, name).strength == strength
        length = cast(Random, run.random(0, name)).vectors[0].norm().item()
        assert length == pytest.approx(method.vectors[0].norm().item())


def test_costs_of_a_judge_of_two_outcomes_are_never_below_the_floor() -> None:
    # the exact cost of a policy that picks one of two texts, and what it buys
    for p, q in ((0.9, 0.2), (0.5, 0.1), (0.3, 0.6)):
        rows = [torch.tensor([[x, 1 - x]], dtype=torch.float64).log() for x in (p, q)]
        assert kl_divergence(*rows).item() == pytest.approx(binary_kl(p, q))


@pytest.mark.usefixtures("untyped")
def test_one_method_without_a_list_and_training_texts_without_pairs_are_refused(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = push(llama)
    with pytest.raises(ValueError, match=r"write \[an Additive\] for one"):
        ComparisonRun.of(llama, pairs, method, config=ComparisonConfig())  # type: ignore[arg-type]
    texts = ContrastivePairs.unpaired(["The cat was"], ["The dog was"])
    with pytest.raises(ValueError, match="expected paired texts to learn"):
        ComparisonRun.of(llama, pairs, [method], config=ComparisonConfig(), train=texts)
    with pytest.raises(ValueError, match="no_repeat_ngram 2 with an instruction"):
        ComparisonRun.of(llama, pairs, [method], config=config(no_repeat_ngram=2), instruction="Hi")


def test_references_are_chosen_and_what_they_need_is_asked_for(llama: Any) -> None:
    def run(**options: Any) -> ComparisonRun:
        given = {name: options.pop(name) for name in ("judge", "train") if name in options}
        return ComparisonRun.of(llama, SMALL, [push(llama)], config=config(**options), **given)

    def names(made: ComparisonRun) -> list[str]:
        return list(dict.fromkeys(name for name, _, _ in made.units()))

    assert names(run()) == ["unsteered", "random", "random (covariance)", "Additive"]
    assert names(run(references=())) == ["unsteered", "Additive"]
    found = run(references=["learned", "random"], train=SMALL, judge=JUDGE)
    assert names(found) == ["unsteered", "random", "learned", "Additive"]
    assert found.config.references == ("unsteered", "random", "learned")
    with pytest.raises(ValueError, match="the reference 'learned' needs train, other pairs: pass"):
        run(references=["learned"])
    known = "unsteered, random, random (covariance), prompting, best of n, learned"
    with pytest.raises(ValueError, match=re.escape(f"a list of references, among {known}")):
        run(references=["lerned"])


def test_the_bar_weighs_work_and_ends_full(llama: Any, pairs: ContrastivePairs) -> None:
    config_ = config(references=["learned"], multiples=(0.5, 1))
    run = ComparisonRun.of(llama, SMALL, [push(llama)], config=config_, train=pairs)
    assert [run.work(key) for key in run.units()] == [2, 4, 4]  # texts x strengths
    ticks: list[int] = []
    *_, last = run.run(done=[("unsteered", 0, config_.seed)], tick=ticks.append)
    assert last[0][0] == "Additive"
    assert sum(ticks) == run.learning
    assert len(ticks) > 4  # it moves at every step
    timed: list[int] = []
    seconds = time_generation(run, tick=timed.append)
    assert sum(timed) == timing_work(run)
    assert {name for _, name in seconds} == {"unsteered", "learned", "Additive"}


def test_generation_is_timed_unless_the_configuration_says_no(
    llama: Any, pairs: ContrastivePairs
) -> None:
    plain = config(references=["random"], multiples=(1,))
    run = ComparisonRun.of(llama, SMALL, [push(llama)], config=replace(plain, timed=False))
    assert timing_work(run) == 0
    assert time_generation(run) == {}
    assert timing_work(ComparisonRun.of(llama, SMALL, [push(llama)], config=plain)) > 0
    whole = comparison(llama, SMALL, [push(llama)], config=run.config, progress=False)
    assert bool(whole.table()["seconds"].isna().all())
    assert bool(whole.table()["kl"].notna().all())
