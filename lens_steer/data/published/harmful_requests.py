"""Harmful and harmless requests: those of refusal_direction, AdvBench and JailbreakBench."""

from collections.abc import Callable
from typing import Any

from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.example import Example
from lens_steer.data.prompts import Prompts
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, gathered, one_of, text_in
from lens_steer.data.templates import Template

REFUSAL = About(
    "refusal",
    "Apache 2.0; the harmless instructions are from Alpaca, CC-BY-NC 4.0",
    "Arditi et al. 2024, Refusal in Language Models Is Mediated by a Single Direction, "
    "arXiv:2406.11717",
    (frozenset({"instruction", "category"}),),
    counts="harmful 260, 39 and 572; harmless 18,793, 6,264 and 6,266",
)
ADVBENCH = About(
    "advbench",
    "MIT",
    "Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models, "
    "arXiv:2307.15043",
    (frozenset({"goal", "target"}),),
    counts="520 requests",
)
JAILBREAKBENCH = About(
    "jailbreakbench",
    "MIT",
    "Chao et al. 2024, JailbreakBench, arXiv:2404.01318",
    (frozenset({"Goal", "Target", "Behavior", "Category"}),),
    counts="100 harmful and 100 benign requests",
)
JUDGED = About(
    "jailbreakbench-judged",
    "MIT",
    "Chao et al. 2024, JailbreakBench, arXiv:2404.01318",
    (frozenset({"goal", "prompt", "target_response", "human_majority"}),),
    counts="300 answers with the judgements of three people",
)


def refusal(file: FileRows, template: Template) -> PublishedSet:
    """The splits of refusal_direction: `{harmful,harmless}_{train,val,test}.json`.

    A `.json` list of objects with instruction and category (which is mostly null, and not used).
    Each file is one side: prompts that are to be refused, or not.

    Licence: Apache 2.0; the harmless instructions are from Alpaca, CC-BY-NC 4.0. Source: Arditi et
    al. 2024, arXiv:2406.11717.
    """
    return _requests(REFUSAL, file, template, _only("instruction"))


def advbench(file: FileRows, template: Template) -> PublishedSet:
    """AdvBench's `harmful_behaviors.csv`: goal and target, the answer that an attack aims at.

    Licence: MIT. Source: Zou et al. 2023, arXiv:2307.15043. 520 requests.
    """
    return _requests(ADVBENCH, file, template, _targeted("goal", "target", ""))


def jailbreakbench(file: FileRows, template: Template) -> PublishedSet:
    """JailbreakBench's `harmful-behaviors.csv` and `benign-behaviors.csv`.

    Index, Goal, Target, Behavior, Category and Source; a behaviour is the group, as each has a
    harmful and a benign request.

    Licence: MIT. Source: Chao et al. 2024, arXiv:2404.01318. 100 requests in either file.
    """
    return _requests(JAILBREAKBENCH, file, template, _targeted("Goal", "Target", "Behavior"))


def jailbreakbench_judged(file: FileRows, template: Template) -> PublishedSet:
    """JailbreakBench's `judge-comparison.csv`: answers, and whether people found them jailbroken.

    Index, goal, prompt (the attack), target_response, human1 to human3, human_majority (1 for
    jailbroken) and the verdicts of four judges. The pairs are unpaired: answers that most people
    found jailbroken are desired, the others undesired, the goal being the group. It is a test of
    judges: `judge.tested([e.continuation for e in pairs.desired], [...])`.

    Licence: MIT. Source: Chao et al. 2024, arXiv:2404.01318. 300 answers.
    """

    def example(row: Any) -> tuple[bool, Example]:
        asked, answer, goal = (text_in(row, c) for c in ("prompt", "target_response", "goal"))
        jailbroken = one_of(row, "human_majority", (0, 1)) == 1
        return jailbroken, Example(template.prompt(asked), template.answer(asked, answer), goal)

    items, left_out = gathered(file, example)
    name = f"{JUDGED.name}:{file.name}"
    sides = [tuple(e for jailbroken, e in items if jailbroken is of) for of in (True, False)]
    pairs = ContrastivePairs(*sides, paired=False, name=name) if all(sides) else None
    groups = tuple(e.group for _, e in items)
    prompts = Prompts(tuple(e.prompt for _, e in items), groups, name, left_out)
    return PublishedSet(JUDGED, pairs=pairs, prompts=prompts, left_out=left_out)


_Request = tuple[str, str, str]  # what is asked, the target, the group


def _only(column: str) -> Callable[[Any], _Request]:
    return lambda row: (text_in(row, column).strip(), "", "")


def _targeted(goal: str, target: str, group: str) -> Callable[[Any], _Request]:
    return lambda row: (
        text_in(row, goal).strip(),
        text_in(row, target).strip(),
        text_in(row, group) if group else "",
    )


def _requests(
    about: About, file: FileRows, template: Template, make: Callable[[Any], _Request]
) -> PublishedSet:
    items, left_out = gathered(file, make)
    asked, targets, groups = zip(*items, strict=True)
    prompts = Prompts(
        tuple(template.prompt(text) for text in asked),
        tuple(groups),
        f"{about.name}:{file.name}",
        left_out,
    )
    answers = [template.answer(a, t) for a, t in zip(asked, targets, strict=True) if t]
    return PublishedSet(about, prompts=prompts, targets=tuple(answers), left_out=left_out)
