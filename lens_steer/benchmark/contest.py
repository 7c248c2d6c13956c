"""Running a comparison, unit by unit: a unit is a method's fit with a seed, at every strength."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lens_steer.benchmark.learned import learn
from lens_steer.benchmark.references import Rewrite, best_of_n, instructed, prompted, random_like
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.benchmark.trials import Trial, fixed_costs
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, Judge, check_scorable, evaluate_each
from lens_steer.models import SteerableModel, attach
from lens_steer.sites import Site
from lens_steer.steering import Intervention

Fits = Intervention | Sequence[Intervention]
Named = Sequence[Intervention] | Mapping[str, Fits]
Key = tuple[str, int, int]  # method, fit, seed
REFERENCES = ("unsteered", "random", "prompting", "best of n", "learned")


@dataclass(frozen=True, eq=False)
class ComparisonRun:
    """Methods on the prompts of one behaviour, beside what they have to beat.

    Attributes:
        model: That is steered.
        pairs: Prompts to test on.
        methods: Fits of each, by name.
        judge: See `evaluate`.
        terms: The same for all.
        train: Other pairs, for the method `learned`; None leaves it out.
        rewrite: For the method `prompting`; None leaves it out.
        behaviour_name: In tables.
        model_name: In tables.
    """

    model: SteerableModel
    pairs: ContrastivePairs
    methods: dict[str, tuple[Intervention, ...]]
    judge: Judge | None
    terms: ComparisonConfig
    train: ContrastivePairs | None = None
    rewrite: Rewrite | None = None
    behaviour_name: str = ""
    model_name: str = ""

    @classmethod
    def of(  # noqa: PLR0913 - what a comparison is made of
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Named,
        *,
        judge: Judge | None = None,
        terms: ComparisonConfig,
        train: ContrastivePairs | None = None,
        instruction: str | Rewrite | None = None,
        behaviour_name: str | None = None,
        model_name: str | None = None,
    ) -> "ComparisonRun":
        """Names put in order, and everything checked that can be before hours of work.

        Raises:
            ValueError: If there are no methods, one does not fit the model, a name is taken, or
                there is neither a judge nor pairs.
        """
        found = named(methods)
        check_scorable(pairs, judge)
        for fits in found.values():
            for method in fits:
                method.checked_edits(model)
        if train is not None and not (isinstance(train, ContrastivePairs) and train.paired):
            raise ValueError(f"got train={train!r}, expected paired texts to learn a vector from")
        rewrite = instructed(instruction) if isinstance(instruction, str) else instruction
        name = model_name or attach(model).fingerprint.architecture
        shown = behaviour_name or pairs.name
        return cls(model, pairs, found, judge, terms, train, rewrite, shown, name)

    def units(self) -> dict[Key, Callable[[], list[Trial]]]:
        """What is to be run, in order."""
        found: dict[Key, Callable[[], list[Trial]]] = {}
        seeds = range(self.terms.seed, self.terms.seed + self.terms.seeds)
        for seed in seeds:
            found["unsteered", 0, seed] = lambda s=seed: self._unsteered(s)
            for fit in range(self.terms.randoms):
                found["random", fit, seed] = lambda f=fit, s=seed: self._random(f, s)
            if self.rewrite is not None:
                found["prompting", 0, seed] = lambda s=seed: self._prompting(s)
            if self.judge is not None:
                found["best of n", 0, seed] = lambda s=seed: self._best_of_n(s)
            if self.train is not None:
                found["learned", 0, seed] = lambda s=seed: self._learned(s)
            for name, fits in self.methods.items():
                for fit, method in enumerate(fits):
                    found[name, fit, seed] = lambda n=name, f=fit, m=method, s=seed: self._steered(
                        n, f, m, s
                    )
        return found

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
        [found] = evaluate_each(self.model, self.pairs, [None], **self._decoding(seed))
        [fixed] = fixed_costs(self.model, texts, [None])
        return [self._trial("unsteered", 0, seed, 0.0, "the model as it is", found, fixed)]

    def _steered(self, name: str, fit: int, method: Intervention, seed: int) -> list[Trial]:
        multiples = self.terms.multiples
        each = [method.with_strength(method.strength * multiple) for multiple in multiples]
        found = evaluate_each(self.model, self.pairs, each, **self._decoding(seed))
        fixed = fixed_costs(self.model, self._texts(seed), each)
        rows = zip(multiples, each, found, fixed, strict=True)
        return [self._trial(name, fit, seed, m, repr(way), f, c) for m, way, f, c in rows]

    def _random(self, fit: int, seed: int) -> list[Trial]:
        return self._steered("random", fit, self.random(fit), seed)

    def _learned(self, seed: int) -> list[Trial]:
        return self._steered("learned", 0, self.learned, seed)

    def random(self, fit: int) -> Intervention:
        """A random direction of the first method's size: the same for every seed of the texts."""
        texts, seed = self._texts(self.terms.seed), self.terms.seed + fit
        return random_like(self.model, self.first, texts, seeds=[seed])[0]

    @cached_property
    def learned(self) -> Intervention:
        """The vector learned from `train`, its edits as large as the first method's on average.

        Raises:
            ValueError: If there is none.
        """
        if self.train is None:
            raise ValueError("nothing to learn a vector from: pass train=")
        site, terms = Site(self.first.sites[0].layer), self.terms
        how: dict[str, Any] = {"scope": terms.scope, "seed": terms.seed, "progress": False}
        found = learn(self.model, self.train, site, **how)
        texts = self._texts(terms.seed)
        own, wanted = texts.sizes(self.model, [(found,), (self.first,)])
        return found.with_strength(wanted.relative_norm / own.relative_norm)

    def _prompting(self, seed: int) -> list[Trial]:
        assert self.rewrite is not None  # else there is no such unit
        found = prompted(
            *(self.model, self.pairs, self.rewrite),
            judge=self.judge,
            seed=seed,
            **self.terms.texts,
        )
        shown = f"prompts such as {self.rewrite(self.pairs.prompts[0])!r}"
        return [self._trial("prompting", 0, seed, 1.0, shown, found, None)]

    def _best_of_n(self, seed: int) -> list[Trial]:
        assert self.judge is not None  # else there is no such unit
        n = self.terms.best_of
        found = best_of_n(
            *(self.model, self.pairs, n), judge=self.judge, seed=seed, **self.terms.texts
        )
        return [self._trial("best of n", 0, seed, 1.0, f"n = {n}", found, None)]

    def _texts(self, seed: int) -> FixedTexts:
        if seed not in self._sampled:
            self._sampled[seed] = FixedTexts.sample(
                *(self.model, self.pairs), seed=seed, scope=self.terms.scope, **self.terms.texts
            )
        return self._sampled[seed]

    @cached_property
    def _sampled(self) -> dict[int, FixedTexts]:
        return {}

    def _decoding(self, seed: int) -> dict[str, Any]:
        return self.terms.decoding | {"judge": self.judge, "seed": seed}

    def _trial(self, name: str, fit: int, seed: int, multiple: float, *rest: Any) -> Trial:
        return Trial(name, self.behaviour_name, self.model_name, fit, seed, multiple, *rest)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each once, references first."""
    own = list(names)
    return tuple(dict.fromkeys((*(name for name in REFERENCES if name in own), *own)))


def named(methods: Named) -> dict[str, tuple[Intervention, ...]]:
    """Fits by name; methods without one are called by their class, and numbered if alike.

    Raises:
        ValueError: If there are none, or a name is that of a reference.
    """
    found: dict[str, tuple[Intervention, ...]] = {}
    if isinstance(methods, Intervention):
        raise ValueError(f"got one method {methods!r}, expected a list of them: write [method]")
    if isinstance(methods, Mapping):
        for name, fits in methods.items():
            found[name] = (fits,) if isinstance(fits, Intervention) else tuple(fits)
    else:
        kinds = [type(method).__name__ for method in methods]
        for i, (kind, method) in enumerate(zip(kinds, methods, strict=True)):
            before = kinds[:i].count(kind)
            found[f"{kind} {before + 1}" if before else kind] = (method,)
    if not found or not all(found.values()):
        raise ValueError(f"got the methods {methods!r}, expected at least one, none without a fit")
    taken = sorted(set(found) & set(REFERENCES))
    if taken:
        raise ValueError(f"the names {taken} are those of references: give the methods others")
    return found
