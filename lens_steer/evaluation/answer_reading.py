"""Log-probabilities of continuations under many settings at once, over a cache of their prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.evaluation.setting_rows import in_each, setting_rows, shared_blocks
from lens_steer.evaluation.shared_prefixes import Step, most_rows, steps_of
from lens_steer.models import Encoded, SteerableModel, decode_budget, looked_at, pad
from lens_steer.steering import Methods, Scope, is_distribution

_LOGITS_AT_ONCE = 2**27  # float32 numbers of one step: half a gigabyte
_ROWS_AT_ONCE = 8  # whose logits are summed over the vocabulary together


@dataclass(frozen=True)
class Prompted:
    """Continuations of one prompt.

    Attributes:
        ids: The tokens of the prompt.
        texts: The tokens of each continuation.
        numbers: The number of each continuation among all.
    """

    ids: tuple[int, ...]
    texts: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]


def by_prompt(rows: Sequence[Encoded]) -> list[Prompted]:
    """The rows with the same prompt tokens together."""
    numbers: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        numbers.setdefault(row.ids[: row.prompt_length], []).append(i)
    return [
        Prompted(ids, tuple(rows[i].ids[len(ids) :] for i in of_prompt), tuple(of_prompt))
        for ids, of_prompt in numbers.items()
    ]


def summed_nats(
    model: SteerableModel,
    rows: Sequence[Encoded],
    settings: Sequence[Methods],
    scope: Scope,
    *,
    token_budget: int | None = None,
    progress: bool = False,
) -> Float[Tensor, "setting row"]:
    """Log-probability of each continuation under each setting, nats, float64.

    Args:
        rows: With at least one token of prompt each.
        settings: Methods that steer together; () is the model as it is.
        scope: Where they steer.
        token_budget: Tokens whose keys and values are held at once, all settings together.

    Returns:
        Sums over tokens; NaN where logits are NaN or infinite.
    """
    nats = torch.zeros(len(settings), len(rows)).double()
    prompted = by_prompt(rows)
    with tqdm(total=len(settings) * len(rows), desc="answers", disable=not progress) as bar:
        for chosen, part in _batches(model, prompted, settings, scope, token_budget):
            batch = [prompted[i] for i in part]
            steering = [settings[k] for k in chosen]
            numbers = [i for one in batch for i in one.numbers]
            place = torch.tensor(chosen)[:, None], torch.tensor(numbers)
            nats[place] = _read(model, batch, steering, scope)
            bar.update(len(chosen) * len(numbers))
    return nats


def _batches(
    model: SteerableModel,
    prompted: Sequence[Prompted],
    settings: Sequence[Methods],
    scope: Scope,
    token_budget: int | None,
) -> Iterator[tuple[list[int], list[int]]]:
    """Settings and prompts of each batch: prompts whose longest texts have about one length.

    A step costs what it costs for its first row, so that there should be few of them: as many in
    each batch as its longest text has tokens.
    """
    if not settings:
        return
    # a step holds the old keys and values beside the new ones
    budget = token_budget or decode_budget(model) // 2
    rows_at_once = max(1, _LOGITS_AT_ONCE // int(model.cfg.d_vocab))
    rows = [most_rows(one.texts) for one in prompted]
    longest = [max(map(len, one.texts)) for one in prompted]
    sizes = [r * (len(p.ids) + t) for r, p, t in zip(rows, prompted, longest, strict=True)]
    shortest = min(prompted, key=lambda one: len(one.ids))
    shared = shared_blocks(model, *pad(model, [shortest.ids], left=True), settings, scope)
    share = shared / int(model.cfg.n_layers)  # of keys and values that settings hold in common

    def copies(n_settings: int) -> float:
        return share + (1 - share) * n_settings

    most = max(1, min(len(settings), rows_at_once // max(rows)))
    fitting = (n for n in range(most, 1, -1) if max(sizes) * copies(n) <= budget)
    together = next(fitting, 1)
    for start in range(0, len(settings), together):
        chosen = list(range(len(settings)))[start : start + together]
        batch: list[int] = []
        tokens, lines = 0.0, 0
        for i in sorted(range(len(prompted)), key=lambda i: (longest[i], i)):
            size, height = sizes[i] * copies(len(chosen)), rows[i] * len(chosen)
            if batch and (tokens + size > budget or lines + height > rows_at_once):
                yield chosen, batch
                batch, tokens, lines = [], 0.0, 0
            batch.append(i)
            tokens, lines = tokens + size, lines + height
        yield chosen, batch


def _read(
    model: SteerableModel, batch: Sequence[Prompted], settings: Sequence[Methods], scope: Scope
) -> Float[Tensor, "setting text"]:
    """The log-probability of every text of a batch, prompt by prompt, under every setting."""
    texts = [text for one in batch for text in one.texts]
    owners = [k for k, one in enumerate(batch) for _ in one.texts]
    nats = torch.zeros(len(settings), len(texts)).double()
    tokens, mask = pad(model, [one.ids for one in batch], left=True)
    with (
        looked_at(model),
        torch.no_grad(),
        setting_rows(model, tokens, mask, settings, scope) as running,
    ):
        logits = running.start()
        for step in steps_of(owners, texts):
            nats[:, torch.tensor(step.texts)] += _next_nats(logits, step, len(settings))
            if step.parents:
                parents = torch.tensor(step.parents, device=tokens.device)
                new = torch.tensor(step.new_tokens, device=tokens.device)
                logits = running.follow(parents, new)
    return nats


def _next_nats(
    logits: Float[Tensor, "rows vocab"], step: Step, n_settings: int
) -> Float[Tensor, "setting text"]:
    """The log-probability of the next token of every text of a step, NaN where logits are broken.

    Only the sum over the vocabulary is formed, not the log-probability of every token. In float32
    it is good to 1e-6 nats, where `log_softmax` is off by up to 6e-5 (262,144 tokens, measured).
    """
    height = len(logits) // n_settings
    rows = in_each(torch.tensor(step.rows), height, n_settings).to(logits.device)
    chosen = torch.tensor(step.next_tokens, device=logits.device).repeat(n_settings)
    # a few rows at a time stay in the processor's cache: 2.5 times as fast at 49,152 tokens
    parts = logits.split(_ROWS_AT_ONCE)
    normalisers = torch.cat([part.float().logsumexp(dim=-1).double() for part in parts])
    usable = torch.cat([is_distribution(part) for part in parts])
    nats = (logits[rows, chosen].double() - normalisers[rows]).masked_fill(~usable[rows], torch.nan)
    return nats.cpu().reshape(n_settings, -1)
