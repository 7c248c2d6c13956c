"""How likely a model finds each of two answers while elements are scaled or held; prompts run once.

Nothing before the last prompt token changes at scope "last", so that a point of a grid costs only
its answer's tokens, and all points of a prompt are rows of one batch over its key-value cache.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import kl_div
from tqdm.auto import tqdm

from lens_steer.arguments import Count
from lens_steer.attribution.scaled_points import (
    Factors,
    Hook,
    frozen_patches,
    online_scalings,
)
from lens_steer.data import ContrastivePairs
from lens_steer.models import (
    Decoder,
    Encoded,
    SteerableModel,
    attach,
    check_unsteered,
    decode_budget,
    encode,
    hooked,
    pad,
)
from lens_steer.sites import Site

_TOKENS = 2**14  # of a batch: on a CPU more are slower
_Hooks = Callable[[SteerableModel, Sequence[Factors], int], dict[Site, Hook]]


@dataclass(frozen=True, eq=False)
class Answers:
    """How likely each pair's answers are at each point; float64, on the CPU.

    Attributes:
        margin: Log-probability per token of the desired answer minus that of the undesired, nats.
        kl: KL(scaled || clean) of the answer's first token, nats.
    """

    margin: Float[Tensor, "point pair"]
    kl: Float[Tensor, "point pair"]


def answers_at(
    model: SteerableModel,
    pairs: ContrastivePairs,
    points: Sequence[Factors],
    *,
    token_budget: Count | None = None,
    progress: bool = False,
) -> Answers:
    """Scale the last prompt token's and the answers' activations, once for each point.

    Args:
        points: By site; {} is the model as it is. Each must broadcast to the site's activation.
        token_budget: Tokens of a batch, prompts counted for every row; speed and memory only.

    Raises:
        ValueError: If the pairs are unpaired, a prompt has a single token, the model is being
            steered, or its logits are NaN or infinite as it is. (Those of a point that makes them
            so are NaN.)

    Example:
        >>> without_heads = {ls.Site(3, "head"): torch.zeros(12, 1)}  # those of layer 3
        >>> points = [{}, without_heads]
        >>> ls.attribution.answers_at(model, pairs, points).margin.mean(dim=1)
    """
    return _answers(model, pairs, points, online_scalings, token_budget, progress)


def frozen_answers_at(
    model: SteerableModel,
    pairs: ContrastivePairs,
    points: Sequence[Factors],
    *,
    token_budget: Count | None = None,
    progress: bool = False,
) -> Answers:
    """Overwrite the last prompt token's activations by clean ones, scaled, once for each point.

    As the published SADI does: the answers' tokens are left alone, and at every site of any point a
    point without factors of its own holds the clean activation. Sites of kind `gate` hold the gate
    of a gated MLP and leave what it multiplies.

    Args:
        points: As `answers_at`.
        token_budget: As `answers_at`.

    Raises:
        ValueError: As `answers_at`.

    Example:
        >>> held = {ls.Site(layer, "head"): torch.ones(12, 1) for layer in range(8)}
        >>> ls.attribution.frozen_answers_at(model, pairs, [{}, held]).margin.mean(dim=1)
    """
    return _answers(model, pairs, points, frozen_patches, token_budget, progress)


def _answers(
    model: SteerableModel,
    pairs: ContrastivePairs,
    points: Sequence[Factors],
    hooks: _Hooks,
    token_budget: int | None,
    progress: bool,
) -> Answers:
    if not pairs.paired:
        raise ValueError(f"{pairs!r}: expected both answers of each prompt")
    check_unsteered(model, "compare answers")
    budget = token_budget or min(_TOKENS, decode_budget(model))
    tasks = [_Task.of(model, pairs, i) for i in range(len(pairs.desired))]
    measured = torch.zeros(2, len(points), len(tasks), dtype=torch.double)
    with tqdm(total=len(points) * len(tasks), desc="answers", disable=not progress) as bar:
        for batch, part in _batches(tasks, len(points), budget):
            some = [points[k] for k in part]
            values = _measured(model, [tasks[i] for i in batch], some, hooks)
            measured[:, part.start : part.stop, batch] = values
            bar.update(len(batch) * len(part))
    return Answers(measured[0], measured[1])


@dataclass(frozen=True)
class _Task:
    """A prompt and the rows that its two answers need: [last prompt token, answer but its end]."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], tuple[int, ...]]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: SteerableModel, pairs: ContrastivePairs, i: int) -> "_Task":
        sides: list[Encoded] = [
            encode(model, example.prompt, example.continuation)
            for example in (pairs.desired[i], pairs.undesired[i])
        ]
        prompt = sides[0].ids[: sides[0].prompt_length]
        if sides[1].ids[: sides[1].prompt_length] != prompt or len(prompt) < 2:
            raise ValueError(
                f"pair {i}: expected two answers to one prompt of at least two tokens, got "
                f"{pairs.desired[i].prompt!r} and {pairs.undesired[i].prompt!r}"
            )
        answers = (sides[0].ids[len(prompt) :], sides[1].ids[len(prompt) :])
        rows = dict.fromkeys((prompt[-1], *answer[:-1]) for answer in answers)
        return cls(prompt, answers, tuple(rows))


def _batches(tasks: Sequence[_Task], points: int, budget: int) -> Iterator[tuple[list[int], range]]:
    """(tasks, points) of each batch: answers of about one length; all points, where they fit."""
    sizes = [len(t.rows) * (len(t.prompt) + max(map(len, t.rows))) for t in tasks]
    longest = [max(map(len, task.rows)) for task in tasks]
    batch: list[int] = []
    for i in sorted(range(len(tasks)), key=lambda i: (longest[i], len(tasks[i].prompt), i)):
        if batch and (points + 1) * (len(batch) + 1) * sizes[i] > budget:
            yield batch, range(points)
            batch = []
        if (points + 1) * sizes[i] > budget:
            step = max(1, budget // sizes[i] - 1)
            yield from (([i], range(points)[k : k + step]) for k in range(0, points, step))
        else:
            batch.append(i)
    if batch:
        yield batch, range(points)


def _measured(
    model: SteerableModel, tasks: Sequence[_Task], points: Sequence[Factors], hooks: _Hooks
) -> Float[Tensor, "2 point task"]:
    """Margins and divergences; the clean model is one point more."""
    n = len(points) + 1
    owner = [i for i, task in enumerate(tasks) for _ in task.rows]
    tokens, mask = pad(model, [row for task in tasks for row in task.rows])
    copies = torch.tensor(owner * n, device=tokens.device)
    attach(model)
    with torch.no_grad():
        decoder = Decoder(model, *pad(model, [task.prompt[:-1] for task in tasks], left=True))
        decoder.start()
        decoder.select_rows(copies)
        with hooked(model, hooks(model, points, len(owner))):
            logits = decoder.score(tokens.repeat(n, 1), mask.repeat(n, 1))
        scores = logits.float().log_softmax(dim=-1)
    if bool(scores[: len(owner)].isnan().any(dim=-1)[mask.to(scores.device)].any()):
        dtype = str(logits.dtype).removeprefix("torch.")
        raise ValueError(
            f"the model's logits are NaN or infinite in {dtype}: load it in float32 or bfloat16"
        )
    return _compared(scores.unflatten(0, (n, len(owner))), tasks)


def _compared(
    scores: Float[Tensor, "points_and_clean row pos vocab"], tasks: Sequence[_Task]
) -> Float[Tensor, "2 point task"]:
    first = scores[:, :, 0]
    nats = kl_div(first[:1].expand_as(first), first, log_target=True, reduction="none").sum(dim=-1)
    margins, divergences, start = [], [], 0
    for task in tasks:
        of_task = scores[1:, start : start + len(task.rows)].double()
        sides = [_per_token(of_task, task, answer) for answer in task.answers]
        margins.append(sides[0] - sides[1])
        divergences.append(nats[1:, start].double())
        start += len(task.rows)
    return torch.stack([torch.stack(margins, dim=1), torch.stack(divergences, dim=1)]).cpu()


def _per_token(
    scores: Float[Tensor, "point row pos vocab"], task: _Task, answer: tuple[int, ...]
) -> Float[Tensor, " point"]:
    row = task.rows.index((task.prompt[-1], *answer[:-1]))
    tokens: Int[Tensor, " token"] = torch.tensor(answer, device=scores.device)
    places = torch.arange(len(answer), device=scores.device)
    return scores[:, row][:, places, tokens].mean(dim=-1)
