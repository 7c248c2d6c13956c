"""The stages of a demo: read, screen by likelihood, choose by texts, report on test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from time import perf_counter
from typing import Any

from lens_steer.activations import Activations, SeparabilityReport, capture
from lens_steer.cli.demo_plan import COSTS, DemoPlan, Rates, Sizes
from lens_steer.cli.demo_settings import DemoSettings
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    Choice,
    FixedTexts,
    LocalNats,
    Screen,
    SweepReport,
    calibrate_along,
    choose,
    random_like,
    screen,
    sweep,
)
from lens_steer.models import SteerableModel, encode, encode_prompt
from lens_steer.steering import CAA, generate

Parts = tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs]  # train, dev, test

SCREEN_COST = COSTS[1]  # nats per token that each layer's push costs when it is screened
# On which the rates are measured: as large as the batches of the stages, or nearly so.
_TIMED_PAIRS, _TIMED_PROMPTS, _TIMED_TOKENS = 16, 64, 6


@dataclass(frozen=True, eq=False)
class DemoStages:
    """A model, the parts of its pairs cut to a plan, and what each stage makes of them.

    Attributes:
        model: The model.
        train: The pairs to fit on.
        dev: The pairs to choose on.
        test: The pairs to report on.
        settings: What the demo is run on.
        plan: How much of everything is looked at.
    """

    model: SteerableModel
    train: ContrastivePairs
    dev: ContrastivePairs
    test: ContrastivePairs
    settings: DemoSettings
    plan: DemoPlan

    @classmethod
    def of(
        cls, model: SteerableModel, parts: Parts, settings: DemoSettings, plan: DemoPlan
    ) -> "DemoStages":
        """The stages of a plan, with as many pairs of each part as it takes."""
        train, dev, test = parts
        return cls(
            model,
            train.spread(plan.train),
            dev.spread(max(plan.dev, plan.screened, plan.cost_texts)),
            test.spread(plan.test),
            settings,
            plan,
        )

    @property
    def seen(self) -> ContrastivePairs:
        """The pairs of dev whose likelihood is looked at."""
        return self.dev.spread(self.plan.screened)

    @property
    def how(self) -> dict[str, Any]:
        """How texts are judged and written."""
        return {"judge": self.settings.judge, "decoding": self.settings.decoding}

    def read(self) -> Activations:
        """The activations of train, at every layer."""
        return capture(self.model, self.train, "resid", read=self.settings.read)

    def separability(self, activations: Activations) -> SeparabilityReport:
        """How far apart the classes are, by layer, on dev."""
        held_out = capture(self.model, self.seen, "resid", read=self.settings.read, progress=False)
        return SeparabilityReport.fit(
            activations, held_out, seed=self.settings.seed, groups=self.seen.example_groups
        )

    def cost_texts(self) -> FixedTexts:
        """Unsteered texts of dev prompts, along which costs are measured."""
        decoding = self.settings.decoding
        if decoding.temperature == 0:
            decoding = replace(decoding, temperature=1.0)  # greedy texts have no finite divergence
        return FixedTexts.sample(
            self.model, self.dev.spread(self.plan.cost_texts), decoding=decoding
        )

    def screen(self, activations: Activations, texts: FixedTexts) -> Screen:
        """CAA at evenly spaced layers, all at one cost: which make the desired texts likelier.

        Raises:
            OutOfReach: If a layer's push cannot cost so much.
            ValueError: If the classes are equal at every layer that may be steered.
        """
        methods = candidate_layers(activations, self.settings.layers, self.plan.layers)
        local = LocalNats.along_each(self.model, methods, texts)
        candidates = [
            method.with_strength(cost.strength_at(SCREEN_COST))
            if isinstance(cost, LocalNats)
            else calibrate_along(self.model, method, texts, kl=SCREEN_COST, progress=False)
            for method, cost in zip(methods, local, strict=True)
        ]
        return screen(
            self.model,
            self.seen,
            candidates,
            scope=self.settings.scope,
            sink=self.settings.sink,
            seed=self.settings.seed,
            progress=True,
        )

    def choose(self, screened: Screen) -> Choice:
        """Texts on dev at the layers of the largest gain, each at several costs.

        Raises:
            ValueError: If all of them break the texts, see `choose`.
        """
        best = screened.best(min(self.plan.tried, len(screened.candidates)))
        methods = [screened.candidates[i] for i in best]
        return choose(
            self.model,
            self.dev.spread(min(self.plan.dev, self.settings.dev_prompts)),
            [m.with_strength(m.strength * sqrt(c / SCREEN_COST)) for m in methods for c in COSTS],
            **self.how,
        )

    def sweep(self, choice: Choice, texts: FixedTexts) -> SweepReport:
        """Behaviour and perplexity on test against nats, beside a random direction.

        Raises:
            OutOfReach: If the random direction cannot cost as much as the method.
        """
        method, cost = choice.best, COSTS[choice.best_index % len(COSTS)]
        seeds = [self.settings.seed]
        [reference] = random_like(self.model, method, texts, seeds=seeds, kl=cost)
        multiples = [0.0, *(sqrt(level / cost) for level in self.plan.levels)]
        return sweep(
            self.model,
            self.test,
            method,
            reference,
            [method.strength * multiple for multiple in multiples],
            reference_strengths=[reference.strength * multiple for multiple in multiples],
            behaviour_name=self.settings.behaviour_name,
            **self.how,
        )


def candidate_layers(
    activations: Activations, allowed: Sequence[int] | None, most: int
) -> list[CAA]:
    """CAA at evenly spaced layers at which the classes differ.

    Args:
        allowed: The layers to take from; None is all.
        most: How many layers, at most.

    Raises:
        ValueError: If the classes are equal at every layer.
    """
    layers = [
        layer
        for layer in activations.layers
        if (allowed is None or layer in allowed) and bool(activations.at(layer).direction.any())
    ]
    if not layers:
        raise ValueError("the classes are equal at every layer read: read another position")
    n = min(most, len(layers))
    kept = [layers[int((i + 0.5) * len(layers) / n)] for i in range(n)]
    return [CAA.fit(activations.at(layer)) for layer in kept]


def measured_rates(model: SteerableModel, parts: Parts, settings: DemoSettings) -> Rates:
    """What the model does in a second: on a batch of texts, after one that warms everything up."""
    train, dev, _ = parts
    pairs, prompts = train.first(_TIMED_PAIRS), dev.prompts[:_TIMED_PROMPTS]
    few = replace(
        settings.decoding, max_new_tokens=min(_TIMED_TOKENS, settings.decoding.max_new_tokens)
    )
    capture(model, pairs.first(1), "resid", read=settings.read, progress=False)
    start = perf_counter()
    capture(model, pairs, "resid", read=settings.read, progress=False)
    between = perf_counter()
    generate(model, prompts, decoding=few)
    end = perf_counter()
    examples = (*pairs.desired, *pairs.undesired)
    read = sum(len(encode(model, e.prompt, e.continuation).ids) for e in examples)
    prompt = sum(len(encode_prompt(model, prompt)) for prompt in prompts)
    rate = read / (between - start)
    drawing = max(end - between - prompt / rate, (end - between) / 2)  # the prompts are read too
    return Rates(rate, len(prompts) * few.max_new_tokens / drawing)


def sizes_of(
    model: SteerableModel, parts: Parts, settings: DemoSettings, *, methods: int, fitted: int
) -> Sizes:
    """What the work of a demo depends on, for its plan."""
    train, dev, test = parts
    few = [*train.desired[:16], *train.undesired[:16]]
    rows = [encode(model, example.prompt, example.continuation) for example in few]
    cfg: Any = model.cfg
    return Sizes(
        train=len(train.desired) + len(train.undesired),
        dev=len(dev.prompts),
        dev_prompts=settings.dev_prompts,
        test=len(test.prompts),
        layers=int(cfg.n_layers) if settings.layers is None else len(settings.layers),
        width=int(cfg.d_model),
        example=sum(len(row.ids) for row in rows) / len(rows),
        prompt=sum(row.prompt_length for row in rows) / len(rows),
        new_tokens=settings.decoding.max_new_tokens,
        methods=methods,
        fitted=fitted,
        judged=settings.judge is not None,
    )
