"""Contrastive pairs: texts that show a behaviour beside texts that do not, paired or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from lens_steer._pair_files import read_csv, read_jsonl
from lens_steer.datasets import named
from lens_steer.tokens import Prompt, as_prompt


@dataclass(frozen=True)
class Example:
    """A prompt with one continuation.

    Attributes:
        prompt: Text (may be empty), or a chat.
        continuation: What follows; a leading space belongs here.
        group: Examples of one group are never split apart. Empty: the prompt is the group.
    """

    prompt: Prompt
    continuation: str
    group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", as_prompt(self.prompt))
        if not isinstance(self.continuation, str) or not self.continuation.strip():
            raise ValueError(
                f"got the continuation {self.continuation!r}, expected text that is not blank"
            )
        if not isinstance(self.group, str):
            raise ValueError(f"got the group {self.group!r}, expected text")


@dataclass(frozen=True)
class ContrastivePairs:
    """Examples that show a behaviour and examples that do not.

    Attributes:
        desired: Examples that show it.
        undesired: Examples that do not; their number may differ unless `paired`.
        paired: Whether `desired[i]` and `undesired[i]` continue one prompt.
        name: What the set is called in reports.
    """

    desired: tuple[Example, ...]
    undesired: tuple[Example, ...]
    paired: bool = True
    name: str = "pairs"

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
        return f"ContrastivePairs({self.name}: {sides}, {'paired' if self.paired else 'unpaired'})"

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The different prompts, in order of first appearance."""
        return tuple(dict.fromkeys(example.prompt for example in (*self.desired, *self.undesired)))

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]], *, name: str = "pairs") -> "ContrastivePairs":
        """Pairs from `(prompt, desired, undesired)`, with a group, or without the prompt.

        Raises:
            ValueError: If there is no row, or one is broken; the row is named, counted from 0.
        """
        return cls._from_rows(
            ((f"row {i}", _triple(f"row {i}", row)) for i, row in enumerate(rows)), name
        )

    @classmethod
    def unpaired(
        cls, desired: Iterable[str], undesired: Iterable[str], *, name: str = "pairs"
    ) -> "ContrastivePairs":
        """Two collections of texts that do not belong together; the counts may differ."""
        sides = [[Example("", text) for text in texts] for texts in (desired, undesired)]
        return cls(tuple(sides[0]), tuple(sides[1]), paired=False, name=name)

    @classmethod
    def load(cls, source: Any) -> "ContrastivePairs":
        """Pairs from a named set, a `.jsonl` or `.csv` file, or a list of tuples.

        A line of a file has `prompt` (optional) or `messages` (a chat), `desired`, `undesired` and
        `group` (optional); or, unpaired, `text` and `label`, the label being `desired` or
        `undesired`.

        Raises:
            ValueError: If there is no such set or file, or a line is broken (its number is named).
        """
        if not isinstance(source, str | Path):
            return cls.of(source)
        path = Path(source)
        if path.suffix not in (".jsonl", ".csv"):
            return cls.of(named(str(source)), name=str(source))
        if not path.is_file():
            raise ValueError(f"no file {str(source)!r}: expected a .jsonl or .csv file of pairs")
        lines = read_jsonl(path) if path.suffix == ".jsonl" else read_csv(path)
        return cls._from_rows(lines, path.stem)

    @classmethod
    def _from_rows(
        cls, rows: Iterable[tuple[str, dict[str, Any]]], name: str
    ) -> "ContrastivePairs":
        sides: dict[str, list[Example]] = {"desired": [], "undesired": []}
        forms = set()
        for place, row in rows:
            try:
                form, examples = _examples(row)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            forms.add(form)
            for side, example in examples:
                sides[side].append(example)
        if len(forms) > 1:
            raise ValueError(
                f"{name} mixes rows with 'desired' and rows with 'label': use one form"
            )
        return cls(
            tuple(sides["desired"]),
            tuple(sides["undesired"]),
            paired="label" not in forms,
            name=name,
        )

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
        clusters = self._clusters()
        order = np.random.default_rng(seed).permutation(int(clusters.max()) + 1)
        sizes = np.bincount(clusters)[order]
        # A cluster goes to the part in which its middle falls.
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        part_of = np.empty_like(order)
        part_of[order] = np.searchsorted(np.cumsum(fractions)[:-1], middles, side="right")
        of_example = part_of[clusters]
        return tuple(
            self._part(of_example == part, part, fractions) for part in range(len(fractions))
        )

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

    def _clusters(self) -> np.ndarray:
        """A number per example, desired first: equal where prompt, group or pair ties them."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        examples = (*self.desired, *self.undesired)
        keys: dict[Any, int] = {}
        edges = []
        for i, example in enumerate(examples):
            ties: list[Any] = [("prompt", example.prompt)] if example.prompt else []
            ties += [("group", example.group)] if example.group else []
            ties += [("pair", i % len(self.desired))] if self.paired else []
            edges += [(i, len(examples) + keys.setdefault(tie, len(keys))) for tie in ties]
        size = len(examples) + len(keys)
        ends = np.array(edges, dtype=int).reshape(-1, 2).T
        graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(size, size))
        labels = connected_components(graph, directed=False)[1][: len(examples)]
        return np.unique(labels, return_inverse=True)[1]


_COLUMNS = ("prompt", "messages", "desired", "undesired", "group", "text", "label")


def _triple(place: str, row: Any) -> dict[str, Any]:
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) not in (2, 3, 4):
        raise ValueError(
            f"{place}: got {row!r}, expected (prompt, desired, undesired), (desired, undesired) "
            "or (prompt, desired, undesired, group)"
        )
    prompt, desired, undesired, group = ("", *row, "") if len(row) == 2 else (*row, "")[:4]
    return {"prompt": prompt, "desired": desired, "undesired": undesired, "group": group}


def _examples(row: dict[str, Any]) -> tuple[str, list[tuple[str, Example]]]:
    if not isinstance(row, dict):
        raise ValueError(f"got {row!r}, expected an object with 'desired' and 'undesired'")
    for name in map(str, row):  # other columns are the user's own, but a misspelt one is lost data
        meant = get_close_matches(name, _COLUMNS, n=1, cutoff=0.8)
        if meant and name != meant[0]:
            raise ValueError(f"unknown column {name!r}: did you mean {meant[0]!r}?")
    given = [row[key] for key in ("messages", "prompt") if row.get(key) not in (None, "")]
    prompt = as_prompt(given[0] if given else "")
    group = "" if row.get("group") is None else row["group"]
    if "label" in row:
        if row["label"] not in ("desired", "undesired"):
            raise ValueError(f"got the label {row['label']!r}, expected 'desired' or 'undesired'")
        return "label", [(row["label"], Example(prompt, row.get("text"), group))]  # type: ignore[arg-type]
    missing = [side for side in ("desired", "undesired") if side not in row]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in {sorted(map(str, row))}")
    return "pair", [(side, Example(prompt, row[side], group)) for side in ("desired", "undesired")]
