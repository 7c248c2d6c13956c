"""Running methods against each other and against what they have to beat."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from lens_steer.benchmark.contest import ComparisonRun, Named
from lens_steer.benchmark.references import Rewrite
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.terms import ComparisonConfig
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, NotFinite, generate

if TYPE_CHECKING:
    import pandas as pd

_PROMPTS, _TOKENS, _ROUNDS = 8, 24, 3  # that generation is timed on


def compare(  # noqa: PLR0913 - what a comparison is made of
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Named,
    *,
    judge: Judge | None = None,
    seed: int = 0,
    train: ContrastivePairs | None = None,
    instruction: str | Rewrite | None = None,
    behaviour_name: str | None = None,
    progress: bool = True,
    **terms: Any,
) -> "pd.DataFrame":
    """What methods do to the prompts of `pairs`, what it costs, and what else would do as much.

    Every method writes one text for each prompt and seed, all with the same random draws, at
    several multiples of its strength. Rows, for each behaviour: `unsteered`; `random`, directions
    in the layers of the first method and of its size; `prompting`, if an instruction is given;
    `best of n`, if there is a judge; `learned`, a vector of gradient descent at the first method's
    layer, if `train` is given; and the methods as they are given.

    | column | |
    |---|---|
    | `behaviour` | share that shows it |
    | `kl`, `kl_sequence` | nats per token and per text, along the method's own texts |
    | `kl_median`, `kl_95` | median and 95 % quantile over texts of the nats of a text |
    | `kl_fixed` | nats per token along the unsteered texts |
    | `efficiency` | what the change costs at least, over `kl_sequence`; best of n: at least this |
    | `perplexity` | of the texts under the unsteered model: look on both sides of its own |
    | `distinct_1`, `distinct_2`, `repetition` | different n-grams; trigrams repeated in a text |
    | `relative_norm` | |edit| / |residual stream| |
    | `mahalanobis` | length of the edit in standard deviations of the clean residual stream |
    | `failed` | texts that are empty or known to be ill-formed; they are scored too |
    | `failure` | why behaviour is NaN, if steering makes logits NaN or infinite; else left out |
    | `at_0.1` ... | behaviour where the realised `kl` is 0.1; NaN if no strength tried reaches it |
    | `area` | mean behaviour over budgets up to the largest |
    | `change`, `p`, `p_holm` | against `unsteered`: paired; signs of groups flipped; Holm |
    | `seconds` | time of generation over that of the unsteered model |

    `*_low` and `*_high` are 95 % intervals over groups of prompts, fits and seeds.

    Args:
        pairs: Their prompts; others than those the methods were fitted or chosen on.
        methods: Finished ones; or names with one method or several fits of it, made from resampled
            training data, over which the intervals then go.
        judge: See `evaluate`; None leaves out `best of n`.
        train: For `learned`.
        instruction: Put before each prompt (a system message of a chat), or a function of a prompt.
        terms: Fields of `ComparisonConfig`: `seeds temperature max_new_tokens scope multiples
            budgets randoms best_of stop`.

    Raises:
        ValueError: As `evaluate`, or if the methods or terms cannot be used.
    """
    found = comparison(
        *(model, pairs, methods),
        judge=judge,
        terms=ComparisonConfig(seed=seed, **terms),
        train=train,
        instruction=instruction,
        behaviour_name=behaviour_name,
        progress=progress,
    )
    return found.table()


def comparison(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Named,
    *,
    terms: ComparisonConfig,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """What `compare` makes its table of: also differences between methods, and all the figures.

    Args:
        options: As `compare`: `judge train instruction behaviour_name`, and `model_name`.

    Raises:
        ValueError: As `compare`.
    """
    contest = ComparisonRun.of(model, pairs, methods, terms=terms, **options)
    trials = []
    with tqdm(total=len(contest.units()), desc="compare", disable=not progress) as bar:
        for (name, _, _), found in contest.run():
            bar.set_postfix_str(name)
            trials += found
            bar.update()
    return Comparison(tuple(trials), terms, time_generation(contest))


def time_generation(contest: ComparisonRun) -> dict[tuple[str, str], float]:
    """Time of generation over that of the unsteered model, for every method: median of rounds."""
    prompts = list(contest.pairs.prompts[:_PROMPTS])
    ways: dict[str, Callable[[], Any]] = {"random": _writer(contest, prompts, contest.random(0))}
    if contest.rewrite is not None:
        ways["prompting"] = _writer(contest, [contest.rewrite(prompt) for prompt in prompts])
    if contest.judge is not None:
        ways["best of n"] = _writer(contest, prompts * contest.terms.best_of)
    if contest.train is not None:
        ways["learned"] = _writer(contest, prompts, contest.learned)
    ways |= {name: _writer(contest, prompts, fits[0]) for name, fits in contest.methods.items()}
    plain = _writer(contest, prompts)
    plain()
    found = {"unsteered": 1.0}
    for name, way in ways.items():
        try:
            found[name] = median(_seconds(way) / _seconds(plain) for _ in range(_ROUNDS))
        except NotFinite:  # its trials have failed, and say why
            found[name] = float("nan")
    return {(contest.behaviour_name, name): pace for name, pace in found.items()}


def _writer(
    contest: ComparisonRun, prompts: list[Any], *methods: Intervention
) -> Callable[[], Any]:
    terms = contest.terms

    def write() -> Any:
        return generate(
            *(contest.model, prompts, *methods),
            max_new_tokens=min(_TOKENS, terms.max_new_tokens),
            temperature=terms.temperature,
            seed=terms.seed,
            scope=terms.scope,
            stop=terms.stop,
        )

    return write


def _seconds(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start
