"""Running a comparison, unit by unit: a unit is a method's fit with a seed, at every strength."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import product
from typing import Any

from lens_steer.benchmark.config import RANDOMS, REFERENCES, ComparisonConfig
from lens_steer.benchmark.controls import RandomControls
from lens_steer.benchmark.learned import learn
from lens_steer.benchmark.method_names import NamedMethods, methods_by_name
from lens_steer.benchmark.references import Rewrite, best_of_n, instructed, prompted
from lens_steer.benchmark.trials import Trial, fixed_costs
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Evaluation, FixedTexts, Judge, check_scorable, evaluate_each
from lens_steer.models import SteerableModel, attach
from lens_steer.reports import short_repr
from lens_steer.sites import Site
from lens_steer.steering import Decoding, Intervention

Key = tuple[str, int, int]  # method, fit, seed
LEARNING = {"steps": 10, "batch": 16}  # of the vector `learned`
_NEEDED = {"prompting": "instruction", "best of n": "a judge", "learned": "train, other pairs"}
Tick = Callable[[int], object]  # told how much work has been done


@dataclass(frozen=True, eq=False)
class ComparisonRun:
    """Methods on the prompts of one behaviour, beside what they have to beat.

    Attributes:
        model: The model that is steered.
        pairs: The prompts to test on.
        methods: The fits of each method, by name.
        judge: See `evaluate`.
        config: How texts are written and methods varied, the same for all.
        train: Other pairs, for the method `learned`; None leaves it out.
        rewrite: How prompts are rewritten for the method `prompting`; None leaves it out.
        behaviour_name: The name of the behaviour in tables.
        model_name: The name of the model in tables.
    """

    model: SteerableModel
    pairs: ContrastivePairs
    methods: dict[str, tuple[Intervention, ...]]
    judge: Judge | None
    config: ComparisonConfig
    train: ContrastivePairs | None = None
    rewrite: Rewrite | None = None
    behaviour_name: str = ""
    model_name: str = ""
    _sampled: dict[int, FixedTexts] = field(default_factory=dict, init=False, repr=False)
    _vectors: list[Intervention] = field(default_factory=list, init=False, repr=False)

    __repr__ = short_repr

    @classmethod
    def of(  # noqa: PLR0913 - what a comparison is made of
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: NamedMethods,
        *,
        judge: Judge | None = None,
        config: ComparisonConfig,
        train: ContrastivePairs | None = None,
        instruction: str | Rewrite | None = None,
        behaviour_name: str | None = None,
        model_name: str | None = None,
    ) -> "ComparisonRun":
        """A run with its methods named, after all checks that are possible before hours of work.

        Raises:
            ValueError: If there are no methods, one does not fit the model, a name is that of a
                reference, what a reference of the config needs is not given, there is neither a
                judge nor pairs, or the cost of the instruction would
                be infinite because n-grams are ruled out.
        """
        by_name = methods_by_name(methods)
        given = {"prompting": instruction, "best of n": judge, "learned": train}
        for name in config.references or ():
            if name in given and given[name] is None:
                raise ValueError(f"the reference {name!r} needs {_NEEDED[name]}: pass it")
        check_scorable(pairs, judge)
        for fits in by_name.values():
            for method in fits:
                method.checked_edits(model)
        if train is not None and not (isinstance(train, ContrastivePairs) and train.paired):
            raise ValueError(f"got train={train!r}, expected paired texts to learn a vector from")
        if instruction is not None and config.no_repeat_ngram > 0:
            raise ValueError(
                f"no_repeat_ngram {config.no_repeat_ngram} with an instruction: after different "
                "prompts different tokens are ruled out, and the cost is infinite; expected 0, or "
                "no instruction"
            )
        return cls(
            model,
            pairs,
            by_name,
            judge,
            config,
            train,
            rewrite=instructed(instruction) if isinstance(instruction, str) else instruction,
            behaviour_name=behaviour_name or pairs.name,
            model_name=model_name or attach(model).fingerprint.architecture,
        )

    @property
    def references(self) -> tuple[str, ...]:
        """The references that are made: those of the config or, of all, those that can be."""
        given = {"prompting": self.rewrite, "best of n": self.judge, "learned": self.train}
        wanted = REFERENCES if self.config.references is None else self.config.references
        return tuple(name for name in wanted if given.get(name, name) is not None)

    def units(self, tick: Tick | None = None) -> dict[Key, Callable[[], list[Trial]]]:
        """The units of work in their order: each runs a fit with a seed, at every strength.

        Args:
            tick: Called with what learning a vector has taken, step by step, see `work`.
        """
        units: dict[Key, Callable[[], list[Trial]]] = {}
        made = self.references
        for seed in range(self.config.seed, self.config.seed + self.config.seeds):
            units["unsteered", 0, seed] = partial(self._unsteered, seed)
            randoms = [name for name in RANDOMS if name in made]
            for name, fit in product(randoms, range(self.config.randoms)):
                units[name, fit, seed] = partial(self._random, name, fit, seed)
            if "prompting" in made and self.rewrite is not None:
                units["prompting", 0, seed] = partial(self._prompting, self.rewrite, seed)
            if "best of n" in made and self.judge is not None:
                units["best of n", 0, seed] = partial(self._best_of_n, self.judge, seed)
            if "learned" in made:
                units["learned", 0, seed] = partial(self._learned, seed, tick)
            for name, fits in self.methods.items():
                for fit, method in enumerate(fits):
                    units[name, fit, seed] = partial(self._steered, name, fit, method, seed)
        return units

    def work(self, key: Key) -> int:
        """How much work a unit is, in texts written; learning comes on top, see `learning`."""
        strengths = {"unsteered": 1, "prompting": 1, "best of n": self.config.best_of}
        return len(self.pairs.prompts) * strengths.get(key[0], len(self.config.multiples))

    @property
    def learning(self) -> int:
        """How much work it is to learn a vector: a step is as many texts as its batch has."""
        if "learned" not in self.references or self.train is None:
            return 0
        return LEARNING["steps"] * min(LEARNING["batch"], len(self.train))

    def run(
        self, done: Collection[Key] = (), *, tick: Tick | None = None
    ) -> Iterator[tuple[Key, list[Trial]]]:
        """The trials of each unit that is not done; `tick` as in `units`."""
        for key, unit in self.units(tick).items():
            if key not in done:
                yield key, unit()

    @property
    def first(self) -> Intervention:
        """The method whose nats random directions cost, and whose site the learned vector has."""
        return next(iter(self.methods.values()))[0]

    def _unsteered(self, seed: int) -> list[Trial]:
        texts = self._texts(seed)
        [evaluation] = self._evaluated([None], seed)
        [fixed] = fixed_costs(self.model, texts, [None])
        return [self._trial("unsteered", 0, seed, 0.0, "the model as it is", evaluation, fixed)]

    def _steered(self, name: str, fit: int, method: Intervention, seed: int) -> list[Trial]:
        multiples = self.config.multiples
        scaled = [method.with_strength(method.strength * multiple) for multiple in multiples]
        evaluations = self._evaluated(scaled, seed)
        costs = fixed_costs(self.model, self._texts(seed), scaled)
        return [
            self._trial(name, fit, seed, multiple, repr(scaled[i]), evaluations[i], costs[i])
            for i, multiple in enumerate(multiples)
        ]

    def _random(self, name: str, fit: int, seed: int) -> list[Trial]:
        return self._steered(name, fit, self.random(fit, name), seed)

    def _learned(self, seed: int, tick: Tick | None) -> list[Trial]:
        return self._steered("learned", 0, self._vector(tick), seed)

    def random(self, fit: int, name: str = "random") -> Intervention:
        """A random direction that costs what the first method does: the same for every seed."""
        return self._controls.direction(name, fit)

    @cached_property
    def _controls(self) -> RandomControls:
        seed = self.config.seed
        return RandomControls(self.model, self.first, self._texts(seed), seed)

    @property
    def learned(self) -> Intervention:
        """The vector learned from `train`, its edits as large as the first method's on average.

        Raises:
            ValueError: If there is none.
        """
        return self._vector(None)

    def _vector(self, tick: Tick | None) -> Intervention:
        """The vector, learned once however often it is asked for; `tick` as in `units`."""
        if self.train is None:
            raise ValueError("nothing to learn a vector from: pass train=")
        if not self._vectors:
            site, config = Site(self.first.sites[0].layer), self.config
            each = None if tick is None else partial(tick, self.learning // LEARNING["steps"])
            how: dict[str, Any] = {"scope": config.steered_scope, "seed": config.seed, **LEARNING}
            method = learn(self.model, self.train, site, on_step=each, progress=False, **how)
            texts = self._texts(config.seed)
            sizes, wanted = texts.sizes(self.model, [(method,), (self.first,)])
            self._vectors.append(method.with_strength(wanted.relative_norm / sizes.relative_norm))
        return self._vectors[0]

    def _prompting(self, rewrite: Rewrite, seed: int) -> list[Trial]:
        evaluation = prompted(
            self.model, self.pairs, rewrite, judge=self.judge, decoding=self._decoding(seed)
        )
        description = f"prompts such as {rewrite(self.pairs.prompts[0])!r}"
        return [self._trial("prompting", 0, seed, 1.0, description, evaluation, None)]

    def _best_of_n(self, judge: Judge, seed: int) -> list[Trial]:
        n = self.config.best_of
        evaluation = best_of_n(
            self.model, self.pairs, n, judge=judge, decoding=self._decoding(seed)
        )
        return [self._trial("best of n", 0, seed, 1.0, f"n = {n}", evaluation, None)]

    def _texts(self, seed: int) -> FixedTexts:
        if seed not in self._sampled:
            decoding = self._decoding(seed)
            self._sampled[seed] = FixedTexts.sample(self.model, self.pairs, decoding=decoding)
        return self._sampled[seed]

    def _decoding(self, seed: int) -> Decoding:
        return replace(self.config.decoding, seed=seed)

    def _evaluated(self, methods: Sequence[Intervention | None], seed: int) -> list[Evaluation]:
        decoding = self._decoding(seed)
        return evaluate_each(self.model, self.pairs, methods, judge=self.judge, decoding=decoding)

    def _trial(self, name: str, fit: int, seed: int, multiple: float, *rest: Any) -> Trial:
        return Trial(name, self.behaviour_name, self.model_name, fit, seed, multiple, *rest)
