"""What `lens-steer compare` is run on, and the parts of each behaviour's pairs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lens_steer import organism
from lens_steer.activations import ReadPosition
from lens_steer.arguments import Count, CountFromZero, Nats, Seed
from lens_steer.benchmark.config import KL, SHARES, ComparisonConfig
from lens_steer.benchmark.fit_cache import FitCache
from lens_steer.data import ContrastivePairs, as_records
from lens_steer.evaluation import Judge, judge_of
from lens_steer.models import SteerableModel, attach, version_of
from lens_steer.reports import short_repr

# The form of what a run keeps: higher whenever a method is made, or a trial is measured or written
# down, in another way. A run of another form is refused.
FORM = 5
# The versions that results depend on, as they were imported: others may be installed while a long
# run goes on.
_VERSIONS = {
    package: version_of(package)
    for package in ("lens-steer", "torch", "transformer-lens", "transformers")
}
DEV_PROMPTS = 48  # to choose and calibrate on, at most


@dataclass(frozen=True)
class ModelDefaults:
    """What the commands take for a model where nothing else is asked for.

    Attributes:
        pairs: A named set of pairs.
        read: Where activations are read, see `capture`.
        max_new_tokens: The length of every text.
        minutes: How long the demo may take; None is as long as it needs.
        methods: The methods that the demo compares; None is those of `DEFAULT_METHODS`.
    """

    pairs: str
    read: ReadPosition
    max_new_tokens: CountFromZero
    minutes: float | None = None
    methods: str | None = None


def defaults_of(model: str) -> ModelDefaults:
    """The defaults of the embedded model (`organism`), or of any other model."""
    if model == "organism":
        return ModelDefaults("organism:sentiment", "mean", organism.LONGEST)
    return ModelDefaults("stories:sad", "last", 40, 5.0, "CAA,SADI,LQR,ODESteer")


@dataclass(frozen=True)
class CompareSettings:
    """What methods are compared on.

    Attributes:
        model: `organism`, a hub name or a directory.
        pairs: Named sets or files; each is a behaviour.
        out: The folder for everything that is written.
        config: How texts are written and methods are varied.
        methods: Names of method families, separated by commas, or `all`; None is the default five.
        kl: Nats per token on dev to which every method is calibrated.
        fits: How often each method is made: from train, then from resampled groups of it.
        budget: Trials of random search for each method; 0 is none.
        words: A text with one of these words shows the behaviour; empty: the named set's own judge
            or, for other pairs, the share whose desired continuation is the likelier.
        instruction: A text put before the prompts, for the row `prompting`.
        backend: See `load_model`.
        device: See `load_model`.
        dev_prompts: The largest number of prompts to choose and calibrate on.
        reads: The read positions to choose from, see `capture`.
        columns: What columns are called in the files of pairs, see `ContrastivePairs.load`.
        template: How prompts and answers are written, see `ContrastivePairs.load`.
    """

    model: str
    pairs: tuple[str, ...]
    out: Path
    config: ComparisonConfig
    methods: str | None = None
    kl: Nats = KL
    fits: Count = 1
    budget: CountFromZero = 0
    words: tuple[str, ...] = ()
    instruction: str = ""
    backend: Literal["bridge", "hooked"] = "bridge"
    device: str | None = None
    dev_prompts: Count = DEV_PROMPTS
    reads: tuple[ReadPosition, ...] = ("mean", "last")
    columns: Mapping[str, str] | None = None
    template: str | None = None

    def judge(self, pairs: str) -> Judge | None:
        """What texts of a set of pairs are scored by."""
        return judge_of(pairs, self.words)


@dataclass(frozen=True, eq=False)
class Behaviour:
    """One set of pairs, split, with its judge and what methods are made of.

    Attributes:
        name: The name of the set.
        dev: The pairs to choose and calibrate on.
        test: The pairs to report on.
        judge: See `CompareSettings.judge`.
        cache: The training pairs, and what methods are made of.
        provenance: What trials and methods are marked with, see `run_provenance`.
    """

    name: str
    dev: ContrastivePairs
    test: ContrastivePairs
    judge: Judge | None
    cache: FitCache
    provenance: Mapping[str, Any]

    __repr__ = short_repr

    @classmethod
    def of(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        settings: CompareSettings,
        provenance: Mapping[str, Any],
    ) -> "Behaviour":
        """A set of pairs, split into train, dev and test, with its judge.

        Raises:
            ValueError: If the pairs are too few, or unpaired without a judge.
        """
        judge = settings.judge(pairs.name)
        train, dev, test = split_for(judge, pairs, settings.config.seed)
        few = dev.first(settings.dev_prompts)
        return cls(pairs.name, few, test, judge, FitCache(model, train, settings.reads), provenance)


def split_for(
    judge: Judge | None, pairs: ContrastivePairs, seed: Seed
) -> tuple[ContrastivePairs, ...]:
    """Train, dev and test.

    Raises:
        ValueError: If the pairs are too few, or unpaired without a judge.
    """
    if judge is None and not pairs.paired:
        raise ValueError(
            f"{pairs!r}: expected --words, which say what shows the behaviour, where texts are not "
            "paired"
        )
    return pairs.split(*SHARES, seed=seed)


def run_provenance(
    model: SteerableModel, settings: CompareSettings, sources: Sequence[ContrastivePairs]
) -> dict[str, Any]:
    """What every row and method of a run is marked with: a run only goes on where it is the same.

    It holds the settings, the SHA-256 of the pairs and of the weights, and the versions.
    """
    same = asdict(settings) | {"pairs": [pairs.name for pairs in sources]}  # not where files lie
    del same["out"], same["budget"]  # where the run lies, and what is only added to it
    return same | made_on(model, sources)


def made_on(model: SteerableModel, sources: Sequence[ContrastivePairs]) -> dict[str, Any]:
    """The SHA-256 of weights and pairs, and the versions, with which the form of a run is kept."""
    data = {pairs.name: _sha256_of_pairs(pairs) for pairs in sources}
    architecture = attach(model).fingerprint.architecture
    weights = {"architecture": architecture, "weights": _sha256_of_weights(model)}
    return weights | {"data": data, "versions": _VERSIONS, "form": FORM}


def distinct_names(sources: Sequence[ContrastivePairs]) -> None:
    """Raise a ValueError if two sets have one name: their trials and files would be mixed up."""
    stems = [file_stem(pairs.name) for pairs in sources]
    twice = [pairs.name for pairs in sources if stems.count(file_stem(pairs.name)) > 1]
    if twice:
        raise ValueError(
            f"two sets of pairs are called {' and '.join(map(repr, dict.fromkeys(twice)))}: "
            "rename a file, or compare them in runs of their own"
        )


def file_stem(name: str) -> str:
    """The name of a set of pairs, for the name of a file."""
    return name.replace(":", "-")


def _sha256_of_pairs(pairs: ContrastivePairs) -> str:
    rows = as_records(pairs.desired, pairs.undesired, paired=pairs.paired)
    return hashlib.sha256(json.dumps([pairs.paired, rows]).encode()).hexdigest()


def _sha256_of_weights(model: Any) -> str:
    digest = hashlib.sha256()
    for parameter in model.parameters():
        weights = parameter.detach().cpu().contiguous()
        digest.update(f"{weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(memoryview(weights.flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()
