"""Which examples have a prompt in common that is worth running once."""

from collections.abc import Iterator, Sequence

from lens_steer.models import Encoded

# Running a prompt apart is a second pass: on a CPU, about this share of the tokens pays for it.
_WORTH = 0.125


def by_prompt(rows: Sequence[Encoded], token_budget: int) -> list[list[int]]:
    """Batches of rows whose prompts are run once, the rows of a prompt side by side.

    A batch holds at most `token_budget` tokens, padding and each row's copy of its prompt counted.
    Rows whose prompt is empty, or shared with none, or too short to save anything, are in no batch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.ids[: row.prompt_length], []).append(i)
    pieces = [piece for group in groups.values() for piece in _cut(rows, group, token_budget)]
    found: list[list[int]] = []
    for piece in sorted(pieces, key=lambda piece: (_width(rows, piece), piece)):
        joined = [*found[-1], *piece] if found else []
        if joined and len(joined) * _width(rows, joined) <= token_budget:
            found[-1] = joined
        else:
            found.append(piece)
    return found


def _cut(rows: Sequence[Encoded], group: list[int], token_budget: int) -> Iterator[list[int]]:
    """Parts of a prompt's rows that fit the budget and save tokens, similar lengths together."""
    together = max(1, token_budget // _width(rows, group))
    ordered = sorted(group, key=lambda i: (len(rows[i].ids), i))
    for start in range(0, len(group), together):
        part = ordered[start : start + together]
        prompt = rows[part[0]].prompt_length
        once = prompt + len(part) * (_width(rows, part) - prompt)
        if once <= (1 - _WORTH) * sum(len(rows[i].ids) for i in part):
            yield part


def _width(rows: Sequence[Encoded], batch: Sequence[int]) -> int:
    """Tokens of a row once its prompt and its continuation are padded to the longest."""
    prompt = max(rows[i].prompt_length for i in batch)
    return prompt + max(len(rows[i].ids) - rows[i].prompt_length for i in batch)
