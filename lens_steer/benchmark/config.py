"""How methods are compared: which texts are sampled, and at which strengths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from lens_steer.arguments import Count, Expected, Rising, Seed
from lens_steer.evaluation import check_comparable
from lens_steer.steering import Decoding, DecodingOptions, decoding_of_call

SHARES = (0.4, 0.25, 0.35)  # of the pairs: train, dev, test
KL = 0.1  # nats per token to which methods are calibrated where nothing else is asked for
RANDOMS = ("random", "random (covariance)")
REFERENCES = ("unsteered", *RANDOMS, "prompting", "best of n", "learned")
References = Annotated[
    Sequence[str],
    Expected(
        f"a list of references, among {', '.join(REFERENCES)}",
        lambda names: set(names) <= set(REFERENCES),
    ),
]
SeveralTexts = Annotated[int, Expected("a whole number of at least 2", lambda n: n >= 2)]


class ComparisonOptions(DecodingOptions, total=False):
    """The fields of `ComparisonConfig` as keywords, as those of `Decoding` are."""

    seeds: Count
    multiples: Rising
    randoms: Count
    best_of: SeveralTexts
    budgets: Rising
    references: References | None
    timed: bool


@dataclass(frozen=True)
class ComparisonConfig(Decoding):
    """How texts are written and methods are varied, the same for all that are compared.

    The fields of `Decoding` are those of a comparison too: the temperature is also that of the
    distributions whose divergence is taken, and the seed is also that of the random directions and
    the intervals, 0 if none is named.

    Attributes:
        seeds: How often every prompt is continued: with `seed`, `seed + 1`, and so on.
        multiples: Multiples of each method's own strength, in rising order; 1 is the method as
            it is passed and is always tried.
        randoms: The number of random directions of either kind, each a fit of the methods `random`
            and `random (covariance)`.
        best_of: The number of texts of which the best is taken.
        budgets: Nats per token at which behaviour is read off, in rising order; the area under the
            frontier goes up to the largest.
        references: Which of `REFERENCES` are made beside the methods; the unsteered model always
            is, as changes are against it. None makes all for which there is what they need (a
            judge, training pairs, an instruction).
        timed: Whether generation is timed when all is written, for the column `seconds`: it takes
            three rounds of a few short texts of every method. Without, the column is NaN.

    Raises:
        ValueError: If a field makes no sense; or with a temperature of 0, `top_p` or `top_k`, with
            which no divergence is finite.

    Example:
        >>> config = ls.benchmark.ComparisonConfig(seeds=3, max_new_tokens=60, budgets=(0.05, 0.1))
        >>> ls.comparison(model, test, methods, config=config)
    """

    seed: Seed = 0
    seeds: Count = 1
    multiples: Rising = (0.25, 0.5, 0.75, 1, 1.4, 2)
    randoms: Count = 3
    best_of: SeveralTexts = 4
    budgets: Rising = (0.03, 0.1, 0.3)
    references: References | None = None
    timed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_comparable(self)
        if self.temperature == 0:
            raise ValueError("temperature 0: greedy texts have no finite divergence to compare at")
        for name in ("multiples", "budgets"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if self.references is not None:
            named = {"unsteered", *self.references}
            object.__setattr__(self, "references", tuple(r for r in REFERENCES if r in named))
        object.__setattr__(self, "multiples", tuple(sorted({*self.multiples, 1.0})))

    @property
    def decoding(self) -> Decoding:
        """How texts are written with the first seed."""
        return Decoding(**{f.name: getattr(self, f.name) for f in fields(Decoding)})


def config_of_call(
    function: Callable[..., Any], decoding: Decoding | None, options: Mapping[str, Any]
) -> ComparisonConfig:
    """The `ComparisonConfig` that a public function was called with, as `decoding_of_call`.

    Args:
        function: The function that the user has called; errors name it.
        decoding: Its argument `decoding`.
        options: All keywords that are no parameters of its own.

    Raises:
        ValueError: As `decoding_of_call` and `ComparisonConfig`.
    """
    of_texts = {n: value for n, value in options.items() if n in DecodingOptions.__annotations__}
    variation = {name: value for name, value in options.items() if name not in of_texts}
    how = decoding_of_call(function, decoding, of_texts, seed=0)
    return ComparisonConfig(**asdict(how), **variation)
