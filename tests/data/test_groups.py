"""What belongs together is decided once: everything that draws or folds sees the same groups."""

from collections.abc import Hashable, Sequence
from typing import Any

import pytest

import lens_steer as ls
from lens_steer.attribution import contrast
from lens_steer.benchmark import FitCache
from lens_steer.data import ContrastivePairs, Example
from lens_steer.linearity import diagnose, linearize
from lens_steer.models import Message
from lens_steer.tracking.texts import TrackedTexts

CHATS = [[Message("user", text)] for text in ("The cat", "A dog")]
PAIRED = {
    "prompts": [("The cat", " sat", " ran"), ("The cat", " is", " was"), ("A dog", " ran", " sat")],
    "groups": [
        ("The cat", " sat", " ran", "cats"),
        ("A cat", " is", " was", "cats"),
        ("A dog", " ran", " sat", "dogs"),
    ],
    "no prompt": [("", " sat", " ran"), ("", " is", " was"), ("", " old", " new", "ages")],
    "chats": [(CHATS[0], " a", " b"), (CHATS[0], " c", " d"), (CHATS[1], " a", " b")],
}
UNPAIRED = ContrastivePairs(
    (Example("The cat", " sat"), Example("", " ran"), Example("", " old", "ages")),
    (
        Example("The cat", " is"),
        Example("", " was"),
        Example("A dog", " ran"),
        Example("", " new", "ages"),
    ),
    paired=False,
)
PARTITIONS = {  # of the pairs
    "prompts": (0, 0, 1),
    "groups": (0, 0, 1),
    "no prompt": (0, 1, 2),
    "chats": (0, 0, 1),
}


def partition(keys: Sequence[Hashable]) -> tuple[int, ...]:
    places = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return tuple(places[key] for key in keys)


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_and_their_examples_are_grouped_alike(name: str) -> None:
    pairs = ContrastivePairs.of(PAIRED[name])
    assert partition(pairs.groups) == PARTITIONS[name]
    assert pairs.example_groups == pairs.groups * 2
    assert all(isinstance(group, str) for group in pairs.example_groups)


def test_prompts_belong_to_the_groups_of_their_pairs() -> None:
    for name in ("prompts", "groups", "chats"):
        pairs = ContrastivePairs.of(PAIRED[name])
        of_pair = {e.prompt: group for e, group in zip(pairs.desired, pairs.groups, strict=True)}
        assert pairs.prompt_groups == tuple(of_pair[prompt] for prompt in pairs.prompts)


def test_unpaired_examples_are_of_their_group_or_prompt_or_alone() -> None:
    assert partition(UNPAIRED.example_groups) == (0, 1, 2, 0, 3, 4, 2)
    assert UNPAIRED.groups == UNPAIRED.example_groups[:3]
    assert UNPAIRED.prompts == ("The cat", "", "A dog")
    assert UNPAIRED.prompt_groups == ("The cat", "ages", "A dog")


def test_chats_are_the_same_group_where_every_message_is() -> None:
    turns = [Message("user", "Hi"), Message("assistant", "Ho")]
    chats = [turns, [Message("assistant", "Hi"), Message("user", "Ho")], turns[:1], turns]
    pairs = ContrastivePairs.of([(chat, " a", " b") for chat in chats])
    assert partition(pairs.groups) == (0, 1, 2, 0)


@pytest.mark.parametrize("name", [*PAIRED, "unpaired"])
def test_everything_that_groups_examples_makes_the_same_partition(
    name: str, fresh_model: Any
) -> None:
    model = fresh_model("llama")
    model.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    pairs = UNPAIRED if name == "unpaired" else ContrastivePairs.of(PAIRED[name])
    expected = partition(pairs.example_groups)
    jacobians = linearize(model, pairs, progress=False)
    report = diagnose(model, jacobians, pairs, radii=[0.1], progress=False)
    assert partition(report.curves.groups) == expected
    assert report.logits is not None
    assert report.curves.groups == report.persistence.groups == report.logits.groups
    assert partition(TrackedTexts.of(model, pairs, "last").groups) == expected
    examples = (*pairs.desired, *pairs.undesired)
    if all(example.prompt or example.group for example in examples):
        assert partition(TrackedTexts.of(model, examples, "last").groups) == expected
    judge = ls.WordList(("a",))
    few: dict[str, Any] = {"seed": 0, "max_new_tokens": 2}
    judged = ls.evaluate(model, pairs, judge=judge, **few)
    assert judged.groups == judged.text_groups == pairs.prompt_groups
    if pairs.paired:
        preferred = ls.evaluate(model, pairs, **few)
        assert preferred.groups == pairs.groups
        assert preferred.text_groups == pairs.prompt_groups


def test_probes_of_heads_are_folded_over_whole_groups(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def probes(activations: Any, **options: Any) -> Any:
        seen.append(options["groups"])
        return contrast(activations)

    monkeypatch.setattr("lens_steer.benchmark.fit_cache.head_accuracies", probes)
    pairs = ContrastivePairs.of(PAIRED["groups"])
    FitCache(llama, pairs).head_accuracies("last")
    FitCache(llama, UNPAIRED).head_accuracies("last")
    assert seen == [pairs.groups, UNPAIRED.example_groups]


def test_a_few_examples_are_taken_from_as_many_groups_as_there_are() -> None:
    rows = [(f"{group} {i}", " a", " b", group) for group in "xyz" for i in range(3)]
    pairs = ContrastivePairs.of(rows)
    assert [e.prompt for e in pairs.spread(4).desired] == ["x 0", "x 1", "y 0", "z 0"]
    assert [e.prompt for e in pairs.spread(3).undesired] == ["x 0", "y 0", "z 0"]
    assert pairs.spread(100) == pairs
    few = UNPAIRED.spread(1)
    assert (few.desired, few.undesired) == (UNPAIRED.desired[:1], UNPAIRED.undesired[:1])
    assert not few.paired
