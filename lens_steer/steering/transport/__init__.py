"""Optimal transport from the undesired activations to the desired: mean, coordinates, Gaussians.

`maps` has what the maps share, and how those of several layers are fitted in order; `mean_shift`
moves the mean (`MeanAcT`), `affine` each coordinate by itself (`LinearAcT`), `gaussian` all of them
together (`MiMiC`).
"""

from lens_steer.steering.transport.affine import LinearAcT as LinearAcT
from lens_steer.steering.transport.gaussian import MiMiC as MiMiC
from lens_steer.steering.transport.mean_shift import MeanAcT as MeanAcT
