"""Components of variance of a balanced crossed design, and what changing one factor alone changes.

Model: y = mean + main effects + two-way interactions + rest, all random and independent with mean
0; the rest holds the noise and every interaction of three factors or more. The method of moments
sets each mean square of the analysis of variance to its expectation,

    E[MS_e] = s_e,   E[MS_ij] = s_e + c_ij s_ij,   E[MS_i] = s_e + sum_j c_ij s_ij + c_i s_i,

where c is the number of cells at one level of the factor, or of both, and solves for the variances
s (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4). Estimates are unbiased, so
that a component of 0 comes out negative about as often as positive: it is reported as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

REST = "rest"
TIMES = " x "  # between the names of two factors
FEWEST = 2  # factors, and levels of each

Cells = Float[np.ndarray, "*factor"]
Components = dict[str, float]


@dataclass(frozen=True)
class Square:
    """One line of an analysis of variance.

    Attributes:
        sum: Of squares, in squared units of the cells.
        freedom: Degrees of freedom.
        cells: At one level of the factor, or of each of both; 1 for the rest.
    """

    sum: float
    freedom: int
    cells: int

    @property
    def mean(self) -> float:
        """The mean square."""
        return self.sum / self.freedom


def squares(y: Cells, names: Sequence[str]) -> dict[str, Square]:
    """The analysis of variance of cells, one for each combination of levels.

    Args:
        y: An axis for each factor, at least two, of at least two levels.
        names: Of the factors.

    Returns:
        Main effects by name, two-way interactions as `a x b`, and `rest`. Of two factors the
        interaction is the rest. The sums of squares add up to that of y about its mean.

    Raises:
        ValueError: If there are fewer factors or levels, names do not fit, or cells are not finite.
    """
    _check(y, names)
    found: dict[str, Square] = {}
    left, free = float(((y - y.mean()) ** 2).sum()), y.size - 1
    for order in (1, 2) if y.ndim > FEWEST else (1,):
        for kept in combinations(range(y.ndim), order):
            effect = y.mean(axis=tuple(i for i in range(y.ndim) if i not in kept), keepdims=True)
            for i in kept:
                effect = effect - effect.mean(axis=i, keepdims=True)
            cells = y.size // effect.size
            freedom = int(np.prod([y.shape[i] - 1 for i in kept]))
            square = Square(cells * float((effect**2).sum()), freedom, cells)
            found[TIMES.join(names[i] for i in kept)] = square
            left, free = left - square.sum, free - freedom
    return found | {REST: Square(left, free, 1)}


def components(y: Cells, names: Sequence[str]) -> Components:
    """The variance that goes with each factor, each two of them, and the rest.

    Args:
        y: As `squares`.
        names: As `squares`.

    Returns:
        By the names of `squares`, in squared units of the cells. A constant added to y changes
        none, a factor b multiplies all by b squared. Their sum is the variance of a cell of which
        every level is drawn anew; estimates may be negative.

    Raises:
        ValueError: As `squares`.
    """
    found = squares(y, names)
    rest = found[REST].mean
    both = {name: each for name, each in found.items() if TIMES in name}
    result = {name: (each.mean - rest) / each.cells for name, each in both.items()}
    for name in names:
        crossed = sum(each.mean - rest for key, each in both.items() if name in key.split(TIMES))
        result[name] = (found[name].mean - rest - crossed) / found[name].cells
    return {name: result.get(name, rest) for name in found}


def changed_alone(y: Cells, names: Sequence[str]) -> Components:
    """The mean absolute difference of two cells that differ in one factor, by its name.

    It is the mean over all pairs of levels and all levels of the other factors, in units of y, and
    holds the noise of both cells.

    Args:
        y: As `squares`.
        names: As `squares`.

    Raises:
        ValueError: As `squares`.
    """
    _check(y, names)
    found = {}
    for axis, name in enumerate(names):
        levels = np.moveaxis(y, axis, 0)
        first, second = np.triu_indices(len(levels), 1)
        found[name] = float(np.abs(levels[first] - levels[second]).mean())
    return found


def leaving_out(
    statistic: Callable[[Cells], np.ndarray], y: Cells
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic with its 95 % interval over the levels of the first axis: the jackknife.

    Each level is left out in turn; the interval is that of a t distribution with one degree of
    freedom less than there are levels. Levels are left out and not drawn with replacement: a level
    drawn twice does not differ from itself, which would make components of variance too small.

    Args:
        statistic: Of cells `[level ...]`; an array of numbers.
        y: At least two levels; with fewer than three no statistic of variance between them is left.

    Returns:
        The statistic of all levels, and the ends of its interval: NaN where it is not defined
        without a level.
    """
    from scipy import stats

    n, value = len(y), np.asarray(statistic(y))
    if n <= FEWEST:
        return value, np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    without = np.stack([statistic(np.delete(y, i, axis=0)) for i in range(n)])
    error = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    return value, np.asarray(value - reach), np.asarray(value + reach)


def _check(y: Cells, names: Sequence[str]) -> None:
    if y.ndim < FEWEST or min(y.shape) < FEWEST or len(names) != y.ndim:
        raise ValueError(
            f"got cells of shape {list(y.shape)} and the factors {', '.join(names)}: expected at "
            "least two factors of at least two levels, each with a name"
        )
    if not np.isfinite(y).all():
        raise ValueError(
            f"{int((~np.isfinite(y)).sum())} of {y.size} cells are NaN or infinite: expected every "
            "cell of a balanced design, leave levels out that were not measured"
        )
