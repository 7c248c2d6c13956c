"""What `lens-steer compare` is run on, and the parts of each behaviour's pairs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch

from lens_steer.benchmark.method_families import SHARES, FitCache
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.data import ContrastivePairs, as_records
from lens_steer.evaluation import Judge, judge_of
from lens_steer.models import SteerableModel, attach, versions

_FORM = 3  # of what is kept: higher whenever a method is made, or a trial measured, in another way


@dataclass(frozen=True)
class CompareSettings:
    """What methods are compared on.

    Attributes:
        model: `organism`, hub name or directory.
        pairs: Named sets or files; each is a behaviour.
        out: Folder for everything it writes.
        terms: How texts are written and methods varied.
        methods: Names of contenders, separated by commas, or all; None is the usual five.
        kl: Nats per token on dev to which every method is calibrated.
        fits: How often each method is made: from train, then from resampled groups of it.
        budget: Trials of random search for each method; 0 is none.
        words: A text with one of these shows the behaviour; empty: the named set's own judge, or
            the share whose desired continuation is the likelier.
        instruction: Put before the prompts, for the row `prompting`.
        backend: See `load_model`.
        device: See `load_model`.
        dev_prompts: At most so many to choose and calibrate on.
    """

    model: str
    pairs: tuple[str, ...]
    out: Path
    terms: ComparisonConfig
    methods: str | None = None
    kl: float = 0.1
    fits: int = 1
    budget: int = 0
    words: tuple[str, ...] = ()
    instruction: str = ""
    backend: Literal["bridge", "hooked"] = "bridge"
    device: str | None = None
    dev_prompts: int = 48

    def __post_init__(self) -> None:
        if not (isfinite(self.kl) and self.kl > 0):
            raise ValueError(f"kl {self.kl:g}: expected nats per token, above 0")

    def judge(self, pairs: str) -> Judge | None:
        """What texts are scored by."""
        return judge_of(pairs, self.words)


@dataclass(frozen=True, eq=False)
class Behaviour:
    """One set of pairs, split, with its judge and what methods are made of.

    Attributes:
        name: Of the set.
        dev: To choose and calibrate on.
        test: To report on.
        judge: See `CompareSettings.judge`.
        inputs: Of the methods.
        origin: What trials and methods are marked with; of all sets that are run together.
    """

    name: str
    dev: ContrastivePairs
    test: ContrastivePairs
    judge: Judge | None
    inputs: FitCache
    origin: Mapping[str, Any]


def prepared(
    model: SteerableModel,
    pairs: ContrastivePairs,
    settings: CompareSettings,
    marks: Mapping[str, Any],
) -> Behaviour:
    """Split, with a judge.

    Args:
        marks: See `Behaviour.origin`.

    Raises:
        ValueError: If the pairs are too few, or unpaired without a judge.
    """
    train, dev, test = pairs.split(*SHARES, seed=settings.terms.seed)
    judge = settings.judge(pairs.name)
    if judge is None and not pairs.paired:
        raise ValueError(f"{pairs!r}: without pairs, --words must say what shows the behaviour")
    few = dev.first(settings.dev_prompts)
    return Behaviour(pairs.name, few, test, judge, FitCache(model, train), marks)


def origin(
    model: SteerableModel, settings: CompareSettings, sources: Sequence[ContrastivePairs]
) -> dict[str, Any]:
    """What every row and method is marked with: a run may only be continued on the same terms.

    Everything by its content: the settings, the pairs and the weights (SHA-256), the versions.
    """
    own = asdict(settings) | {"pairs": [pairs.name for pairs in sources]}  # not where files lie
    del own["out"], own["budget"]  # where it lies, and what is only added to it
    data = {pairs.name: _sha256_of_pairs(pairs) for pairs in sources}
    seen = attach(model).fingerprint
    weights = {"architecture": seen.architecture, "weights": _sha256_of_weights(model)}
    return own | weights | {"data": data, "versions": versions(), "form": _FORM}


def distinct_names(sources: Sequence[ContrastivePairs]) -> None:
    """Raise a ValueError if two sets have one name: their trials and files would be mixed up."""
    stems = [stem(pairs.name) for pairs in sources]
    twice = [pairs.name for pairs in sources if stems.count(stem(pairs.name)) > 1]
    if twice:
        raise ValueError(
            f"two sets of pairs are called {' and '.join(map(repr, dict.fromkeys(twice)))}: "
            "rename a file, or compare them in runs of their own"
        )


def stem(name: str) -> str:
    """The name of a set as it is written in the names of files."""
    return name.replace(":", "-")


def _sha256_of_pairs(pairs: ContrastivePairs) -> str:
    rows = as_records(pairs.desired, pairs.undesired, paired=pairs.paired)
    return hashlib.sha256(json.dumps([pairs.paired, rows]).encode()).hexdigest()


def _sha256_of_weights(model: Any) -> str:
    found = hashlib.sha256()
    for parameter in model.parameters():
        rows = parameter.detach().cpu().contiguous()
        found.update(f"{rows.dtype} {tuple(rows.shape)}".encode())
        found.update(memoryview(rows.flatten().view(torch.uint8).numpy()))
    return found.hexdigest()
