"""The levels of the design: behaviours, halves of train, read positions, layers and methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

import lens_steer as ls
from analyses.registered.methods import METHODS as REGISTERED
from analyses.registered.tasks import TASKS, task
from lens_steer.benchmark import FAMILIES, SHARES, Make
from lens_steer.cli import check_each_pairs
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge, judge_of
from lens_steer.steering import Decoding

FACTORS = ("behaviour", "fit", "read", "layer", "method")
WITHIN = FACTORS[1:]  # a behaviour
Read = Literal["last", "last but one", "mean"]
READS: tuple[Read, ...] = get_args(Read)
_POSITIONS: dict[str, Any] = {"last but one": -2}  # as `capture` names it, where that is another
NATS = 0.1  # per token
CALIBRATED_ON = 8  # dev prompts
TEMPERATURE = 0.7
_SPREAD = 6  # layers
_TEXT_FITS = 2
_NEEDS_DATA = ("sentiment",)  # the judge of that registered task is fitted

# Methods whose whole structure is one layer and one read position. MeanAcT is left out: at one cost
# it is CAA, and two names of one method would make methods seem alike.
METHODS: dict[str, Make] = {
    "CAA": FAMILIES["CAA"].make,
    "RepE": FAMILIES["RepE"].make,
    "LinearAcT": FAMILIES["LinearAcT"].make,
    "MiMiC": FAMILIES["MiMiC"].make,
    "one-step linear probe": REGISTERED["one-step linear probe"].make,
    "ODESteer": FAMILIES["ODESteer"].make,
}


@dataclass(frozen=True)
class Design:
    """The levels of the factors, and how much is measured in a cell.

    Attributes:
        fits: Halves of train, drawn by group.
        reads: Read positions.
        layers: Blocks behind which methods act.
        methods: Names of `METHODS`.
        prompts: Test pairs whose preference is read, at most.
        text_prompts: Test prompts that texts are written after, at most; 0 writes none.
        tokens: The largest number of tokens of each text.
        seed: Of the split, the halves and the texts.
    """

    fits: int
    reads: tuple[Read, ...]
    layers: tuple[int, ...]
    methods: tuple[str, ...]
    prompts: int
    text_prompts: int
    tokens: int
    seed: int

    @property
    def decoding(self) -> Decoding:
        """How texts are written and steered: the last prompt token and every one after it."""
        return Decoding(temperature=TEMPERATURE, max_new_tokens=self.tokens, seed=self.seed)

    def cells(self) -> list[dict[str, Any]]:
        """Read position, layer and method of every cell of one fit."""
        return [
            {"read": read, "layer": layer, "method": method}
            for read in self.reads
            for layer in self.layers
            for method in self.methods
        ]

    @property
    def text_fits(self) -> range:
        """The fits by which texts are written: two."""
        return range(min(_TEXT_FITS, self.fits))

    @property
    def text_layers(self) -> tuple[int, ...]:
        """The layers in which texts are written: every second one."""
        return self.layers[1::2] or self.layers


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What is steered towards: pairs in three parts, and who judges texts.

    Attributes:
        name: Of the registered task, the named set or the file.
        pairs: All of them.
        train: The pairs of which halves are drawn.
        dev: The pairs along whose prompts methods are brought to one cost.
        test: The pairs that are measured.
        judge: Of texts; None takes the likelier of a pair's sides.
    """

    name: str
    pairs: ContrastivePairs
    train: ContrastivePairs
    dev: ContrastivePairs
    test: ContrastivePairs
    judge: Judge | None

    @classmethod
    def of(cls, name: str, seed: int) -> "Behaviour":
        """Split the pairs of a registered task, a named set or a file, by groups.

        Raises:
            ValueError: If there are none, too few, or two texts of no common prompt.
        """
        if name in registered():
            made = task(name, None)
            pairs, judge = made.pairs, made.judge
        else:
            pairs, judge = ContrastivePairs.load(name), judge_of(name)
        if not pairs.paired:
            raise ValueError(f"{name}: its texts are not paired, expected two endings of a prompt")
        train, dev, test = pairs.split(*SHARES, seed=seed)
        return cls(name, pairs, train, dev, test, judge)

    def half(self, fit: int, seed: int) -> ContrastivePairs:
        """A random half of train, whole groups: another for each fit.

        Raises:
            ValueError: If train cannot be divided.
        """
        drawn = int(np.random.default_rng([seed, fit]).integers(2**31))
        return self.train.split(0.5, 0.5, seed=drawn)[0]


def registered() -> list[str]:
    """The registered tasks that can be named as pairs: those that need no data."""
    return [name for name in TASKS if name not in _NEEDS_DATA]


def check_behaviours(names: Sequence[str]) -> None:
    """Raise a ValueError unless each is a registered task, a named set or a file of pairs."""
    check_each_pairs([name for name in names if name not in registered()])


def method_names(names: str) -> tuple[str, ...]:
    """Names of methods separated by commas; `all` is every one.

    Raises:
        ValueError: If there is no such method, or one comes twice.
    """
    chosen = tuple(METHODS) if names == "all" else tuple(n.strip() for n in names.split(","))
    if not set(chosen) <= set(METHODS) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"got the methods {names!r}, expected all, or some of {', '.join(METHODS)}, none twice"
        )
    return chosen


def layers_of(model: ls.SteerableModel, layers: Sequence[int] | None) -> tuple[int, ...]:
    """These layers; if there are none, all of a model, or six that are spread over it.

    Raises:
        ValueError: If the model has no such layer.
    """
    n = int(model.cfg.n_layers)
    if layers is None:
        return tuple(dict.fromkeys(int(i) for i in np.linspace(0, n - 1, _SPREAD).round()))
    if max(layers) >= n:
        raise ValueError(f"--layers: got {max(layers)}, expected numbers below {n}")
    return tuple(layers)


def position(read: Read) -> Any:
    """A read position as `capture` takes it."""
    return _POSITIONS.get(read, read)


def setting(cell: Mapping[str, Any]) -> dict[str, Any]:
    """What a method of a cell is made of."""
    return {"layer": cell["layer"], "read": position(cell["read"])}
