"""Do the parts of the three papers help each other, at the same nats per token?

A regulator whose actuators are heads or neurons, chosen by their slope per nat, by SADI's mean
difference, by attribution patching, or at random in the same layers; a regulator whose set-point is
a barrier; ODESteer limited to the trust radius of the block that follows. Every method has the
settings that it is made with, is calibrated on dev to 0.1 nats per token, and is compared on test:
differences are paired, p-values corrected over all rows (Holm). Methods that cannot be made, or do
not reach that cost, are in missing.csv with the reason.

    python -m analyses.combined
    python -m analyses.combined --pairs organism:sentiment --heads 6 --neurons 48
"""

from typing import Annotated, Any

import lens_steer as ls
from analyses.combined.methods import COMPARED, methods_of
from analyses.equal_cost import DEV, Matched, corrected
from analyses.plots import matched_figure
from analyses.studies import Run, Study, Tables, Tokens, start
from lens_steer import organism
from lens_steer.arguments import Count
from lens_steer.benchmark import KL, Behaviour
from lens_steer.cli import option

_NAMES = dict.fromkeys(name for pair in COMPARED for name in pair if name != "LQR")
ORDER = ("unsteered", "random", "LQR", *_NAMES)
SCORES = {
    "behaviour": ("share that shows the behaviour, %", 100),
    "kl": ("nats per token", 1),
}


def measure(
    run: Run,
    pairs: str,
    *,
    heads: Annotated[int, option(Count, "How many heads push.", metavar="INTEGER")] = 6,
    neurons: Annotated[int, option(Count, "How many neurons push.", metavar="INTEGER")] = 48,
    tokens: Tokens = organism.LONGEST,
) -> Tables:
    """All methods of one behaviour at the same cost."""
    behaviour = run.behaviour(pairs, ("last",))
    config = run.config(tokens, multiples=(1.0, 1.4), randoms=1, references=("random",))
    made = dict(methods_of(behaviour, heads, neurons, run.seed))
    methods: dict[str, ls.Intervention] = {}
    missing: dict[str, str] = {}
    for name, method in made.items():
        try:
            if isinstance(method, str):
                raise ValueError(method)
            methods[name] = ls.calibrate(
                run.model,
                method,
                behaviour.dev.first(DEV),
                kl=KL,
                decoding=config.decoding,
                progress=False,
            )
        except ValueError as refused:
            missing[name] = str(refused)
    matched = _matched(behaviour, methods, missing, config)
    strengths = {name: method.strength for name, method in methods.items()}
    table = matched.table([]).assign(strength=lambda x: x["method"].map(strengths))
    limits = {name: getattr(method, "limit", None) for name, method in methods.items()}
    table = table.assign(limit=table["method"].map(limits))
    return {
        "matched": table,
        "differences": matched.differences(COMPARED),
        "missing": matched.missing_table().assign(behaviour_name=pairs),
    }


def _matched(
    behaviour: Behaviour, methods: dict[str, Any], missing: dict[str, str], config: Any
) -> Matched:
    comparison = ls.comparison(
        behaviour.cache.model,
        behaviour.test,
        methods,
        judge=behaviour.judge,
        config=config,
        behaviour_name=behaviour.name,
        progress=False,
    )
    return Matched(methods, {}, missing, comparison)


def figure_of(table: Any) -> Any:
    """Behaviour and cost of every method on test."""
    return matched_figure(table, ORDER, SCORES)


STUDY = Study(
    "combined",
    __doc__ or "",
    measure,
    columns={
        "matched": ["behaviour_name", "method", "behaviour", "kl", "strength"],
        "differences": [],
        "missing": [],
    },
    figures={"matched": figure_of},
    complete=corrected,
)


if __name__ == "__main__":
    start(STUDY.command())
