"""Timing two things in turn."""

import statistics
import time
from collections.abc import Callable


def interleaved(
    runs: int, *actions: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Seconds of each action, taken in turn after one warm-up each."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(runs):
        for kept, action in zip(times, actions, strict=True):
            start = clock()
            action()
            kept.append(clock() - start)
    return times


def ratio(above: list[float], below: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
