"""The axis alphabet: one word per axis, shared by every shape in the package.

| axis | meaning |
|---|---|
| `batch` | rows of a padded batch |
| `pos` | token positions of a row |
| `n` | examples or gathered positions, in no particular order |
| `desired`, `undesired` | examples of either class; the counts may differ |
| `layer` | blocks of the model |
| `head`, `d_head`, `neuron`, `d` | attention heads, their width, MLP neurons, residual stream |
| `*site` | whatever one position holds at a site: `d`, `neuron`, or `head d_head` |

Shapes are checked in the tests (jaxtyping with beartype) and cost nothing in use.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Int[Tensor, "batch pos"]
Mask = Bool[Tensor, "batch pos"]
Activation = Float[Tensor, "n *site"]
Logits = Float[Tensor, "batch vocab"]


def ranges(numbers: Sequence[int]) -> str:
    """Rising whole numbers in short, such as `2-5, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
