"""The tables of A-LQR (arXiv:2604.19018), beside the published numbers.

    python -m analyses.papers.lqr --list
    python -m analyses.papers.lqr --table truthfulqa --model smollm2 --data data

truthfulqa writes answers to TruthfulQA's questions and judges them by words, jailbreak counts
harmful requests that are not refused, by phrases: both stand in for the paper's judges, which are
models of 7 billion parameters and more, and --judge chooses another (--judge http://host/v1
--judge-model NAME asks a model there). truthfulqa-setpoints runs the paper's grid of set-points. A
run that was stopped goes on where it was.
"""

from collections.abc import Callable
from typing import Any

import lens_steer as ls
from analyses.papers.command import command_of
from analyses.papers.fitting import Fitting
from analyses.papers.odesteer import PRESETS as ODESTEER
from analyses.papers.presets import Fact, NotRun, Preset, Row
from analyses.papers.tasks import HarmfulRequests, TruthfulAnswers
from analyses.studies import start

_PAPER = "A-LQR (arXiv:2604.19018)"
_CODE = "the published code"
_TRUTH = {"state_cost": 0.1, "control_cost": 1.0, "terminal_cost": 0.3}  # of Gemma-2-2B
_ATTACK = {"state_cost": 0.2, "control_cost": 7.0, "terminal_cost": 0.2}
_SETPOINT = 3.0  # of Gemma-2-2B on TruthfulQA
_GRID = (2.0, 2.5, 3.0, 3.5)


def _regulator(
    costs: dict[str, float], setpoint: float, *, centred: bool = False
) -> Callable[[Fitting], ls.Intervention]:
    """A-LQR's law; its set-point is counted from the origin unless it is centred."""

    def fit(fitting: Fitting) -> ls.Intervention:
        options: Any = {**costs, "setpoint": setpoint, "centred": centred}
        return ls.LQR.fit(fitting.jacobians(), fitting.activations(), **options)

    return fit


def _pid(kp: float, ki: float, kd: float, setpoint: float) -> Callable[[Fitting], ls.Intervention]:
    return lambda fitting: ls.PID.official(
        fitting.activations(), kp=kp, ki=ki, kd=kd, setpoint=setpoint
    )


_CENTRED = "set-point counted from the middle of the classes: not of the paper"
_LAW = (
    Fact("state, directions", "residual stream entering each block, mean differences", _CODE),
    Fact("set-point", "lambda mu_k, from the origin", _CODE),
    Fact("steering", "the last prompt token and every generated one (A-LQR+: every token)", _CODE),
    Fact("Jacobians", "mean over at most 50 texts, with a single dense gain a layer", _CODE),
    Fact("texts of the Jacobians", "whole; the code cuts them to 24 tokens", "ours", False),
)
_TRUTH_FACTS = (
    *_LAW,
    Fact("q, r, qf", "0.1, 1, 0.3, those of Gemma-2-2B on TruthfulQA", _CODE),
    Fact("decoding", "temperature 1, top_p 0.3, repetition penalty 1.2, 50 tokens", _CODE),
    Fact("stop", "at a new question (a line Q:)", "ours", False),
    Fact("training pairs", "at most 200 (the shipped code has 12)", "for other tasks", False),
    Fact("folds", "halves, each reported on as fitted to the other", "ours", False),
)
_TRUTH_DECODING = ls.Decoding(
    temperature=1.0,
    top_p=0.3,
    repetition_penalty=1.2,
    max_new_tokens=50,
    stop=("\nQ:",),
    seed=0,
)
_TRUTH_TASK = TruthfulAnswers("TruthfulQA", most_pairs=200)
_NOT_RUN = (
    NotRun("toxicity (4.16 to 0.18 % for Gemma-2-2B)", "no file of RealToxicityPrompts is read"),
    NotRun("concepts (to 0.75-1.0 at lambda 2.5)", "no OneSeC sentences here, and a judge of 8B"),
    NotRun("models of 2 to 70 billion parameters", "no such model at hand"),
)
_TRUTH_JUDGES = NotRun("True x Info", "allenai's two judges of 7 billion parameters")
_ODESTEER = next(row for row in ODESTEER["truthfulqa"].rows if row.name == "ODESteer")

PRESETS = {
    preset.table: preset
    for preset in (
        Preset(
            _PAPER,
            "truthfulqa",
            "answers to TruthfulQA's questions",
            "Gemma-2-2B",
            (_TRUTH_TASK,),
            (
                Row("unsteered"),
                Row("ODESteer", _ODESTEER.fit, note="as its own paper sets it"),
                Row("S-PID", _pid(0.7, 0.01, 0.1, 1.5), note="lambda 1.5 of the code's 0.5 to 2"),
                Row("A-LQR", _regulator(_TRUTH, _SETPOINT)),
                Row("A-LQR, centred", _regulator(_TRUTH, 1.0, centred=True), note=_CENTRED),
            ),
            (*_TRUTH_FACTS, Fact("lambda", "3, that of Gemma-2-2B", _CODE)),
            (
                _TRUTH_JUDGES,
                NotRun("MMLU beside it (78.8 to 71.7 for Qwen2.5-14B)", "no file of it is read"),
                NotRun("ITI, ActAdd, Mean-AcT, Linear-AcT, PID-AcT", "settings not at hand"),
                *_NOT_RUN,
            ),
            _TRUTH_DECODING,
        ),
        Preset(
            _PAPER,
            "truthfulqa-setpoints",
            "set-points on TruthfulQA (the grid of the larger models)",
            "no table of it at hand",
            (_TRUTH_TASK,),
            (
                Row("unsteered"),
                *(Row(f"A-LQR, lambda {x:g}", _regulator(_TRUTH, x)) for x in _GRID),
            ),
            (*_TRUTH_FACTS, Fact("lambda", "2, 2.5, 3, 3.5", _CODE)),
            (_TRUTH_JUDGES, *_NOT_RUN),
            _TRUTH_DECODING,
        ),
        Preset(
            _PAPER,
            "jailbreak",
            "harmful requests that are not refused",
            "Qwen2.5-14B-Instruct",
            (HarmfulRequests("harmful requests"),),
            (
                Row("unsteered"),
                Row(
                    "S-PID",
                    _pid(0.1, 0.025, 0.025, 1.0),
                    note="the largest gains of the code's grid; lambda 1",
                ),
                Row("A-LQR", _regulator(_ATTACK, 1.0)),
                Row("A-LQR+", _regulator(_ATTACK, 1.0), scope="all"),
                Row("A-LQR, centred", _regulator(_ATTACK, 1.0, centred=True), note=_CENTRED),
            ),
            (
                *_LAW,
                Fact("q, r, qf, lambda", "0.2, 7, 0.2, 1", _CODE),
                Fact("direction", "harmless less harmful, 200 requests of each", _CODE),
                Fact("decoding", "greedy; 64 tokens, the code writes 512", "ours", False),
                Fact(
                    "requests",
                    "the test file of refusal_direction, which holds AdvBench's and others'",
                    "the paper's test split of AdvBench is not at hand",
                    False,
                ),
                Fact(
                    "not refused",
                    "a text that is broken or says nothing counts too: read Dist-1 beside it",
                    "ours",
                ),
            ),
            (
                NotRun("attack success", "HarmBench's judge of 13 billion parameters"),
                NotRun("AAS (published 77.9)", "its angle and plane are not at hand"),
                *_NOT_RUN,
            ),
            ls.Decoding(temperature=0.0, max_new_tokens=64),
        ),
    )
}

main = command_of("lqr", PRESETS)

if __name__ == "__main__":
    start(main, __doc__)
