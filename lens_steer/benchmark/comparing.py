"""Running methods against each other and against what they have to beat."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from typing_extensions import Unpack

from lens_steer.benchmark.comparison_run import ComparisonRun, Key, Tick
from lens_steer.benchmark.config import ComparisonConfig, ComparisonOptions, config_of_call
from lens_steer.benchmark.method_names import NamedMethods
from lens_steer.benchmark.references import Rewrite
from lens_steer.benchmark.result import Comparison
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge
from lens_steer.models import SteerableModel
from lens_steer.steering import Decoding, Intervention, NotFinite, generate

if TYPE_CHECKING:
    import pandas as pd

_PROMPTS, _TOKENS, _ROUNDS = 8, 24, 3  # that generation is timed on


def compare(  # noqa: PLR0913 - what a comparison is made of
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: NamedMethods,
    *,
    judge: Judge | None = None,
    train: ContrastivePairs | None = None,
    instruction: str | Rewrite | None = None,
    behaviour_name: str | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[ComparisonOptions],
) -> "pd.DataFrame":
    """What methods do to the prompts of `pairs`, what it costs, and what else would do as much.

    Every method writes one text for each prompt and seed, all with the same random draws, at
    several multiples of its strength. Rows, for each behaviour: `unsteered`; `random`, directions
    in the layers of the first method that cost what it does (`kl_fixed`), and `random
    (covariance)`, some in which the clean residual stream varies by itself; `prompting`, if an
    instruction is given; `best of n`, if there is a judge; `learned`, a vector of gradient descent
    at the first method's layer, if `train` is given; and the methods as they are given.
    `references=` chooses among these rows.

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
        pairs: The prompts to test on; others than those the methods were fitted or chosen on.
        methods: Finished methods; or names with one method or several fits of it, made from
            resampled training data, over which the intervals then go.
        judge: See `evaluate`; None leaves out `best of n`.
        train: Other pairs, for `learned`; None leaves it out.
        instruction: A text put before each prompt (a system message of a chat), or a function of a
            prompt, for `prompting`; None leaves it out.
        behaviour_name: The name of the behaviour in the table; None takes that of the pairs.
        decoding: How texts are written; or the same as keywords. The seed, 0 if none is named, is
            that of the texts, the random directions and the intervals.
        options: The fields of `Decoding`, see `generate`, and the other ones of `ComparisonConfig`,
            which say how methods are varied.

    Raises:
        TypeError: If a keyword is unknown; the message has the nearest one.
        OutOfReach: If a random direction cannot cost what the first method does.
        ValueError: As `evaluate`, or if the methods or options cannot be used.

    Example:
        >>> methods = {"CAA": ls.CAA.fit(resid.at(layer=3)), "LQR": ls.LQR.fit(jacobians, resid)}
        >>> ls.compare(model, test, methods, judge=ls.WordList(("good", "fine")), train=train)
    """
    result = comparison(
        model,
        pairs,
        methods,
        judge=judge,
        config=config_of_call(compare, decoding, options),
        train=train,
        instruction=instruction,
        behaviour_name=behaviour_name,
        progress=progress,
    )
    return result.table()


def comparison(  # noqa: PLR0913 - what a comparison is made of
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: NamedMethods,
    *,
    config: ComparisonConfig,
    judge: Judge | None = None,
    train: ContrastivePairs | None = None,
    instruction: str | Rewrite | None = None,
    behaviour_name: str | None = None,
    model_name: str | None = None,
    progress: bool = True,
) -> Comparison:
    """What `compare` makes its table of: also differences between methods, and all the figures.

    Args:
        config: How texts are written and methods are varied.
        judge: As `compare`; so are `train`, `instruction` and `behaviour_name`.
        model_name: The name of the model in tables; None takes its architecture.

    Raises:
        ValueError: As `compare`.

    Example:
        >>> config = ls.benchmark.ComparisonConfig(max_new_tokens=60, seeds=2)
        >>> result = ls.comparison(model, test, [method], config=config, judge=judge)
        >>> ls.benchmark.Frontier.of(result, result.behaviours[0]).figure()
    """
    comparison_run = ComparisonRun.of(
        model,
        pairs,
        methods,
        judge=judge,
        config=config,
        train=train,
        instruction=instruction,
        behaviour_name=behaviour_name,
        model_name=model_name,
    )
    trials = []
    timing = timing_work(comparison_run)
    with progress_bar(comparison_run, besides=timing, disable=not progress) as bar:
        for key, new in comparison_run.run(tick=bar.update):
            bar.set_postfix_str(key[0])
            trials += new
            bar.update(comparison_run.work(key))
        bar.set_postfix_str("timing" if timing else "")
        seconds = time_generation(comparison_run, tick=bar.update)
    return Comparison(tuple(trials), config, seconds)


def progress_bar(
    comparison_run: ComparisonRun, done: Collection[Key] = (), *, besides: int = 0, **options: Any
) -> "tqdm[Any]":
    """A bar of a run's work, in texts written, learning among it.

    Args:
        done: Units that need not be run again.
        besides: Work that comes on top.
        options: Of the bar.
    """
    run, units = comparison_run, comparison_run.units()
    kept = sum(run.work(key) for key in units if key in done)
    learnt = bool(done) and all(key in done for key in units if key[0] == "learned")
    total = sum(map(run.work, units)) + besides + (0 if learnt else run.learning)
    return tqdm(**{"desc": "compare", "total": total, "initial": kept, "unit": "text"} | options)


def timing_work(comparison_run: ComparisonRun) -> int:
    """How many texts `time_generation` writes."""
    if not comparison_run.config.timed:
        return 0
    return _ROUNDS * len(_writers(comparison_run)) * len(_timed_prompts(comparison_run))


def time_generation(
    comparison_run: ComparisonRun, *, tick: Tick | None = None
) -> dict[tuple[str, str], float]:
    """Time of generation over that of the unsteered model, for every method: median of rounds.

    Nothing is timed, and nothing returned, where the configuration says so.

    Args:
        tick: Called with the texts of each method, once they are written in every round.
    """
    if not comparison_run.config.timed:
        return {}
    writers = _writers(comparison_run)
    unsteered = writers.pop("unsteered")
    unsteered()
    rounds: dict[str, list[float]] = {name: [] for name in ("unsteered", *writers)}
    texts = len(_timed_prompts(comparison_run))
    for _ in range(_ROUNDS):
        base = _seconds(unsteered)
        rounds["unsteered"].append(1.0)
        for name, writer in writers.items():
            try:
                rounds[name].append(_seconds(writer) / base)
            except NotFinite:  # its trials have failed, and say why
                rounds[name].append(float("nan"))
            if tick is not None:
                tick(texts)
        if tick is not None:
            tick(texts)
    behaviour = comparison_run.behaviour_name
    return {(behaviour, name): median(ratios) for name, ratios in rounds.items()}


def _timed_prompts(comparison_run: ComparisonRun) -> list[Any]:
    return list(comparison_run.pairs.prompts[:_PROMPTS])


def _writers(comparison_run: ComparisonRun) -> dict[str, Callable[[], Any]]:
    """What writes a few texts in each way, made when it is called."""
    run, prompts = comparison_run, _timed_prompts(comparison_run)
    made: dict[str, Callable[[], Any]] = {
        "unsteered": lambda: _written(run, prompts),
        "random": lambda: _written(run, prompts, run.random(0)),
        "random (covariance)": lambda: _written(run, prompts, run.random(0, "random (covariance)")),
        "best of n": lambda: _written(run, prompts * run.config.best_of),
        "learned": lambda: _written(run, prompts, run.learned),
    }
    rewrite = run.rewrite
    if rewrite is not None:
        made["prompting"] = lambda: _written(run, [rewrite(prompt) for prompt in prompts])
    writers = {name: made[name] for name in run.references}
    for name, fits in run.methods.items():
        writers[name] = partial(_written, run, prompts, fits[0])
    return writers


def _written(comparison_run: ComparisonRun, prompts: list[Any], *methods: Intervention) -> None:
    decoding = comparison_run.config.decoding
    few = replace(decoding, max_new_tokens=min(_TOKENS, decoding.max_new_tokens))
    generate(comparison_run.model, prompts, *methods, decoding=few)


def _seconds(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start
