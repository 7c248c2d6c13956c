"""SADI: steering by scaling chosen heads, neurons or dimensions (arXiv:2410.12299)."""

from lens_steer.steering.sadi._frozen import FrozenSADI as FrozenSADI
from lens_steer.steering.sadi._grid import GridReport as GridReport
from lens_steer.steering.sadi._sadi import SADI as SADI
from lens_steer.steering.sadi._signed import SignedSADI as SignedSADI
