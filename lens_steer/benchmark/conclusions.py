"""A comparison's table in a few columns, for a terminal."""

from collections.abc import Iterator
from typing import Any

from lens_steer.benchmark.result import Comparison


def conclusion(found: Comparison) -> Iterator[str]:
    """The table in a few columns, a line for each method."""
    table = found.table()
    for behaviour in found.behaviours:
        part = table[table["behaviour_name"] == behaviour]
        yield f"test     {behaviour}: share with 95 % interval; nats per token and per text;"
        yield "         efficiency; perplexity; share failed; |edit| / |residual|; p after Holm"
        for _, row in part.iterrows():
            yield f"         {row['method']:11} {_line(row)}".replace("nan", "  -")


def _line(row: Any) -> str:
    shown = f"{row['behaviour']:4.0%} [{row['behaviour_low']:3.0%}, {row['behaviour_high']:4.0%}]"
    nats = f"{row['kl']:6.3f} {row['kl_sequence']:6.2f}  {row['efficiency']:4.2f}"
    rest = f"{row['perplexity']:5.2f}  {row['failed']:4.0%}  {row['relative_norm']:5.2f}"
    return f"{shown}  {nats}  {rest}  {row['p_holm']:6.3f}"
