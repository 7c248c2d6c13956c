"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    str,
    typer.Option(
        help="organism (the small model in the package), a hub name, or a directory in the Hugging "
        "Face format."
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(
        help="A named set (organism:sentiment, truthfulness, toxicity, refusal, concept or "
        "polarity; stories:sad), or a .jsonl, .csv or .json file: desired and undesired "
        "continuations of a prompt (or messages), CAA's A/B questions, question, true and false, "
        "or, unpaired, text and label; group where lines belong together. See README, 'Pairs "
        "from files'. "
        "Left out: organism:sentiment for the organism, stories:sad for any other model.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for figures, their data, texts and the method.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the split, the sampling and the intervals.")]
Words = Annotated[
    str,
    typer.Option(
        help="Comma-separated, in any script; a text with one of them shows the behaviour. Left "
        "out: the named set's own judge (exact for organism:*); for other pairs, the share whose "
        "desired continuation is the likelier.",
        show_default=False,
    ),
]
Read = Annotated[
    Literal["last", "mean", "prompt_last"] | None,
    typer.Option(
        help="Read the continuation's last token, its mean, or the prompt's last token. Left out: "
        "mean for the organism, last for any other model.",
        show_default=False,
    ),
]
Where = Annotated[
    Literal["last", "prompt", "generated", "all"],
    typer.Option(
        help="Steer the last prompt token and all generated ones (last), the prompt but its first "
        "token if that is the beginning-of-sequence token, the generated tokens, or all."
    ),
]
Backend = Annotated[
    Literal["bridge", "hooked"],
    typer.Option(help="TransformerBridge, or HookedTransformer (TransformerLens 3.9)."),
]
Length = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="At most so many tokens for each text. Left out: 110 for the organism, whose texts "
        "are no longer, 40 for any other model.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. Left out: CUDA where there is one.")
]


Temperature = Annotated[float, typer.Option(min=0.0, help="Of the texts; 0 is greedy.")]
DevPrompts = Annotated[int, typer.Option(min=1, help="At most so many to choose on.")]


def words_of(words: str) -> tuple[str, ...]:
    """Words from a comma-separated list."""
    return tuple(word.strip() for word in words.split(",") if word.strip())


def judged_words_of(words: str) -> tuple[str, ...]:
    """Words to look for in texts, parted by the comma of any script."""
    return words_of(re.sub("[\uff0c\u3001\u060c]", ",", words))


def numbers_of(name: str, text: str) -> tuple[float, ...]:
    """Numbers from a comma-separated list.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--{name} {text!r}: expected numbers, separated by commas, such as 0.5,1,2"
        ) from None
