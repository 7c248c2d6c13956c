"""What is done to next-token logits before a token is drawn: pure functions of tensors.

They are those of Hugging Face's logits processors, in the same order: the repetition penalty, the
n-grams that are ruled out, the temperature, the likeliest `top_k`, the nucleus of `top_p`.
"""

from collections.abc import Sequence

import torch

from lens_steer.axes import Logits

# Tokens of each row so far, prompt included, without padding.
Rows = Sequence[Sequence[int]]


def repetition_penalised(logits: Logits, rows: Rows, penalty: float) -> Logits:
    """Logits of tokens already in a row divided by the penalty, or multiplied where negative.

    A penalty of 1 is the identity; above 1 repetition becomes less likely (Keskar et al. 2019,
    arXiv:1909.05858).
    """
    width = max(map(len, rows))
    padded = [[*row, *[row[0]] * (width - len(row))] for row in rows]
    tokens = torch.tensor(padded, device=logits.device)
    seen = logits.gather(-1, tokens)
    return logits.scatter(-1, tokens, torch.where(seen < 0, seen * penalty, seen / penalty))


def without_repeated_ngrams(logits: Logits, rows: Rows, n: int) -> Logits:
    """Minus infinity for every token that would write an n-gram that is already in its row.

    Raises:
        ValueError: If a row has no token left.
    """
    banned = [(i, token) for i, row in enumerate(rows) for token in _repeating(row, n)]
    if not banned:
        return logits
    index = torch.tensor(banned, device=logits.device)
    scores = logits.clone()
    scores[index[:, 0], index[:, 1]] = -torch.inf
    exhausted = (scores == -torch.inf).all(dim=-1) & (logits > -torch.inf).any(dim=-1)
    if bool(exhausted.any()):
        raise ValueError(
            f"no_repeat_ngram {n}: every token would repeat an n-gram, expected at least one that "
            "does not: use a larger n or a smaller max_new_tokens"
        )
    return scores


def _repeating(row: Sequence[int], n: int) -> set[int]:
    """The tokens that have followed the last n - 1 tokens of a row before."""
    last = list(row[len(row) - n + 1 :])
    starts = range(len(row) - n + 1)
    return {row[i + n - 1] for i in starts if list(row[i : i + n - 1]) == last}


def likeliest(logits: Logits, top_k: int) -> Logits:
    """Logits below the `top_k` largest set to minus infinity; equals of the last one stay."""
    least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def nucleus(logits: Logits, top_p: float) -> Logits:
    """Logits outside the smallest set of tokens that holds `top_p` set to minus infinity.

    A share of 1 is the identity (Holtzman et al. 2020, arXiv:1904.09751).
    """
    if top_p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
    return logits.masked_fill((before >= top_p).gather(-1, order.argsort(dim=-1)), -torch.inf)
