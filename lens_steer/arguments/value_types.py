"""Annotations for what arguments mean beyond their type: a seed, a layer, a probability."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from lens_steer.arguments.hints import Expected

_LARGEST = sys.float_info.max  # a larger whole number is no float

Count = Annotated[int, Expected("a whole number of at least 1", lambda n: n >= 1)]
CountFromZero = Annotated[int, Expected("a whole number of at least 0", lambda n: n >= 0)]
Seed = Annotated[int, Expected("a seed: a whole number from 0", lambda n: 0 <= n < 2**63)]
Layer = Annotated[int, Expected("a layer: a whole number from 0", lambda n: n >= 0)]
Number = Annotated[float | int, Expected("a finite number", lambda x: -_LARGEST <= x <= _LARGEST)]
Positive = Annotated[float | int, Expected("a finite number above 0", lambda x: 0 < x <= _LARGEST)]
NonNegative = Annotated[
    float | int, Expected("a finite number of at least 0", lambda x: 0 <= x <= _LARGEST)
]
Temperature = Annotated[
    float | int,
    Expected("0 (greedy) or a temperature from 1e-6", lambda x: x == 0 or 1e-6 <= x <= _LARGEST),
]
Angle = Annotated[
    float | int,
    Expected("an angle in rad, from -2 pi to 2 pi", lambda x: abs(x) <= math.tau + 1e-6),
]
Probability = Annotated[float | int, Expected("a number from 0 to 1", lambda x: 0 <= x <= 1)]
Share = Annotated[float | int, Expected("a share above 0 and at most 1", lambda x: 0 < x <= 1)]
Text = Annotated[str, Expected("a text that is not empty")]
Texts = Annotated[Sequence[str], Expected("a list of texts, at least one", len)]
FilePath = Annotated[
    str | Path, Expected("the path of a file", lambda path: str(path) not in ("", "."))
]
Layers = Annotated[
    Sequence[int],
    Expected(
        "a list of layers, whole numbers from 0, at least one",
        lambda layers: len(layers) > 0 and min(layers) >= 0,
    ),
]
