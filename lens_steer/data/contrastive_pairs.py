"""The set of contrastive pairs: made from rows, files or subsets, split, and saved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lens_steer.data.documents import document_rows, subset_rows
from lens_steer.data.example import Example, as_records, read_rows
from lens_steer.data.file_formats import READERS, WRITERS, read_json
from lens_steer.data.named_sets import named
from lens_steer.data.splits import assign_parts, resampled, ties_of
from lens_steer.files import write_whole
from lens_steer.models import Prompt


@dataclass(frozen=True)
class ContrastivePairs:
    """Examples that show a behaviour, and examples that do not.

    Attributes:
        desired: Examples that show it.
        undesired: Examples that do not; their number may differ unless `paired`.
        paired: Whether `desired[i]` and `undesired[i]` continue one prompt.
        name: What the set is called in reports.
        left_out: How many answers of the file are on neither side, because the lists of both sides
            have them; 0 for a part of a set.

    Example:
        >>> pairs = ls.ContrastivePairs.load("organism:sentiment")
        >>> train, dev, test = pairs.split(0.6, 0.2, 0.2, seed=0)
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
        """Make pairs from rows.

        Args:
            rows: Tuples `(prompt, desired, undesired)`, `(desired, undesired)` or
                `(prompt, desired, undesired, group)`, whose texts are taken as they are: a leading
                space belongs to the continuation. Or mappings with the columns that `load` reads.
            name: What the set is called in reports.

        Raises:
            ValueError: If there is no row, or one is broken; the row is named, counted from 0.

        Example:
            >>> ls.ContrastivePairs.of([("The film was", " great", " awful")])
            ContrastivePairs(pairs: 1 desired, 1 undesired, paired)
        """
        return cls._from_rows(document_rows("", rows), name)

    @classmethod
    def unpaired(
        cls, desired: Iterable[str], undesired: Iterable[str], *, name: str = "pairs"
    ) -> "ContrastivePairs":
        """Make a set from two collections of texts that are no pairs; their counts may differ.

        Args:
            desired: Texts that show the behaviour.
            undesired: Texts that do not.
            name: What the set is called in reports.

        Example:
            >>> ls.ContrastivePairs.unpaired(["I love it."], ["I hate it.", "It is bad."])
            ContrastivePairs(pairs: 1 desired, 2 undesired, unpaired)
        """
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
        """Make an unpaired set from `{subset: [text, ...]}`.

        Args:
            source: The mapping, or the path of a `.json` file that holds it.
            desired: The subset, or subsets, whose texts show the behaviour.
            undesired: The subset, or subsets, whose texts do not.
            name: What the set is called in reports; empty for the name of the file.

        Raises:
            ValueError: If there is no such file or subset, a subset is on both sides, or a text is
                broken (its subset and its number, counted from 0, are named).

        Example:
            >>> texts = {"joy": ["I am so happy."], "anger": ["I am furious."]}
            >>> ls.ContrastivePairs.from_subsets(texts, desired="joy", undesired="anger")
            ContrastivePairs(pairs: 1 desired, 1 undesired, unpaired)
        """
        if not isinstance(source, str | Path):
            return cls._from_rows(subset_rows("", source, desired, undesired), name or "pairs")
        path = Path(source)
        rows = subset_rows(str(path), read_json(path), desired, undesired)
        return cls._from_rows(rows, name or path.stem)

    @classmethod
    def load(cls, source: Any, *, paired: bool = True) -> "ContrastivePairs":
        """Load pairs from a named set, from a `.jsonl`, `.csv` or `.json` file, or from its rows.

        A line of `.jsonl`, a row of `.csv` or an object in the list of a `.json` file has these
        columns, by name:

        - `prompt` or `messages` (a chat), both optional; or `question`, after which a space is put
          if neither it nor the answer has one there;
        - `desired` and `undesired`; or `answer_matching_behavior` and
          `answer_not_matching_behavior` (CAA); or `true` and `false`; or `correct_answers` and
          `incorrect_answers` (TruthfulQA). The last two couples may be lists, which are paired in
          order as far as the shorter goes; text under the last is split at semicolons. An answer in
          both lists distinguishes nothing: it is left out and counted (`left_out`, and in what is
          printed);
        - or `mc2_targets` or `mc1_targets` (TruthfulQA's `mc_task.json`): each answer with 1 if it
          is correct, else 0; where both columns are present the first, which has more, is used;
        - or, unpaired, `text` and `label`, the label being `desired` or `undesired`;
        - `group` (optional).

        A list in `.json` may hold tuples as `of` takes them. Instead of a list, `.json` may hold
        `{"positives": [...], "negatives": [...], "prompts": [...]}` (paired, prompts optional), or
        `{"desired": [...], "undesired": [...]}` (unpaired; for subsets of other names see
        `from_subsets`).

        CAA's answers, ` (A)` and ` (B)`, are kept whole: the read position `last` then reads the
        closing bracket, which both classes share, and position -2 the letter, as the paper does.

        Args:
            source: The name of a set, the path of a file, or rows as `of` takes them.
            paired: False keeps every answer of a list and makes an unpaired set.

        Raises:
            ValueError: If there is no such set or file, or a line is broken (its number is named;
                in `.json` it counts from 0).

        Example:
            >>> ls.ContrastivePairs.load("stories:sad")
            ContrastivePairs(stories:sad: 320 desired, 320 undesired, paired)
            >>> ls.ContrastivePairs.load("my_pairs.jsonl")
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
        examples = read_rows(rows, name, paired=paired)
        return cls(
            examples.desired,
            examples.undesired,
            paired=paired and not examples.labelled,
            name=name,
            left_out=examples.left_out,
        )

    def save(self, path: str | Path) -> None:
        """Write a `.jsonl` file, or `.csv` where no prompt is a chat, whole or not at all.

        `load` reads the same set from it, under the name of the file.

        Raises:
            ValueError: If the suffix is another, the folder does not exist, or `.csv` cannot hold
                an example; it is then named.

        Example:
            >>> pairs.save("pairs.jsonl")
            >>> ls.ContrastivePairs.load("pairs.jsonl") == pairs
            True
        """
        target = Path(path)
        if target.suffix not in WRITERS:
            raise ValueError(f"got {str(path)!r}, expected a name that ends in .jsonl or .csv")
        write = WRITERS[target.suffix]
        rows = as_records(self.desired, self.undesired, paired=self.paired)
        write_whole(target, lambda place: write(place, rows))

    def split(self, *fractions: float, seed: int) -> tuple["ContrastivePairs", ...]:
        """Split the set at random; what has a prompt or a group in common stays together.

        Args:
            fractions: The share of each part, positive and adding up to 1, such as `0.6, 0.2, 0.2`;
                parts have about these shares.
            seed: Of the shuffle.

        Raises:
            ValueError: If the fractions do not add up, or a part would be without one of the sides.

        Example:
            >>> train, test = pairs.split(0.8, 0.2, seed=0)
        """
        if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(
                f"got the fractions {fractions}, expected positive ones that add up to 1"
            )
        ties = ties_of(self.desired, self.undesired, paired=self.paired)
        part_of = assign_parts(ties, fractions, seed)
        return tuple(self._part(part_of == k, k, fractions) for k in range(len(fractions)))

    def first(self, n: int) -> "ContrastivePairs":
        """The first `n` examples of each side, or all where there are fewer."""
        return ContrastivePairs(self.desired[:n], self.undesired[:n], self.paired, self.name)

    def resample(self, *, seed: int) -> "ContrastivePairs":
        """Draw the set again with replacement, to refit a method on: a bootstrap sample.

        Clusters of what has a prompt or a group in common are drawn whole, as many as there are.

        Raises:
            ValueError: If one of the sides is without an example in the draw.
        """
        drawn = resampled(ties_of(self.desired, self.undesired, paired=self.paired), seed)
        examples, half = (*self.desired, *self.undesired), len(self.desired)
        desired = tuple(examples[i] for i in drawn if i < half)
        undesired = tuple(examples[i] for i in drawn if i >= half)
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
                f"{len(undesired)} undesired examples of {self!r}: give more groups, or a larger "
                "share"
            )
        return ContrastivePairs(desired, undesired, self.paired, self.name)


def as_pairs(pairs: Any) -> ContrastivePairs:
    """Pairs as they are, or made from rows as `ContrastivePairs.of` takes them.

    Raises:
        ValueError: If it is neither, or a row is broken.
    """
    return pairs if isinstance(pairs, ContrastivePairs) else ContrastivePairs.of(pairs)
