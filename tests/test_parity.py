"""Steering SmolLM2 gives the numbers of a loop written by hand on Transformers alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.models import hooked, model_directory
from lens_steer.sites import Site
from lens_steer.steering import Intervention, continuations, prompt_rows
from tests.interventions import Cached, padded, run
from tests.oracles_transformers import (
    Edit,
    Place,
    Reading,
    added,
    fed_back,
    flowed,
    flowed_in_euler_steps,
    greedy,
    greedy_without_cache,
    scaled,
    teacher_forced,
)

# Together a minute; checks of shapes, which other models have had, would make it two.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("untyped")]

# Float32 against float32: of the displacement, and of the largest change of a logit. Transformers'
# two kinds of attention (sdpa, eager) differ from each other as much as from us: by up to 2e-5.
TOLERANCE = 1e-4
NEW = 6  # tokens that are written
LAYER, HEAD_WIDTH = 14, 64
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How was your day?"},
]
PROMPTS = (
    "The weather today is",
    "When the old man opened the door of his house in the morning, he saw",
    CHAT,
)
PAIRS = ls.ContrastivePairs.of(
    [
        ("The film was", " dull and sad.", " bright and glad."),
        ("My day was", " grey and lonely.", " sunny and merry."),
        ("She felt", " tired and lost.", " rested and at home."),
        ("The house looked", " cold and empty.", " warm and full."),
        ("He spoke of", " death and tears.", " birth and laughter."),
        ("The song was", " slow and bitter.", " quick and sweet."),
        ("The children were", " weeping again.", " playing again."),
        ("At night I am", " afraid and alone.", " calm and loved."),
    ],
    name="parity",
)


@dataclass(frozen=True)
class Case:
    """A method and what it is by hand, with what that makes of each prompt.

    Attributes:
        method: The method.
        edits: The same as edits of a plain model.
        texts: What the plain model writes after each prompt.
    """

    method: Intervention
    edits: dict[Place, Edit]
    texts: list[Reading]


@pytest.fixture(scope="module")
def plain(smollm2: Any) -> Any:
    """The same checkpoint as Transformers alone loads it."""
    from transformers import AutoModelForCausalLM

    del smollm2  # it says whether the checkpoint is there
    directory: Any = model_directory("smollm2")
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def rows(plain: Any) -> list[list[int]]:
    """The tokens of the prompts; before a text the BOS, which the chat template writes itself."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(plain.config.name_or_path)
    chat = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    texts = [tokenizer.bos_token + prompt for prompt in PROMPTS[:2]]
    return [tokenizer(text)["input_ids"] for text in (*texts, chat)]


@pytest.fixture(scope="module")
def unsteered(plain: Any, rows: list[list[int]]) -> list[Reading]:
    return [greedy(plain, row, {}, NEW) for row in rows]


@pytest.fixture(scope="module")
def resid(smollm2: Any) -> ls.Activations:
    return ls.capture(smollm2, PAIRS, "resid", read="mean", progress=False)


def caa(model: Any, resid: ls.Activations) -> tuple[Intervention, dict[Place, Edit]]:
    del model
    method = ls.CAA.fit(resid.at(layer=LAYER)).with_strength(3.0)
    return method, added(LAYER, 3.0 * method.vectors[0])


def sadi(
    kind: str, k: int, strength: float, model: Any, resid: ls.Activations
) -> tuple[Intervention, dict[Place, Edit]]:
    del resid
    activations = ls.capture(model, PAIRS, kind, read="last", progress=False)
    method = ls.SADI.fit_published(activations, k, strength)
    part, width = ("head", HEAD_WIDTH) if kind == "head" else ("neuron", 1)
    return method, scaled(part, method.mask.elements(), strength - 1, width)


def lqr(model: Any, resid: ls.Activations) -> tuple[Intervention, dict[Place, Edit]]:
    texts = ["The film was bright and glad.", "At night I am calm and loved."]
    jacobians = ls.linearize(model, texts, dense=False, progress=False)
    method = ls.LQR.fit_feature(jacobians, resid, setpoint=3.0)
    return method, fed_back(method.gains, method.directions, method.setpoints, 1.0)


def barrier_of(resid: ls.Activations) -> ls.PolynomialBarrier:
    return ls.PolynomialBarrier.fit(resid.at(layer=LAYER), gamma=1.0, C=10.0, seed=0)


def published_flow(model: Any, resid: ls.Activations) -> tuple[Intervention, dict[Place, Edit]]:
    del model
    barrier, length = barrier_of(resid), 30.0
    method = ls.ODESteer.from_length(barrier, T=length, steps=10)
    matrix, q, _ = barrier.quadratic()
    return method, flowed_in_euler_steps(LAYER, matrix, q, length, 10)


def flow_by_angle(model: Any, resid: ls.Activations) -> tuple[Intervention, dict[Place, Edit]]:
    del model
    barrier, angle = barrier_of(resid), 0.5
    matrix, q, _ = barrier.quadratic()
    return ls.ODESteer(barrier, angle=angle, steps=40), flowed(LAYER, matrix, q, angle)


METHODS: dict[str, Callable[[Any, ls.Activations], tuple[Intervention, dict[Place, Edit]]]] = {
    "CAA": caa,
    "SADI heads": partial(sadi, "head", 8, 10.0),
    "SADI neurons": partial(sadi, "gate", 100, 5.0),
    "LQR": lqr,
    "ODESteer published": published_flow,
    "ODESteer": flow_by_angle,
}


@pytest.fixture(scope="module", params=METHODS)
def case(
    request: pytest.FixtureRequest,
    smollm2: Any,
    plain: Any,
    rows: list[list[int]],
    resid: ls.Activations,
) -> Case:
    method, edits = METHODS[request.param](smollm2, resid)
    return Case(method, edits, [greedy(plain, row, edits, NEW) for row in rows])


@dataclass(frozen=True)
class Watched:
    """What forward passes of the steered model have shown, one after the other.

    Attributes:
        logits: `[text pos vocab]`.
        moves: What steering added at each place, `[text pos width]`.
    """

    logits: Tensor
    moves: dict[Place, Tensor]


def watched(
    model: Any, method: Intervention, prompt_lengths: list[int], passes: Callable[[], list[Tensor]]
) -> Watched:
    """Steer passes, and read every site before and after the method has edited it."""
    before: dict[Site, list[Tensor]] = {site: [] for site in method.sites}
    after: dict[Site, list[Tensor]] = {site: [] for site in method.sites}

    def keep(seen: list[Tensor], x: Tensor) -> None:
        seen.append(x.double().flatten(2))

    with (
        torch.no_grad(),
        hooked(model, {site: partial(keep, seen) for site, seen in before.items()}),
        ls.steered(model, method, prompt_lengths=prompt_lengths),
        hooked(model, {site: partial(keep, seen) for site, seen in after.items()}),
    ):
        logits = torch.cat(passes(), dim=1)
    moves = {
        Place(site.layer, site.kind.value): torch.cat(after[site], 1) - torch.cat(before[site], 1)
        for site in method.sites
    }
    return Watched(logits, moves)


def apart(found: Watched, wanted: list[Reading], unsteered: list[Reading]) -> tuple[float, float]:
    """How far the displacements and the logits are from those of the plain model, as shares.

    The former of the displacement's length over all tokens of a text, at the place and text where
    that is most; the latter of the largest change that steering makes to a logit behind the prompt.
    """
    expected = torch.stack([reading.logits for reading in wanted])
    clean = torch.stack([reading.logits[0] for reading in unsteered])
    change = (expected[:, 0] - clean).abs().amax(dim=1)
    steered = expected.shape[1]  # the last columns, as rows are padded on the left
    logits = (found.logits[:, -steered:] - expected).abs().amax(dim=(1, 2)) / change
    assert found.moves.keys() == wanted[0].moves.keys()
    shares = []
    for place, move in found.moves.items():
        assert not bool(move[:, :-steered].any())
        by_hand = torch.stack([reading.moves[place] for reading in wanted])
        error, size = (move[:, -steered:] - by_hand).norm(dim=(1, 2)), by_hand.norm(dim=(1, 2))
        if place.part == "resid_pre":  # only read
            assert not bool(error.any())
        else:
            shares.append((error / size).max())
    return float(torch.stack(shares).max()), float(logits.max())


def read_at_once(model: Any, case: Case, rows: list[list[int]]) -> Watched:
    """The texts in one batch, without a cache."""
    batch = padded(model, [text.tokens for text in case.texts], "left")
    lengths = [len(row) for row in rows]
    return watched(model, case.method, lengths, lambda: [run(model, batch.tokens, batch.mask)])


def read_step_by_step(model: Any, case: Case, rows: list[list[int]]) -> Watched:
    """The prompts in one batch, then the tokens of the texts one by one, over a cache."""
    batch = padded(model, rows, "left")
    written = torch.tensor([text.tokens[-NEW:] for text in case.texts])

    def passes() -> list[Tensor]:
        step = Cached(model, len(rows), masked=True)
        first = step(batch.tokens, batch.mask)
        return [first, *(step(written[:, [k]]) for k in range(NEW - 1))]

    return watched(model, case.method, [len(row) for row in rows], passes)


def test_prompts_have_the_tokens_of_transformers(smollm2: Any, rows: list[list[int]]) -> None:
    assert prompt_rows(smollm2, PROMPTS, NEW) == rows


def test_logits_and_displacements_are_those_of_transformers(
    case: Case, smollm2: Any, plain: Any, rows: list[list[int]], unsteered: list[Reading]
) -> None:
    at_once = [
        teacher_forced(plain, text.tokens, len(row), case.edits)
        for text, row in zip(case.texts, rows, strict=True)
    ]
    for found, wanted in (
        (read_at_once(smollm2, case, rows), at_once),
        (read_step_by_step(smollm2, case, rows), case.texts),
    ):
        displacements, logits = apart(found, wanted, unsteered)
        assert displacements < TOLERANCE
        assert logits < TOLERANCE


def test_texts_are_those_of_transformers_token_by_token(
    case: Case, smollm2: Any, plain: Any, rows: list[list[int]], unsteered: list[Reading]
) -> None:
    wanted = [text.tokens[len(row) :] for text, row in zip(case.texts, rows, strict=True)]
    clean = [text.tokens[len(row) :] for text, row in zip(unsteered, rows, strict=True)]
    assert all(new != old for new, old in zip(wanted, clean, strict=True))
    how = ls.Decoding(temperature=0.0, max_new_tokens=NEW)
    assert continuations(smollm2, rows, case.method, decoding=how) == wanted
    short = rows[:1]
    uncached = continuations(smollm2, short, case.method, decoding=how, use_cache=False)
    assert uncached == wanted[:1]
    assert greedy_without_cache(plain, rows[0], case.edits, NEW) == rows[0] + wanted[0]


def test_answers_and_their_scores_are_those_of_transformers(
    smollm2: Any, plain: Any, resid: ls.Activations
) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(plain.config.name_or_path)
    method, edits = caa(smollm2, resid)
    questions = ls.data.Questions(
        (
            ls.data.Question(
                "Q: What do cows eat?\nA:",
                (" Grass.", " Stones.", " Green grass."),
                (True, False, True),
            ),
            ls.data.Question("Q: Is ice warm?\nA:", (" Yes, it is.", " No."), (False, True)),
        )
    )
    found = ls.evaluation.answer_log_probs(smollm2, questions, [method])
    right = [question.correct for question in questions]
    texts = [question.choices for question in questions]
    for setting, steering in enumerate(({}, edits)):
        wanted = []
        for question in questions:
            start = len(tokenizer(tokenizer.bos_token + question.prompt)["input_ids"])
            nats = []
            for choice in question.choices:
                ids = tokenizer(tokenizer.bos_token + question.prompt + choice)["input_ids"]
                logits = teacher_forced(plain, ids, start, steering).logits.double()
                scores = logits.log_softmax(dim=-1)
                nats.append(sum(scores[i, token].item() for i, token in enumerate(ids[start:])))
            wanted.append(nats)
        rows = found.rows(setting)
        for row, nats in zip(rows, wanted, strict=True):
            assert list(row[: len(nats)]) == pytest.approx(nats, abs=1e-4)
        scores = ls.evaluation.ChoiceScores.of(rows, right, found.tokens, texts)
        (grass, stones, _), (yes, no) = wanted
        assert scores.mc1.tolist() == [grass > stones, no > yes]
        whole = [torch.tensor(nats).double().softmax(dim=0) for nats in wanted]
        masses = [(whole[0][0] + whole[0][2]).item(), whole[1][1].item()]
        assert scores.mc2.tolist() == pytest.approx(masses, abs=1e-4)
    moved = [abs(a[0] - b[0]) for a, b in zip(found.rows(0), found.rows(1), strict=True)]
    assert min(moved) > 0.1
