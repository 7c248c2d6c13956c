from pathlib import Path
from typing import Any

import pytest

from lens_steer.benchmark import SHARES
from lens_steer.cli import DemoSettings, examine
from lens_steer.data import ContrastivePairs
from lens_steer.steering import generate
from tests.conftest import STORIES

PROMPT = "Once upon a time, there was a little girl named Lily."
# Of the model's own description.
GREEDY = (
    " She loved to play outside in the park. One day, she saw a big, red ball. "
    "She wanted to play with it, but it was too high."
)


def test_the_stories_model_goes_on_as_its_description_says(stories: Any) -> None:
    (found,) = generate(stories, [PROMPT], max_new_tokens=60, temperature=0.0)
    assert found.startswith(GREEDY)


@pytest.mark.slow
@pytest.mark.parametrize("stories", ["bridge"], indirect=True)
def test_caa_chosen_on_dev_makes_unseen_stories_sad_and_a_random_direction_does_not(
    stories: Any, untyped: None
) -> None:
    settings = DemoSettings(str(STORIES), "stories:sad", Path("unused"), seed=0, device="cpu")
    parts = ContrastivePairs.load("stories:sad").split(*SHARES, seed=0)
    train, dev, test = parts
    report = examine(stories, (train, dev, test), settings)
    swept, seed = report.sweep, 0
    unsteered, steered, random = (
        swept.method[0],
        swept.method[report.chosen],
        swept.reference[report.chosen],
    )
    assert len(unsteered.behaviour) >= 100
    assert not set(test.prompts) & {*train.prompts, *dev.prompts}
    change = steered.minus(unsteered, seed=seed)
    assert change.mean >= 0.15
    assert change.low > 0
    assert steered.perplexity <= 2 * unsteered.perplexity
    assert random.minus(unsteered, seed=seed).low <= 0
    assert steered.minus(random, seed=seed).low > 0
