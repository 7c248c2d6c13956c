"""What the demo is run on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lens_steer import organism
from lens_steer.activations import ReadPosition
from lens_steer.benchmark import DEV_PROMPTS
from lens_steer.evaluation import Judge, judge_of
from lens_steer.steering import Decoding, Scope


@dataclass(frozen=True)
class DemoSettings:
    """What the demo is run on.

    Attributes:
        model: `organism`, a hub name or a directory.
        pairs: A named set or a file.
        out: The folder for everything that is written.
        seed: The seed of the split, the texts and the intervals.
        methods: Names of method families for the table, separated by commas, or `all`; None is the
            default five.
        words: A text with one of these words shows the behaviour; empty: the named set's own judge
            or, for other pairs, the share whose desired continuation is the likelier.
        read: Where activations are read, see `capture`.
        scope: Where the model is steered, see `steered`.
        sink: Whether attention sinks are steered too, see `steered`.
        backend: See `load_model`.
        device: See `load_model`.
        max_new_tokens: The length of every text, in tokens.
        temperature: The temperature of every text; 0 is greedy.
        dev_prompts: The largest number of prompts to choose the layer and the strength on.
        minutes: How long the demo may take: it does as much as is expected to fit; None is all.
        limited: Whether a demo that takes longer, at its smallest, is refused.
        layers: The layers that may be steered; None is all of them.
        table: Whether several methods are compared at the end.
        columns: What columns are called in the file of pairs, see `ContrastivePairs.load`.
        template: How prompts and answers are written, see `ContrastivePairs.load`.
    """

    model: str
    pairs: str
    out: Path
    seed: int
    methods: str | None = None
    words: tuple[str, ...] = ()
    read: ReadPosition = "last"
    scope: Scope = "last"
    sink: bool = False
    backend: Literal["bridge", "hooked"] = "bridge"
    device: str | None = None
    max_new_tokens: int = 40
    temperature: float = 0.7
    dev_prompts: int = DEV_PROMPTS
    minutes: float | int | None = None
    limited: bool = True
    layers: tuple[int, ...] | None = None
    table: bool = True
    columns: Mapping[str, str] | None = None
    template: str | None = None

    @property
    def judge(self) -> Judge | None:
        """The judge that scores the texts; None without one."""
        return judge_of(self.pairs, self.words)

    @property
    def behaviour_name(self) -> str:
        """The name of the score."""
        judge = self.judge
        if isinstance(judge, organism.ExactJudge):
            return f"share of texts with {judge.behaviour.criterion}"
        return (
            "share preferring desired" if judge is None else "share of texts with one of the words"
        )

    @property
    def decoding(self) -> Decoding:
        """How every text is written.

        Raises:
            ValueError: If a setting makes no sense.
        """
        return Decoding(
            self.temperature,
            max_new_tokens=self.max_new_tokens,
            scope=self.scope,
            sink=self.sink,
            seed=self.seed,
        )
