"""Running a comparison, unit by unit: a unit is a method's fit with a seed, at every strength."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from lens_steer.benchmark.config import ComparisonConfig
from lens_steer.benchmark.learned import learn
from lens_steer.benchmark.references import Rewrite, best_of_n, instructed, prompted
from lens_steer.benchmark.trials import Trial, fixed_costs
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Evaluation,
    FixedTexts,
    Judge,
    check_scorable,
    evaluate_each,
    random_like,
)
from lens_steer.models import SteerableModel, attach
from lens_steer.sites import Site
from lens_steer.steering import Decoding, Intervention

Fits = Intervention | Sequence[Intervention]
NamedMethods = Sequence[Intervention] | Mapping[str, Fits]
Key = tuple[str, int, int]  # method, fit, seed
REFERENCES = ("unsteered", "random", "prompting", "best of n", "learned")


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
                reference, there is neither a judge nor pairs, or the cost of the instruction would
                be infinite because n-grams are ruled out.
        """
        by_name = methods_by_name(methods)
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

    def units(self) -> dict[Key, Callable[[], list[Trial]]]:
        """The units of work in their order: each runs a fit with a seed, at every strength."""
        units: dict[Key, Callable[[], list[Trial]]] = {}
        for seed in range(self.config.seed, self.config.seed + self.config.seeds):
            units["unsteered", 0, seed] = partial(self._unsteered, seed)
            for fit in range(self.config.randoms):
                units["random", fit, seed] = partial(self._random, fit, seed)
            if self.rewrite is not None:
                units["prompting", 0, seed] = partial(self._prompting, self.rewrite, seed)
            if self.judge is not None:
                units["best of n", 0, seed] = partial(self._best_of_n, self.judge, seed)
            if self.train is not None:
                units["learned", 0, seed] = partial(self._learned, seed)
            for name, fits in self.methods.items():
                for fit, method in enumerate(fits):
                    units[name, fit, seed] = partial(self._steered, name, fit, method, seed)
        return units

    def run(self, done: Collection[Key] = ()) -> Iterator[tuple[Key, list[Trial]]]:
        """The trials of each unit that is not done."""
        for key, unit in self.units().items():
            if key not in done:
                yield key, unit()

    @property
    def first(self) -> Intervention:
        """The method whose size the random direction has, and whose site the learned vector."""
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

    def _random(self, fit: int, seed: int) -> list[Trial]:
        return self._steered("random", fit, self.random(fit), seed)

    def _learned(self, seed: int) -> list[Trial]:
        return self._steered("learned", 0, self.learned, seed)

    def random(self, fit: int) -> Intervention:
        """A random direction of the first method's size: the same for every seed of the texts."""
        texts, seed = self._texts(self.config.seed), self.config.seed + fit
        return random_like(self.model, self.first, texts, seeds=[seed])[0]

    @cached_property
    def learned(self) -> Intervention:
        """The vector learned from `train`, its edits as large as the first method's on average.

        Raises:
            ValueError: If there is none.
        """
        if self.train is None:
            raise ValueError("nothing to learn a vector from: pass train=")
        site, config = Site(self.first.sites[0].layer), self.config
        method = learn(
            self.model,
            self.train,
            site,
            scope=config.steered_scope,
            seed=config.seed,
            progress=False,
        )
        texts = self._texts(config.seed)
        sizes, wanted = texts.sizes(self.model, [(method,), (self.first,)])
        return method.with_strength(wanted.relative_norm / sizes.relative_norm)

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

    @cached_property
    def _sampled(self) -> dict[int, FixedTexts]:
        return {}

    def _decoding(self, seed: int) -> Decoding:
        return replace(self.config.decoding, seed=seed)

    def _evaluated(self, methods: Sequence[Intervention | None], seed: int) -> list[Evaluation]:
        decoding = self._decoding(seed)
        return evaluate_each(self.model, self.pairs, methods, judge=self.judge, decoding=decoding)

    def _trial(self, name: str, fit: int, seed: int, multiple: float, *rest: Any) -> Trial:
        return Trial(name, self.behaviour_name, self.model_name, fit, seed, multiple, *rest)


def references_first(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, references first."""
    ordered = list(names)
    return tuple(dict.fromkeys([*(name for name in REFERENCES if name in ordered), *ordered]))


def methods_by_name(methods: NamedMethods) -> dict[str, tuple[Intervention, ...]]:
    """Fits by name; methods without a name are called by their class, and numbered if alike.

    Raises:
        ValueError: If there are none, or a name is that of a reference.
    """
    if isinstance(methods, Intervention):
        raise ValueError(f"got one method {methods!r}, expected a list of them: write [method]")
    by_name: dict[str, tuple[Intervention, ...]] = {}
    if isinstance(methods, Mapping):
        for name, fits in methods.items():
            by_name[name] = (fits,) if isinstance(fits, Intervention) else tuple(fits)
    else:
        kinds = [type(method).__name__ for method in methods]
        for i, (kind, method) in enumerate(zip(kinds, methods, strict=True)):
            before = kinds[:i].count(kind)
            by_name[f"{kind} {before + 1}" if before else kind] = (method,)
    if not by_name or not all(by_name.values()):
        raise ValueError(f"got the methods {methods!r}, expected at least one, none without a fit")
    reserved = sorted(set(by_name) & set(REFERENCES))
    if reserved:
        raise ValueError(f"the names {reserved} are those of references: give the methods others")
    return by_name
