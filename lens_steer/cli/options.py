"""Options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lens_steer.arguments import Count, Expected, FolderPath, Layers, Nats, Text, Texts
from lens_steer.arguments import Seed as SeedValue
from lens_steer.arguments import Temperature as TemperatureValue
from lens_steer.benchmark import DEFAULT_METHODS, families
from lens_steer.cli.typed_options import columns_of, judged_words_of, option
from lens_steer.data import TEMPLATES, as_template
from lens_steer.files import check_folder
from lens_steer.models import NamedModel, available_device, model_directory

Positions = Literal["last", "mean", "prompt_last"]
Scopes = Literal["last", "prompt", "generated", "all"]
Backends = Literal["bridge", "hooked"]


Model = Annotated[
    str,
    option(
        Text,
        "The model: organism (the small model in the package), a hub name, a directory in the "
        "Hugging Face format, a GGUF file, or smollm2 or gemma3 (which lens-steer fetch brings).",
        check=model_directory,
        metavar="MODEL",
    ),
]
NamedModels = Annotated[
    Any,
    option(
        Annotated[Sequence[NamedModel], Expected("smollm2, gemma3 or both", len)],
        "The models to bring: smollm2 (SmolLM2-135M-Instruct) and gemma3 (Gemma-3-270M), separated "
        "by commas.",
    ),
]
_PAIRS = (
    "The contrastive pairs: a named set (organism:sentiment, truthfulness, toxicity, refusal, "
    "concept or polarity; stories:sad), or a .jsonl, .json, .csv or .tsv file, of desired and "
    "undesired continuations of a prompt (or messages), CAA's A/B questions, question, true and "
    "false, or, unpaired, text and label; a column group says which lines belong together. See "
    "docs/guide.md, 'Pairs from files'. Left out: organism:sentiment for the organism, stories:sad "
    "for any other model."
)
Pairs = Annotated[str | None, option(Text, _PAIRS, metavar="PAIRS", show_default=False)]
SeveralPairs = Annotated[
    Any,
    option(
        Texts,
        f"{_PAIRS} Several are separated by commas.",
        show_default=False,
    ),
]
Columns = Annotated[
    Any,
    option(
        dict,
        "What the columns of the file of pairs are called there: ours=theirs, separated by commas, "
        "such as prompt=instruction,desired=good,undesired=bad. Left out: as we call them.",
        convert=columns_of,
        metavar="LIST",
        show_default=False,
    ),
]
TemplateName = Annotated[
    str | None,
    option(
        Text,
        f"How prompts and answers of the pairs are written: {', '.join(TEMPLATES)}, or a text with "
        "{question} in it. Left out: as they stand in the file.",
        check=as_template,
        metavar="TEMPLATE",
        show_default=False,
    ),
]
Methods = Annotated[
    str | None,
    option(
        Text,
        "The methods to compare: names separated by commas, or all. Left out: "
        f"{', '.join(DEFAULT_METHODS)}; the demo of any model but the organism does without "
        "LQRTracker.",
        check=families,
        metavar="LIST",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    option(
        FolderPath,
        "The folder for figures, their numbers, texts and methods.",
        check=check_folder,
        metavar="FOLDER",
    ),
]
Seed = Annotated[
    int,
    option(SeedValue, "The seed of the split, the texts and the intervals.", metavar="INTEGER"),
]
Words = Annotated[
    Any,
    option(
        Annotated[tuple[str, ...], Expected("a list of words, at least one", len)],
        "Words, separated by commas of any script: a text with one of them shows the behaviour. "
        "Left out: the named set's own judge (exact for organism:*); for other pairs, the share "
        "whose desired continuation is the likelier.",
        convert=judged_words_of,
        show_default=False,
    ),
]
Read = Annotated[
    Positions | None,
    option(
        Positions,
        "Where activations are read: at the continuation's last token, as the mean over the "
        "continuation, or at the prompt's last token. Left out: mean for the organism, last for "
        "any other model.",
        metavar="[last|mean|prompt_last]",
        show_default=False,
    ),
]
Reads = Annotated[
    Any,
    option(
        Sequence[Positions],
        "The positions, separated by commas, of which the best on dev is taken for each method: "
        "last, mean and prompt_last, as under --read of the demo.",
    ),
]
Where = Annotated[
    Scopes,
    option(
        Scopes,
        "Which tokens are steered: the last one of the prompt and all generated ones (last), those "
        "of the prompt but a beginning-of-sequence token (prompt), the generated ones (generated), "
        "or all of them (all).",
        metavar="[last|prompt|generated|all]",
    ),
]
Sink = Annotated[
    bool,
    typer.Option(
        "--sink",
        help="Steer attention sinks as well: a token whose norm is over ten times the median of "
        "its layer, such as the first of most models. They are left alone otherwise.",
    ),
]
Backend = Annotated[
    Backends,
    option(
        Backends,
        "The model class: TransformerBridge, or HookedTransformer (TransformerLens 3.9).",
        metavar="[bridge|hooked]",
    ),
]
Length = Annotated[
    int | None,
    option(
        Count,
        "The largest number of tokens of each text. Left out: 110 for the organism, whose texts "
        "are no longer, 40 for any other model.",
        metavar="INTEGER",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    option(
        Text,
        "The device: cpu, cuda, cuda:1 or mps. Left out: CUDA if there is one, else the CPU.",
        check=available_device,
        metavar="DEVICE",
    ),
]
Temperature = Annotated[
    float,
    option(
        TemperatureValue,
        "The sampling temperature of the texts; 0 takes the likeliest token.",
        metavar="NUMBER",
    ),
]
DevPrompts = Annotated[
    int,
    option(Count, "The largest number of prompts that methods are chosen on.", metavar="INTEGER"),
]
TemperatureAbove0 = Annotated[
    float,
    option(
        Annotated[
            float | int,
            Expected(
                "a temperature from 1e-6 to 1e6 (texts at 0 have no finite divergence)",
                lambda x: 1e-6 <= x <= 1e6,
            ),
        ],
        "The sampling temperature of the texts.",
        metavar="NUMBER",
    ),
]
Cost = Annotated[
    float,
    option(
        Nats,
        "The cost on dev to which methods are calibrated: KL(steered || unsteered), in nats per "
        "token.",
        metavar="NUMBER",
    ),
]
Minutes = Annotated[
    float | None,
    option(
        Annotated[float | int, Expected("a number of minutes above 0", lambda x: 0 < x <= 1e5)],
        "How long the demo may take on this machine: it takes as many layers, strengths, prompts "
        "and settings as are expected to fit, measured on the first batches, and says which. "
        "Where even the smallest plan takes longer, it is refused. Left out: everything for the "
        "organism; 5 minutes for any other model, or the smallest plan where that takes longer.",
        metavar="NUMBER",
        show_default=False,
    ),
]
SomeLayers = Annotated[
    Any,
    option(
        Layers,
        "The layers that may be steered, separated by commas. Left out: all of them.",
        show_default=False,
    ),
]
Table = Annotated[
    bool,
    typer.Option(
        "--table/--no-table",
        help="Whether several methods are compared at the end, at one cost.",
    ),
]
