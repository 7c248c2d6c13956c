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
    Expected("0 (greedy) or a temperature from 1e-6 to 1e6", lambda x: x == 0 or 1e-6 <= x <= 1e6),
]
Angle = Annotated[
    float | int,
    Expected("an angle in rad, from -4 pi to 4 pi", lambda x: abs(x) <= 2 * math.tau + 1e-6),
]
Share = Annotated[float | int, Expected("a share above 0 and at most 1", lambda x: 0 < x <= 1)]
Text = Annotated[str, Expected("a text that is not empty")]
NotBlank = Annotated[str, Expected("a text that is not blank", str.strip)]
Texts = Annotated[Sequence[str], Expected("a list of texts, at least one", len)]
FilePath = Annotated[
    str | Path, Expected("the path of a file", lambda path: str(path) not in ("", "."))
]
FolderPath = Annotated[str | Path, Expected("the path of a folder", lambda path: str(path) != "")]
Nats = Annotated[
    float | int, Expected("nats per token, above 0 and at most 100", lambda x: 0 < x <= 100)
]
Rising = Annotated[
    Sequence[float | int],
    Expected(
        "positive numbers in rising order, at most 1e6",
        lambda x: len(x) > 0 and all(0 < a <= 1e6 for a in x) and list(x) == sorted(set(x)),
    ),
]
Layers = Annotated[
    Sequence[int],
    Expected(
        "a list of layers, whole numbers from 0, at least one",
        lambda layers: len(layers) > 0 and min(layers) >= 0,
    ),
]
