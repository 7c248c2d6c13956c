"""The set of contrastive pairs: a value that is made from rows, divided, and saved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from lens_steer.arguments import Accepts, Count, FilePath, Seed, Text
from lens_steer.data.documents import document_rows
from lens_steer.data.example import Example, Sides, as_records, check_sides, read_rows
from lens_steer.data.file_formats import write_rows
from lens_steer.data.records import COLUMNS
from lens_steer.data.sources import PlacedRows, mapped, rows_of, rows_of_subsets
from lens_steer.data.splits import resampled_examples, split_examples, spread_examples
from lens_steer.data.templates import Template, as_template
from lens_steer.models import Prompt


@dataclass(frozen=True)
class ContrastivePairs:
    """Examples that show a behaviour, and examples that do not.

    Attributes:
        desired: Examples that show it.
        undesired: Examples that do not; their number may differ unless `paired`.
        paired: Whether `desired[i]` and `undesired[i]` continue one prompt.
        name: What the set is called in reports.
        left_out: How many answers of a file are on neither side, as both lists have them.

    Example:
        >>> pairs = ls.ContrastivePairs.load("organism:sentiment")
        >>> train, dev, test = pairs.split(0.6, 0.2, 0.2, seed=0)
    """

    desired: Annotated[tuple[Example, ...], Accepts(Sequence[Example])]
    undesired: Annotated[tuple[Example, ...], Accepts(Sequence[Example])]
    paired: bool = True
    name: str = "pairs"
    left_out: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "desired", tuple(self.desired))
        object.__setattr__(self, "undesired", tuple(self.undesired))
        check_sides(self.desired, self.undesired, paired=self.paired)

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
    def of(cls, rows: Iterable[Any], *, name: str = "pairs") -> "ContrastivePairs":
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
        rows, place = rows_of_subsets(source, desired, undesired)
        return cls._from_rows(rows, name or place)

    @classmethod
    def load(
        cls,
        source: Any,
        *,
        paired: bool = True,
        columns: Mapping[str, str] | None = None,
        template: Text | Template | None = None,
    ) -> "ContrastivePairs":
        """Load pairs from a named set, a `.jsonl`, `.csv`, `.tsv` or `.json` file, or its rows.

        A row has `desired` and `undesired`, and optionally `prompt` (or `messages`, a chat) and
        `group`. The columns of published sets, labelled texts and lists are read as well:
        `help(lens_steer.data)` names all forms.

        Args:
            source: The name of a set, the path of a file, rows as `of` takes them, or a data set on
                the hub: `"owner/name"`, `"owner/name:split"` or `"owner/name:config:split"`.
            paired: False keeps every answer of a list and makes an unpaired set.
            columns: What columns are called there: `{"prompt": "instruction", ...}`; others are
                passed over.
            template: How prompts and answers are written, such as `"qa"`; None: as they are.

        Raises:
            ValueError: If there is no such set or file, or a line is broken (its number is named;
                in `.json` it counts from 0).

        Example:
            >>> ls.ContrastivePairs.load("stories:sad")
            ContrastivePairs(stories:sad: 320 desired, 320 undesired, paired)
            >>> ls.ContrastivePairs.load("my.csv", columns={"desired": "good", "undesired": "bad"})
        """
        how = None if template is None else as_template(template)
        rows, name = rows_of(source)
        rows = rows if columns is None else mapped(rows, columns, COLUMNS)
        return cls._from_rows(rows, name, paired, how)

    @classmethod
    def _from_rows(
        cls, rows: PlacedRows, name: str, paired: bool = True, template: Template | None = None
    ) -> "ContrastivePairs":
        read = read_rows(rows, name, paired=paired, template=template)
        return cls(read.desired, read.undesired, read.paired, name, read.left_out)

    def save(self, path: FilePath) -> None:
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
        write_rows(Path(path), as_records(self.desired, self.undesired, paired=self.paired))

    def split(self, *fractions: float, seed: Seed) -> tuple["ContrastivePairs", ...]:
        """Split the set at random; what has a prompt or a group in common stays together.

        Args:
            fractions: About the share of each part, positive and adding up to 1: `0.6, 0.2, 0.2`.
            seed: Of the shuffle.

        Raises:
            ValueError: If the fractions do not add up, or a part would be without one of the sides.

        Example:
            >>> train, test = pairs.split(0.8, 0.2, seed=0)
        """
        parts = split_examples(self.desired, self.undesired, fractions, seed, paired=self.paired)
        return tuple(map(self._part, parts))

    def first(self, n: Count) -> "ContrastivePairs":
        """The first `n` examples of each side, or all where there are fewer."""
        return self._part((self.desired[:n], self.undesired[:n]))

    def spread(self, n: Count) -> "ContrastivePairs":
        """At most `n` examples of each side, in order, from as many groups as possible."""
        return self._part(spread_examples(self.desired, self.undesired, n, paired=self.paired))

    def resample(self, *, seed: Seed) -> "ContrastivePairs":
        """Draw the set again with replacement, to refit a method on: a bootstrap sample.

        Clusters of what has a prompt or a group in common are drawn whole, as many as there are.

        Raises:
            ValueError: If a side has no example in the draw.
        """
        sides = self.desired, self.undesired
        return self._part(resampled_examples(*sides, seed, paired=self.paired))

    def _part(self, sides: Sides) -> "ContrastivePairs":
        return ContrastivePairs(*sides, self.paired, self.name)
