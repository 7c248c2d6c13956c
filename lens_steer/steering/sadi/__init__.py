"""SADI: steering by scaling chosen heads, neurons or dimensions (arXiv:2410.12299).

`scaling` has `SADI`, `folding` writes its factors into the weights; `frozen` is the published
code's patch, `signed` pushes in place of scaling; `grid` tries every size of mask and every
factor, and `grid_drawing` draws it.
"""

from lens_steer.steering.sadi.frozen import FrozenSADI as FrozenSADI
from lens_steer.steering.sadi.grid import GridReport as GridReport
from lens_steer.steering.sadi.grid_answers import GridAnswers as GridAnswers
from lens_steer.steering.sadi.scaling import SADI as SADI
from lens_steer.steering.sadi.signed import SignedSADI as SignedSADI
