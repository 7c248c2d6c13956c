"""The set of pairs: made from rows, files or subsets, split, and saved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lens_steer.data.documents import document_rows, subset_rows
from lens_steer.data.example import Example, rows_of
from lens_steer.data.file_formats import READERS, WRITERS, read_json
from lens_steer.data.named_sets import named
from lens_steer.data.records import SIDES, as_row
from lens_steer.data.splits import parts, redrawn, ties_of
from lens_steer.files import write_whole
from lens_steer.models import Prompt


@dataclass(frozen=True)
class ContrastivePairs:
    """Examples that show a behaviour and examples that do not.

    Attributes:
        desired: Examples that show it.
        undesired: Examples that do not; their number may differ unless `paired`.
        paired: Whether `desired[i]` and `undesired[i]` continue one prompt.
        name: What the set is called in reports.
        left_out: How many answers of the file are on neither side, since the lists of both sides
            have them; 0 for a part of a set.
    """

    desired: tuple[Example, ...]
    undesired: tuple[Example, ...]
    paired: bool = True
    name: str = "pairs"
    left_out: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "desired", tuple(self.desired))
        object.__setattr__(self, "undesired", tuple(self.undesired))
        counts = f"{len(self.desired)} desired and {len(self.undesired)} undesired"
        if not self.desired or not self.undesired:
            raise ValueError(f"got {counts} examples, expected at least one of either")
        if self.paired and len(self.desired) != len(self.undesired):
            raise ValueError(f"got {counts} examples, expected as many: pass paired=False")
        if self.paired:
            for i, (d, u) in enumerate(zip(self.desired, self.undesired, strict=True)):
                if (d.prompt, d.group) != (u.prompt, u.group):
                    raise ValueError(
                        f"pair {i} has two prompts or groups: expected one, or paired=False"
                    )
                if d.continuation == u.continuation:
                    raise ValueError(
                        f"pair {i} has {d.continuation!r} on both sides: nothing differs"
                    )

    def __len__(self) -> int:
        return len(self.desired) if self.paired else len(self.desired) + len(self.undesired)

    def __repr__(self) -> str:
        sides = f"{len(self.desired)} desired, {len(self.undesired)} undesired"
        how = "paired" if self.paired else "unpaired"
        some = "answer that is" if self.left_out == 1 else "answers that are"
        rest = f"; left out: {self.left_out} {some} on both sides" if self.left_out else ""
        return f"ContrastivePairs({self.name}: {sides}, {how}{rest})"

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The different prompts, in order of first appearance."""
        return tuple(dict.fromkeys(example.prompt for example in (*self.desired, *self.undesired)))

    @property
    def groups(self) -> tuple[str, ...]:
        """What each pair belongs to: its group, else its prompt, else it is by itself.

        Intervals and folds draw or leave out a group as a whole. Of unpaired sets, these are the
        groups of the desired examples.
        """
        return self.example_groups[: len(self.desired)]

    @property
    def example_groups(self) -> tuple[str, ...]:
        """What each example belongs to, the desired first; both examples of a pair to its group."""
        if self.paired:
            return tuple(e.cluster(f"pair {i}") for i, e in enumerate(self.desired)) * 2
        examples = (*self.desired, *self.undesired)
        return tuple(e.cluster(f"example {i}") for i, e in enumerate(examples))

    @property
    def prompt_groups(self) -> tuple[str, ...]:
        """What each of `prompts` belongs to: the group of its last desired example, else itself.

        A prompt that has no desired example belongs to the group of its last undesired one.
        """
        group_of = {e.prompt: e.cluster("") for e in (*self.undesired, *self.desired)}
        return tuple(group_of[prompt] for prompt in self.prompts)

    @classmethod
    def of(
        cls, rows: Iterable[Sequence[Any] | Mapping[str, Any]], *, name: str = "pairs"
    ) -> "ContrastivePairs":
        """Pairs from `(prompt, desired, undesired)`, with a group, or without the prompt.

        What a tuple holds is taken as it is: a leading space belongs to the continuation. A row may
        also be a mapping with the columns that `load` reads.

        Raises:
            ValueError: If there is no row, or one is broken; the row is named, counted from 0.
        """
        return cls._from_rows(document_rows("", rows), name)

    @classmethod
    def unpaired(
        cls, desired: Iterable[str], undesired: Iterable[str], *, name: str = "pairs"
    ) -> "ContrastivePairs":
        """Two collections of texts that do not belong together; the counts may differ."""
        sides = [[Example("", text) for text in texts] for texts in (desired, undesired)]
        return cls(tuple(sides[0]), tuple(sides[1]), paired=False, name=name)

    @classmethod
    def from_subsets(
        cls,
        source: Any,
        *,
        desired: str | Sequence[str],
        undesired: str | Sequence[str],
        name: str = "",
    ) -> "ContrastivePairs":
        """Unpaired texts from `{subset: [text, ...]}`, or from a `.json` file that holds it.

        Args:
            desired: The subset, or subsets, whose texts show the behaviour.
            undesired: The subset, or subsets, whose texts do not.
            name: Empty for the file's stem.

        Raises:
            ValueError: If there is no such file or subset, a subset is on both sides, or a text is
                broken (its subset and its number, counted from 0, are named).
        """
        if not isinstance(source, str | Path):
            return cls._from_rows(subset_rows("", source, desired, undesired), name or "pairs")
        path = Path(source)
        rows = subset_rows(str(path), read_json(path), desired, undesired)
        return cls._from_rows(rows, name or path.stem)

    @classmethod
    def load(cls, source: Any, *, paired: bool = True) -> "ContrastivePairs":
        """Pairs from a named set, a `.jsonl`, `.csv` or `.json` file, or the rows of one.

        A line of `.jsonl`, a row of `.csv` or an object in the list of a `.json` file has, by name,

        - `prompt` or `messages` (a chat), both optional; or `question`, from which an answer is
          parted by a space if neither has one there;
        - `desired` and `undesired`; or `answer_matching_behavior` and
          `answer_not_matching_behavior` (CAA); or `true` and `false`; or `correct_answers` and
          `incorrect_answers` (TruthfulQA). The last two couples may be lists, which are paired in
          order as far as the shorter goes; text under the last is split at semicolons. An answer
          that both lists have tells nothing apart: it is left out and counted (`left_out`, and in
          what is printed);
        - or `mc2_targets` or `mc1_targets` (TruthfulQA's `mc_task.json`): each answer with 1 if it
          is correct, else 0; of both columns the first, which has more, is taken;
        - or, unpaired, `text` and `label`, the label being `desired` or `undesired`;
        - `group` (optional).

        A list in `.json` may hold tuples as `of` takes them. Instead of a list, `.json` may hold
        `{"positives": [...], "negatives": [...], "prompts": [...]}` (paired, prompts optional), or
        `{"desired": [...], "undesired": [...]}` (unpaired; for subsets of other names see
        `from_subsets`).

        CAA's answers, ` (A)` and ` (B)`, are kept whole: `last` then reads the closing bracket,
        which both classes share, and position -2 the letter, as the paper does.

        Args:
            source: The name, the path, or rows as `of` takes them.
            paired: False keeps every answer of a list and makes an unpaired set.

        Raises:
            ValueError: If there is no such set or file, or a line is broken (its number is named;
                in `.json` it counts from 0).
        """
        if not isinstance(source, str | Path):
            return cls._from_rows(document_rows("", source), "pairs", paired)
        path = Path(source)
        if path.suffix in READERS:
            return cls._from_rows(READERS[path.suffix](path), path.stem, paired)
        return cls._from_rows(document_rows("", named(str(source))), str(source), paired)

    @classmethod
    def _from_rows(
        cls, rows: Iterable[tuple[str, Any]], name: str, paired: bool = True
    ) -> "ContrastivePairs":
        sides: dict[str, list[Example]] = {side: [] for side in SIDES}
        labelled, left_out = set(), 0
        for place, given in rows:
            try:
                row = as_row(given, paired=paired)
                for side, texts in row.texts.items():
                    sides[side] += [Example(row.prompt, text, row.group) for text in texts]
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            labelled.add(row.labelled)
            left_out += row.left_out
        if len(labelled) > 1:
            raise ValueError(
                f"{name} mixes rows with 'desired' and rows with 'label': use one form"
            )
        examples = (tuple(sides[side]) for side in SIDES)
        paired = paired and True not in labelled
        return cls(*examples, paired=paired, name=name, left_out=left_out)

    def save(self, path: str | Path) -> None:
        """Write a `.jsonl` file, or `.csv` where no prompt is a chat, whole or not at all.

        `load` reads the same set from it, under the name of the file.

        Raises:
            ValueError: If the suffix is another, the folder does not exist, or `.csv` cannot hold
                an example; it is then named.
        """
        target = Path(path)
        if target.suffix not in WRITERS:
            raise ValueError(f"got {str(path)!r}, expected a name that ends in .jsonl or .csv")
        write = WRITERS[target.suffix]
        rows = rows_of(self.desired, self.undesired, paired=self.paired)
        write_whole(target, lambda place: write(place, rows))

    def split(self, *fractions: float, seed: int) -> tuple["ContrastivePairs", ...]:
        """Parts of about these shares; what has a prompt or a group in common stays together.

        Args:
            fractions: Positive, adding up to 1, such as `0.6, 0.2, 0.2`.
            seed: Of the shuffle.

        Raises:
            ValueError: If the fractions do not add up, or a part would be without one of the sides.
        """
        if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(
                f"got the fractions {fractions}, expected positive ones that add up to 1"
            )
        ties = ties_of(self.desired, self.undesired, paired=self.paired)
        of_example = parts(ties, fractions, seed)
        return tuple(
            self._part(of_example == part, part, fractions) for part in range(len(fractions))
        )

    def first(self, n: int) -> "ContrastivePairs":
        """At most so many of each side."""
        return ContrastivePairs(self.desired[:n], self.undesired[:n], self.paired, self.name)

    def resample(self, *, seed: int) -> "ContrastivePairs":
        """As many clusters of what belongs together, drawn with replacement: for refitting.

        Raises:
            ValueError: If one of the sides is without an example in the draw.
        """
        taken = redrawn(ties_of(self.desired, self.undesired, paired=self.paired), seed)
        examples, half = (*self.desired, *self.undesired), len(self.desired)
        desired = tuple(examples[i] for i in taken if i < half)
        undesired = tuple(examples[i] for i in taken if i >= half)
        return ContrastivePairs(desired, undesired, self.paired, self.name)

    def _part(
        self, chosen: np.ndarray, part: int, fractions: tuple[float, ...]
    ) -> "ContrastivePairs":
        flags = iter(chosen)
        desired = tuple(e for e in self.desired if next(flags))
        undesired = tuple(e for e in self.undesired if next(flags))
        if not desired or not undesired:
            raise ValueError(
                f"part {part} of the split {fractions} would have {len(desired)} desired and "
                f"{len(undesired)} "
                f"undesired examples of {self!r}: give more groups, or a larger share"
            )
        return ContrastivePairs(desired, undesired, self.paired, self.name)


def as_pairs(pairs: Any) -> ContrastivePairs:
    """Pairs as they are, or made from rows as `ContrastivePairs.of` takes them.

    Raises:
        ValueError: If it is neither, or a row is broken.
    """
    return pairs if isinstance(pairs, ContrastivePairs) else ContrastivePairs.of(pairs)
