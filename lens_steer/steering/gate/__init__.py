"""Steering some prompts only: a condition on the prompt decides whether a method acts.

`prompts` reads a prompt, `conditions` scores what was read and chooses a threshold, and `gated` has
`Gate`, which acts on the prompts that meet it (arXiv:2409.05907).
"""

from lens_steer.steering.gate.conditions import BarrierCondition as BarrierCondition
from lens_steer.steering.gate.conditions import Condition as Condition
from lens_steer.steering.gate.conditions import CosineCondition as CosineCondition
from lens_steer.steering.gate.gated import Gate as Gate
from lens_steer.steering.gate.prompts import prompt_means as prompt_means
