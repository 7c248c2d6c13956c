"""How much work the demo does: the largest plan that fits into the minutes that there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lens_steer.arguments import Count, Nats, Positive

COSTS: tuple[Nats, ...] = (0.05, 0.15, 0.4)  # nats per token at which a layer is tried on dev
LEVELS: tuple[Nats, ...] = (0.02, *COSTS, 1.0)  # of a long sweep on test, beside no steering

_LOCAL_PASSES = 3  # over the cost texts, to find what a strength costs
_SMALL_BATCHES = 1.5  # times as long for a token where one method writes at a time
_CALIBRATION_PASSES = 10  # over the cost texts, to calibrate one setting of a method


@dataclass(frozen=True)
class Rates:
    """What a model does in a second on this machine, measured on its first batches.

    Attributes:
        read: Tokens a second where texts are run whole.
        drawn: Tokens a second where they are drawn one after another, all texts of a batch.
    """

    read: Positive
    drawn: Positive


@dataclass(frozen=True)
class Sizes:
    """What the work depends on besides the plan.

    Attributes:
        train: Examples to fit on, of either class together.
        dev: Pairs to choose on.
        dev_prompts: How many of their prompts texts are written after, at most.
        test: Prompts to report on.
        layers: Layers that may be screened.
        width: Numbers in the residual stream.
        example: Tokens of an example, on average.
        prompt: Tokens of a prompt, on average.
        new_tokens: Tokens of a text that is written, at most.
        methods: Methods in the table; 0 for no table.
        fitted: How many of them are fitted and calibrated, none of their settings being stored.
        judged: Whether texts are judged, not the likelihood of the pairs.
    """

    train: int
    dev: int
    dev_prompts: int
    test: int
    layers: int
    width: int
    example: float | int
    prompt: float | int
    new_tokens: int
    methods: int
    fitted: int
    judged: bool


@dataclass(frozen=True)
class Work:
    """What one stage of the demo does.

    Attributes:
        stage: Its name.
        texts: Texts that are written.
        read: Tokens that are run, in texts that are run whole.
        drawn: Tokens that are drawn, each beside its unsteered copy.
    """

    stage: str
    texts: float | int
    read: float | int
    drawn: float | int

    def seconds(self, rates: Rates) -> float:
        """How long it takes at these rates."""
        return self.read / rates.read + 2 * self.drawn / rates.drawn


@dataclass(frozen=True)
class DemoPlan:
    """How much of everything is looked at.

    Attributes:
        train: Pairs to fit on, at most.
        layers: Layers whose push is screened, evenly spaced.
        screened: Pairs of dev whose likelihood is looked at.
        cost_texts: Unsteered texts along which costs are measured.
        tried: Layers with which texts are written on dev, each at three costs.
        dev: Prompts of dev that they continue, at most.
        test: Prompts of test, at most.
        levels: Nats per token of the sweep on test, beside no steering.
        jacobians: Texts whose Jacobians are averaged, for the regulators of the table.
        settings: Settings of each method of the table to choose from.
        multiples: Strengths of the table, as multiples of the calibrated one.
        every_reference: Whether the table also has the best of several texts and a learned vector.
    """

    train: Count
    layers: Count
    screened: Count
    cost_texts: Count
    tried: Count
    dev: Count
    test: Count
    jacobians: Count
    settings: Count
    levels: tuple[Nats, ...] = COSTS
    multiples: tuple[float, ...] = (1.0,)
    every_reference: bool = False

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "DemoPlan":
        """A plan as it is kept: tuples are lists there."""
        made: dict[str, Any] = dict(values)
        made |= {name: tuple(value) for name, value in made.items() if isinstance(value, list)}
        return cls(**made)

    def work(self, sizes: Sizes) -> tuple[Work, ...]:
        """What each stage does with a model and pairs of these sizes."""
        train, dev, test = (
            min(most, there)
            for most, there in (
                (2 * self.train, sizes.train),
                (self.dev, min(sizes.dev, sizes.dev_prompts)),
                (self.test, sizes.test),
            )
        )
        screened, measured = min(self.screened, sizes.dev), min(self.cost_texts, sizes.dev)
        layers, new, text = min(self.layers, sizes.layers), sizes.new_tokens, 0.0
        text = sizes.prompt + new
        pairs = 0.0 if sizes.judged else 2 * sizes.example  # run again where nothing judges texts
        local = _LOCAL_PASSES * measured * text
        tried = min(self.tried, layers) * len(COSTS) + 1
        swept = 2 * len(self.levels) + 2
        stages = [
            Work("read", 0, (train + 2 * screened) * sizes.example, 0),
            Work(
                "screen", measured, layers * (local + 2 * screened * sizes.example), measured * new
            ),
            Work("choose", tried * dev, tried * dev * pairs, tried * dev * new),
            Work("test", swept * test, local + swept * test * pairs, swept * test * new),
        ]
        if sizes.methods:
            settings = sizes.fitted * self.settings
            rows = 2 + sizes.methods * len(self.multiples) + 8 * self.every_reference
            fits = (self.jacobians * 2 * sizes.width + 4 * train * sizes.example) * (settings > 0)
            read = settings * _CALIBRATION_PASSES * measured * text + fits + 2 * rows * test * text
            written = settings * dev * (self.settings > 1) + rows * test
            drawn = _SMALL_BATCHES * written * new
            stages.append(Work("compare", written, read + written * pairs, drawn))
        return tuple(stages)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """How long it takes at these rates, from the first batch on."""
        return sum(work.seconds(rates) for work in self.work(sizes))

    def lines(self, sizes: Sizes, rates: Rates) -> Sequence[str]:
        """What is going to be done and how long it takes, in words."""
        work = self.work(sizes)
        texts, read, drawn = (sum(getattr(w, n) for w in work) for n in ("texts", "read", "drawn"))
        stages = ", ".join(f"{w.stage} {w.seconds(rates) / 60:.1f}" for w in work)
        screened, tried = (min(most, sizes.layers) for most in (self.layers, self.tried))
        return (
            f"plan     fit on {min(2 * self.train, sizes.train)} examples, screen "
            f"{screened} layer{'s' * (screened > 1)} on {min(self.screened, sizes.dev)} pairs,",
            f"         write texts at {tried} layer{'s' * (tried > 1)} on "
            f"{min(self.dev, sizes.dev, sizes.dev_prompts)} dev prompts, report on "
            f"{min(self.test, sizes.test)} test prompts:",
            f"         {texts:,.0f} texts, {read:,.0f} tokens read and {drawn:,.0f} drawn, about "
            f"{self.seconds(sizes, rates) / 60:.1f} minutes",
            f"         ({stages}), at {rates.read:.0f} tokens a second read, "
            f"{rates.drawn:.0f} drawn",
        )


# From the largest to the smallest; the demo takes the first that fits into its minutes.
PLANS = (
    DemoPlan(400, 100, 48, 24, 4, 48, 400, 48, 4, LEVELS, (0.5, 1.0, 1.4), every_reference=True),
    DemoPlan(128, 32, 24, 16, 3, 32, 64, 24, 2, LEVELS, (0.5, 1.0, 1.4)),
    DemoPlan(64, 16, 16, 12, 3, 16, 32, 12, 1),
    DemoPlan(48, 8, 12, 6, 2, 8, 20, 6, 1),
    DemoPlan(40, 6, 10, 6, 1, 8, 20, 4, 1),
    DemoPlan(24, 6, 8, 6, 1, 6, 8, 4, 1),
)


# What makes a demo shorter than its smallest plan.
SHORTER = "fewer --methods, --no-table, or a smaller --max-new-tokens"


def plan_for(
    sizes: Sizes,
    rates: Rates,
    minutes: float | int | None,
    *,
    spent: float | int = 0.0,
    limit: bool = True,
) -> DemoPlan:
    """The largest plan that fits into some minutes; the largest of all where there are none named.

    Args:
        sizes: How many texts and tokens there are.
        rates: How long each takes.
        minutes: What was asked for, from the start of the demo; None is no limit.
        spent: How many of them are gone already, for loading and measuring.
        limit: Whether a smallest plan that does not fit is refused; it is taken otherwise.

    Raises:
        ValueError: If the smallest takes longer, and the minutes are a limit.
    """
    if minutes is None:
        return PLANS[0]
    for plan in PLANS:
        if plan.seconds(sizes, rates) <= 60 * (minutes - spent):
            return plan
    if not limit:
        return PLANS[-1]
    least = spent + PLANS[-1].seconds(sizes, rates) / 60
    raise ValueError(
        f"got --minutes {minutes:g}, but the smallest demo takes about {least:.1f} minutes "
        f"here, expected at least --minutes {-(-least * 10 // 1) / 10:g}, or {SHORTER}"
    )
