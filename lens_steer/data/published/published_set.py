"""A published data set as it was read, with what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.left_out import left_out_in_words
from lens_steer.data.prompts import Prompts
from lens_steer.data.questions import Questions
from lens_steer.reports import short_repr


@dataclass(frozen=True)
class About:
    """What is known of a published data set.

    Attributes:
        name: What it is called in `load`.
        licence: Of the published files; they are not part of this package.
        citation: Who published it, where.
        columns: Sets of columns (or of keys of a JSON object) of which its files have one.
        only: Sets of columns beyond which its files have none.
        template: The template that its questions are put with if none is given; empty where the
            set has a form of its own.
        counts: How many items the published files hold.
    """

    name: str
    licence: str
    citation: str
    columns: tuple[frozenset[str], ...] = ()
    only: tuple[frozenset[str], ...] = ()
    template: str = "completion"
    counts: str = ""

    __repr__ = short_repr

    def fits(self, columns: frozenset[str]) -> bool:
        """Whether a file with these columns may be one of this set."""
        return any(each <= columns for each in self.columns) or columns in self.only

    @property
    def expected(self) -> str:
        """The columns of its files, in words."""
        return " or ".join(", ".join(sorted(each)) for each in (*self.columns, *self.only))


@dataclass(frozen=True, repr=False)
class PublishedSet:
    """A published data set as it was read from a file: each part is None where it has none.

    Attributes:
        about: Its name, licence and citation.
        questions: Multiple-choice questions.
        pairs: Contrastive pairs; for questions, the first right and the first wrong choice.
        prompts: The prompts alone.
        targets: What each prompt is to be answered with, for sets that publish it.
        desired_prompts: The prompts with an instruction to show the behaviour.
        undesired_prompts: The same prompts with an instruction not to.
        judge_prompt: What its authors ask a judging model; the names in braces are theirs.
        left_out: How many rows were left out, by reason; `left_out.rows` names them.

    Example:
        >>> ls.benchmark.load("copa", "test.jsonl")
        PublishedSet(copa: 100 questions, 100 pairs, 100 prompts; BSD 2-clause)
    """

    about: About
    questions: Questions | None = None
    pairs: ContrastivePairs | None = None
    prompts: Prompts | None = None
    targets: tuple[str, ...] = ()
    desired_prompts: Prompts | None = None
    undesired_prompts: Prompts | None = None
    judge_prompt: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        names = ("questions", "pairs", "prompts", "targets")
        parts = [f"{len(getattr(self, n))} {n}" for n in names if getattr(self, n)]
        rest = left_out_in_words(self.left_out)
        return f"PublishedSet({self.name}: {', '.join(parts)}{rest}; {self.licence})"

    @property
    def name(self) -> str:
        """What the set is called."""
        return self.about.name

    @property
    def licence(self) -> str:
        """Of the published files."""
        return self.about.licence

    @property
    def citation(self) -> str:
        """Who published it, where."""
        return self.about.citation

    @classmethod
    def of_questions(cls, about: About, questions: Questions) -> "PublishedSet":
        """A set of questions, with the pairs and prompts in them."""
        groups = tuple(question.group for question in questions)
        return cls(
            about,
            questions,
            questions.pairs(),
            Prompts(tuple(questions.prompts), groups, questions.name),
            left_out=questions.left_out,
        )
