import warnings
from typing import Any

import pytest

from lens_steer.activations import capture, last_token_separability
from lens_steer.data import ContrastivePairs
from lens_steer.data.named_sets import named, set_names
from lens_steer.models import encode

SETS = set_names()


@pytest.mark.parametrize("name", ["", "stories", "stories:glad", "../pairs"])
def test_named_lists_the_sets_when_there_is_no_such_set(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown set .*stories:sad.*or a \.jsonl or \.csv file"):
        named(name)


@pytest.mark.parametrize("name", SETS)
def test_a_named_set_is_the_same_every_time_and_the_callers_own(name: str) -> None:
    rows = named(name)
    assert rows == named(name)
    rows.clear()
    assert named(name)


@pytest.mark.parametrize("name", SETS)
def test_a_named_set_loads_as_pairs_with_its_name(name: str) -> None:
    pairs = ContrastivePairs.load(name)
    assert (len(pairs), pairs.name, pairs.paired) == (len(named(name)), name, True)


def test_stories_have_no_rows_twice_and_no_blank_left_to_fill() -> None:
    rows = named("stories:sad")
    assert len(set(rows)) == len(rows)
    assert not any("{" in text or "  " in text for row in rows for text in row)


def test_stories_continue_with_a_space_and_end_in_the_same_words() -> None:
    for _, sad, happy, _ in named("stories:sad"):
        assert sad.startswith(" ")
        assert happy.startswith(" ")
        assert sad.split()[-2:] == happy.split()[-2:]


def test_stories_are_grouped_by_the_name_in_them() -> None:
    for prompt, _, _, group in named("stories:sad"):
        assert group in prompt
    parts = ContrastivePairs.load("stories:sad").split(0.6, 0.2, 0.2, seed=0)
    groups = [{example.group for example in part.desired} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_stories_fit_the_stories_model_and_end_in_one_token(stories: Any) -> None:
    pairs = ContrastivePairs.load("stories:sad")
    sides = [
        [encode(stories, e.prompt, e.continuation) for e in side[::8]]
        for side in (pairs.desired, pairs.undesired)
    ]
    ends = [[row.ids[-1] for row in side] for side in sides]
    assert ends[0] == ends[1]
    assert last_token_separability(*ends) <= 0.5


def test_stories_are_captured_without_a_warning(stories: Any) -> None:
    few = ContrastivePairs.of(named("stories:sad")[::40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = capture(stories, few, "resid", progress=False)
    assert found.desired.shape == (len(few), 5, 64)
