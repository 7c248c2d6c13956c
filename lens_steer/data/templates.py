"""How a question becomes a prompt, and an answer its continuation: templates by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from lens_steer.arguments import NotBlank, Text, shortened
from lens_steer.models import Message, Prompt
from lens_steer.reports import short_repr

QUESTION = "{question}"


@dataclass(frozen=True)
class Template:
    """How a question is put to a model, and how an answer is written after it.

    Attributes:
        name: What the template is called.
        text: The prompt, with `{question}` where the question goes. Other braces stay as they are.
        instruction: What to do, put before the text on lines of its own; empty for none.
        space: What parts prompt and answer, unless the prompt ends, or the answer begins, with
            white space.
        chat: Whether the prompt is a chat of one message of the user, which the tokenizer's own
            template writes out. Answers then begin without white space.

    Example:
        >>> Template("mine", "Q: {question} A:").prompt("Is the Earth flat?")
        'Q: Is the Earth flat? A:'
    """

    name: NotBlank
    text: NotBlank = QUESTION
    instruction: str = ""
    space: str = " "
    chat: bool = False

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.text.count(QUESTION) != 1:
            raise ValueError(
                f"got text={shortened(self.text)}, expected {QUESTION} in it once, where the "
                "question goes"
            )

    def prompt(self, question: NotBlank) -> Prompt:
        """The prompt that asks a question: text, or a chat."""
        before = f"{self.instruction}\n\n" if self.instruction else ""
        text = before + self.text.replace(QUESTION, question)
        return (Message("user", text),) if self.chat else text

    def answer(self, question: NotBlank, answer: NotBlank) -> str:
        """An answer as it continues the prompt of a question."""
        if self.chat:
            return answer.lstrip()
        prompt = self.text.replace(QUESTION, question)
        parted = prompt[-1].isspace() or answer[0].isspace()
        return answer if parted else self.space + answer


def _named(*templates: Template) -> Mapping[str, Template]:
    return MappingProxyType({template.name: template for template in templates})


TEMPLATES = _named(
    # The question as it is. The default of model-written evals and of CAA.
    Template("completion"),
    # As the prompt formats of TruthfulQA end; ODESteer and A-LQR read activations behind it too.
    Template("qa", "Q: {question}\nA:"),
    Template("chat", chat=True),
    Template("review", "Review: {question}\nSentiment:"),
    # SADI joins an instruction, the item and a label word by single spaces. The label words
    # (Positive, Negative; A, B; Yes, No) and the joining are those of its code; the wording of the
    # instructions is ours and has not been checked against the paper's appendix.
    Template(
        "sadi-sst2",
        "Sentence: {question} Sentiment:",
        "Say whether the sentiment of the sentence is Positive or Negative.",
    ),
    Template(
        "sadi-copa",
        "{question} Answer:",
        "Choose the more plausible alternative. Answer with A or B.",
    ),
    Template(
        "sadi-yes-no",
        "{question} Answer:",
        "Answer the question with Yes or No.",
    ),
)


def as_template(template: Text | Template) -> Template:
    """The template of a name, or one made from a text with `{question}` in it.

    Args:
        template: A name in `TEMPLATES`, a text, or a template, which comes back as it is.

    Raises:
        ValueError: If there is no such template; the message lists them.

    Example:
        >>> as_template("qa").answer("Is the Earth flat?", "No.")
        ' No.'
    """
    if isinstance(template, Template):
        return template
    if QUESTION in template:
        return Template("a template of your own", template)
    if template not in TEMPLATES:
        nearest = get_close_matches(template, TEMPLATES, n=1)
        guess = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ValueError(
            f"got template={shortened(template)}{guess}, expected one of "
            f"{', '.join(map(repr, TEMPLATES))}, or a text with {QUESTION} in it"
        )
    return TEMPLATES[template]
