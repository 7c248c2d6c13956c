"""Near-duplicates: what shares a run of words with what a method was made from is no test of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from lens_steer.arguments import Count, shortened
from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.left_out import LeftOut
from lens_steer.data.prompts import Prompts
from lens_steer.data.questions import Questions
from lens_steer.models import Prompt

AnyPart = ContrastivePairs | Questions | Prompts
Part = TypeVar("Part", bound=AnyPart)

_EDGES = re.compile(r"^\W+|\W+$")  # punctuation before and after a word


@dataclass(frozen=True, repr=False)
class DistinctParts(Generic[Part]):
    """Parts of which no later one has a near-duplicate of an earlier one; iterates over them.

    Attributes:
        parts: The parts, in order.
        left_out: What was left out of each: nothing of the first.
        counts: How many items each part had before: pairs, questions or prompts (of unpaired sets,
            examples).
    """

    parts: tuple[Part, ...]
    left_out: tuple[LeftOut, ...]
    counts: tuple[int, ...]

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __repr__(self) -> str:
        lines = [
            f"{part.name}: {count} items"
            + (f", left out {left} ({left.total / count:.1%})" if left else "")
            for part, count, left in zip(self.parts, self.counts, self.left_out, strict=True)
        ]
        return "\n".join(lines)


def without_near_duplicates(
    *parts: Part, words: Count = 5, ignore: Sequence[str] = ()
) -> DistinctParts[Part]:
    """Leave out of later parts what shares a run of words with an earlier part.

    Words are what stands between spaces, in any case and without the punctuation around them (a
    mark that stands alone is a word). Runs are looked for in the bare question of a question, in a
    prompt, and in the continuations of pairs without a prompt; what belongs to the form of a set of
    questions (its `form`, and their instructions) does not count. A text of fewer words is left out
    where an earlier one consists of the same words. Scripts without spaces have no runs of words:
    there only equal texts are found.

    Args:
        parts: Pairs, questions or prompts, the one that is learned from first.
        words: The length of a run.
        ignore: More texts of the form that many prompts share, such as a template's instruction in
            prompts alone: runs neither begin, end nor go on in them.

    Returns:
        The parts as they remain, and for each what was left out: `left_out` names the items, whose
        numbers count from 0.

    Raises:
        ValueError: If nothing remains of a part.

    Example:
        >>> train, test = ls.data.without_near_duplicates(*pairs.split(0.5, 0.5, seed=0))
    """
    if not parts:
        raise ValueError("got no parts, expected at least one")
    between = _between(ignore, parts)
    seen: set[tuple[str, ...]] = set()
    kept: list[Part] = []
    left_out: list[LeftOut] = []
    counts: list[int] = []
    reason = f"{words} words in a row of an earlier part"
    for number, part in enumerate(parts):
        texts = [list(map(_text, each)) for each in _compared(part)]
        runs = [_runs(each, words, between) for each in texts]
        fresh = [i for i, found in enumerate(runs) if not found & seen]
        if not fresh:
            raise ValueError(
                f"nothing remains of part {number} ({part.name}): each of its {len(texts)} items "
                f"shares {words} words in a row with an earlier part, expected other texts; what "
                "prompts share by their form can be left aside with ignore=[...]"
            )
        gone = sorted(set(range(len(texts))) - set(fresh))
        left = LeftOut.of((reason, f"{i}: {shortened(texts[i][0])}") for i in gone)
        left_out.append(left)
        counts.append(len(texts))
        kept.append(_taken(part, fresh, left) if gone else part)
        seen.update(*(runs[i] for i in fresh))
    return DistinctParts(tuple(kept), tuple(left_out), tuple(counts))


def _between(ignore: Sequence[str], parts: Sequence[AnyPart]) -> re.Pattern[str] | None:
    """What finds the texts that belong to a form, the longest first; None where there are none."""
    sets = [part for part in parts if isinstance(part, Questions)]
    instructions = {question.instruction for part in sets for question in part}
    forms = {text for part in sets for text in part.form}
    texts = sorted({*ignore, *instructions, *forms} - {""}, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, texts))) if texts else None


def _compared(part: AnyPart) -> list[list[Prompt]]:
    """The texts of each item that are compared."""
    if isinstance(part, Questions):
        return [[question.bare or question.prompt] for question in part]
    if isinstance(part, Prompts):
        return [[prompt] for prompt in part]
    if not part.paired:
        return [[e.prompt or e.continuation] for e in (*part.desired, *part.undesired)]
    return [
        [d.prompt] if d.prompt else [d.continuation, u.continuation]
        for d, u in zip(part.desired, part.undesired, strict=True)
    ]


def _text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt)


def _runs(
    texts: Sequence[str], length: int, between: re.Pattern[str] | None
) -> set[tuple[str, ...]]:
    """All runs of so many words in some texts; of a text without one, all its words."""
    found: set[tuple[str, ...]] = set()
    for text in texts:
        pieces = [text] if between is None else between.split(text)
        listed = [[_EDGES.sub("", w) or w for w in p.casefold().split()] for p in pieces]
        runs = {
            tuple(words[i : i + length]) for words in listed for i in range(len(words) - length + 1)
        }
        # Words that a form leaves over beside runs ("A:") are in every text: they say nothing.
        whole = tuple(chain.from_iterable(listed))
        found |= runs or ({whole} if whole else set())
    return found


def _taken(part: AnyPart, numbers: Sequence[int], left_out: LeftOut) -> Any:
    if isinstance(part, Questions):
        return Questions(tuple(part[i] for i in numbers), part.name, left_out, part.form)
    if isinstance(part, Prompts):
        groups = tuple(part.groups[i] for i in numbers)
        return Prompts(tuple(part[i] for i in numbers), groups, part.name, left_out)
    half = len(part.desired)
    first = [part.desired[i] for i in numbers if i < half]
    if part.paired:
        others = [part.undesired[i] for i in numbers]
    else:
        others = [part.undesired[i - half] for i in numbers if i >= half]
    if not first or not others:
        raise ValueError(
            f"nothing remains of one side of {part.name}: {len(first)} desired and {len(others)} "
            "undesired examples share no words with an earlier part, expected one of either"
        )
    return ContrastivePairs(tuple(first), tuple(others), part.paired, part.name)
