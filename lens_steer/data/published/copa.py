"""COPA: which of two alternatives is the cause, or the effect, of a premise."""

from typing import Any

from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import FileRows, gathered, one_of, text_in
from lens_steer.data.questions import Question, Questions
from lens_steer.data.templates import Template

ABOUT = About(
    "copa",
    "BSD 2-clause",
    "Roemmele, Bejan and Gordon 2011, Choice of Plausible Alternatives",
    (frozenset({"premise", "choice1", "choice2", "question", "label"}),),
    template="",
    counts="400 questions to develop with (350 and 50, or 400) and 100 or 500 to test",
)
_WORDS = {"cause": "because", "effect": "so"}
_ASKED = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


def copa(file: FileRows, template: Template | None = None) -> PublishedSet:
    """COPA: a premise and two alternatives, of which one is its cause or its effect.

    Without a template the premise is continued: "The man turned on the faucet so" ... "water flowed
    from the spout." With one, it is followed by "What was the cause of this?" or "What happened as
    a result?" and the alternatives are answers; with "sadi-copa", as in SADI, the prompt names
    both and the choices are the letters A and B.

    A line of `.jsonl` has premise, choice1, choice2, question (cause or effect) and label (0 or 1).

    Licence: BSD 2-clause. Source: Roemmele, Bejan and Gordon 2011.
    """

    def question(row: Any) -> Question:
        premise, *choices = (
            text_in(row, name).strip() for name in ("premise", "choice1", "choice2")
        )
        kind = ("cause", "effect")[one_of(row, "question", ("cause", "effect"))]
        label = one_of(row, "label", (0, 1))
        if template is None:
            bare = premise.removesuffix(".")
            prompt, instruction = f"{bare} {_WORDS[kind]}", ""
            choices = [f" {_continued(choice)}" for choice in choices]
        else:
            bare = f"{premise} {_ASKED[kind]}"
            if template.name == "sadi-copa":
                bare += f" A: {choices[0]} B: {choices[1]}"
                choices = ["A", "B"]
            prompt, instruction = template.prompt(bare), template.instruction
            choices = [template.answer(bare, choice) for choice in choices]
        return Question(prompt, tuple(choices), (label == 0, label == 1), "", instruction, bare)

    items, left_out = gathered(file, question)
    name = f"{ABOUT.name}:{file.name}"
    form = () if template is None else tuple(_ASKED.values())
    return PublishedSet.of_questions(ABOUT, Questions(tuple(items), name, left_out, form))


def _continued(sentence: str) -> str:
    """A sentence as it goes on after a conjunction: its first letter small, unless it is "I"."""
    first = sentence.split()[0]
    return (
        sentence if first == "I" or first.startswith("I'") else sentence[0].lower() + sentence[1:]
    )
