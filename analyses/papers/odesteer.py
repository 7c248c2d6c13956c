"""The tables of ODESteer (arXiv:2602.17560), beside what is published.

    python -m analyses.papers.odesteer --list
    python -m analyses.papers.odesteer --table truthfulqa --model smollm2 --data data

truthfulqa writes answers to TruthfulQA's questions and judges them by words, a stand-in for the
paper's judges (--judge chooses another); truthfulqa-mc scores the multiple choice. A run that was
stopped goes on.
"""

from collections.abc import Callable
from typing import Any

import lens_steer as ls
from analyses.papers.command import command_of
from analyses.papers.fitting import Fitting
from analyses.papers.presets import Fact, NotRun, Preset, Row
from analyses.papers.tasks import ChoiceTask, TruthfulAnswers
from analyses.studies import start
from lens_steer.barriers import SketchBarrier
from lens_steer.steering import ResidualITI

_PAPER = "ODESteer (arXiv:2602.17560)"
_MODEL = "Llama-3.1-8B"
_CODE = "the published code"
_BLOCK, _DEPTH = 13, 32  # of Llama-3.1-8B


def _layer(fitting: Fitting) -> ls.LayerActivations:
    return fitting.activations()[fitting.block(_BLOCK, _DEPTH)]


def _at_layer(fit: Callable[[Any], ls.Intervention]) -> Callable[[Fitting], ls.Intervention]:
    return lambda fitting: fit(_layer(fitting))


def _odesteer(fitting: Fitting) -> Any:
    barrier = SketchBarrier.fit(
        _layer(fitting), degree=2, n_components=8000, gamma=0.1, coef0=1.0, C=1.0, seed=fitting.seed
    )
    return ls.ODESteer.from_length(barrier, T=5.0, steps=10)


def _one_step(fitting: Fitting) -> ls.Intervention:
    return _odesteer(fitting).one_step()


_ROWS = (
    Row("unsteered"),
    Row("RepE", _at_layer(ls.RepE.fit), note="its sign is set by the classes, unlike the code's"),
    Row("ITI", _at_layer(ResidualITI.fit), note="the code's ITI: one probe in the residual stream"),
    Row("CAA", _at_layer(ls.CAA.fit)),
    Row(
        "MiMiC",
        _at_layer(ls.MiMiC.fit),
        note="the map between Gaussians, with this package's shrinkage, on every activation",
    ),
    Row("LinAcT", _at_layer(ls.LinearAcT.fit)),
    Row("StepODESteer", _one_step),
    Row("ODESteer", _odesteer),
)
_FACTS = (
    Fact(
        "layer",
        f"the output of block {_BLOCK} of {_DEPTH} (from 0), at the same relative depth",
        _CODE,
    ),
    Fact("barrier", "count sketch of 8,000, degree 2, gamma 0.1, coef0 1, logistic C = 1", _CODE),
    Fact("flow", "10 Euler steps, T = 5; the other methods at strength 1", f"{_CODE}, README"),
    Fact(
        "T",
        "a length, the same for every model: where activations are shorter or longer than the "
        "paper's it is another angle",
        "ours",
    ),
    Fact("read position", "the last token of question and answer", _CODE),
    Fact("folds", "halves, each reported on as fitted to the other (the seed is --seed)", _CODE),
    Fact("pairs", "the first right and wrong answer of a question, not all", "ours", False),
    Fact("prompt", "Q: ...\\nA: (the code asks in a chat)", "ours", False),
    Fact("scope", "the last prompt token and every generated one", _CODE),
)
_NOT_RUN = (
    NotRun("HPR, RE-Control, TruthFlow", "not in this package, nor in the published code"),
    NotRun("the table's numbers", "only +5.7 points over the best baseline (abstract) are at hand"),
    NotRun("Falcon-7B, Mistral-7B, Llama-3.1-8B, Qwen2.5-7B", "no such model at hand"),
)
_JUDGES = (
    NotRun("True, Info and True*Info", "allenai's two judges of 7 billion parameters"),
    NotRun("perplexity", "by gpt2-xl"),
)
_ELSEWHERE = (
    NotRun("UltraFeedback", "no file of it is read; and a reward model of 8 billion parameters"),
    NotRun("RealToxicityPrompts", "no file of it is read; and Perspective, which is a service"),
)

PRESETS = {
    preset.table: preset
    for preset in (
        Preset(
            _PAPER,
            "truthfulqa-mc",
            "TruthfulQA's multiple choice",
            _MODEL,
            (
                ChoiceTask(
                    "TruthfulQA",
                    "truthfulqa-mc",
                    ("truthfulqa/TruthfulQA.csv",),
                    {"MC1": lambda s: s.mc1, "MC2": lambda s: s.mc2},
                    template="qa",
                ),
            ),
            _ROWS,
            (*_FACTS, Fact("MC1 and MC2", "beside the paper's metrics", "ours")),
            (*_NOT_RUN, *_ELSEWHERE),
        ),
        Preset(
            _PAPER,
            "truthfulqa",
            "answers to TruthfulQA's questions",
            _MODEL,
            (TruthfulAnswers("TruthfulQA"),),
            _ROWS,
            (
                *_FACTS,
                Fact(
                    "decoding",
                    "temperature 0.7, top_p 0.9, top_k 50, repetition penalty 1.1, 50 tokens",
                    _CODE,
                ),
                Fact("stop", "at a new question (a line Q:)", "ours, for the base prompt", False),
            ),
            (*_JUDGES, *_NOT_RUN, *_ELSEWHERE),
            ls.Decoding(
                temperature=0.7,
                top_p=0.9,
                top_k=50,
                repetition_penalty=1.1,
                max_new_tokens=50,
                stop=("\nQ:",),
                seed=0,
            ),
        ),
    )
}

main = command_of("odesteer", PRESETS)

if __name__ == "__main__":
    start(main, __doc__)
