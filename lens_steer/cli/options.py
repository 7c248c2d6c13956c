"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from lens_steer.benchmark import DEFAULT_METHODS

Model = Annotated[
    str,
    typer.Option(
        help="The model: organism (the small model in the package), a hub name, or a directory in "
        "the Hugging Face format."
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(
        help="The contrastive pairs: a named set (organism:sentiment, truthfulness, toxicity, "
        "refusal, concept or polarity; stories:sad), or a .jsonl, .csv or .json file with desired "
        "and undesired continuations of a prompt (or messages), CAA's A/B questions, question, "
        "true and false, or, unpaired, text and label; a column group says which lines belong "
        "together. See docs/guide.md, 'Pairs from files'. Left out: organism:sentiment for the "
        "organism, stories:sad for any other model.",
        show_default=False,
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="The methods to compare: names separated by commas, or all. Left out: "
        f"{', '.join(DEFAULT_METHODS)}.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option(help="The folder for figures, their numbers, texts and methods.")
]
Seed = Annotated[
    int, typer.Option(min=0, help="The seed of the split, the texts and the intervals.")
]
Words = Annotated[
    str,
    typer.Option(
        help="Words, separated by commas of any script: a text with one of them shows the "
        "behaviour. Left out: the named set's own judge (exact for organism:*); for other pairs, "
        "the share whose desired continuation is the likelier.",
        show_default=False,
    ),
]
Read = Annotated[
    Literal["last", "mean", "prompt_last"] | None,
    typer.Option(
        help="Where activations are read: at the continuation's last token, as the mean over the "
        "continuation, or at the prompt's last token. Left out: mean for the organism, last for "
        "any other model.",
        show_default=False,
    ),
]
Where = Annotated[
    Literal["last", "prompt", "generated", "all"],
    typer.Option(
        help="Which tokens are steered: the last one of the prompt and all generated ones (last), "
        "those of the prompt but a beginning-of-sequence token (prompt), the generated ones "
        "(generated), or all of them (all)."
    ),
]
Backend = Annotated[
    Literal["bridge", "hooked"],
    typer.Option(
        help="The model class: TransformerBridge, or HookedTransformer (TransformerLens 3.9)."
    ),
]
Length = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The largest number of tokens of each text. Left out: 110 for the organism, whose "
        "texts are no longer, 40 for any other model.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="The device: cpu, cuda, cuda:1 or mps. Left out: CUDA if there is one, else the CPU."
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.0, help="The sampling temperature of the texts; 0 takes the likeliest token."
    ),
]
DevPrompts = Annotated[
    int, typer.Option(min=1, help="The largest number of prompts that methods are chosen on.")
]


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
