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

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Int[Tensor, "batch pos"]
Mask = Bool[Tensor, "batch pos"]
Activation = Float[Tensor, "n *site"]
Logits = Float[Tensor, "batch vocab"]
