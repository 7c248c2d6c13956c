"""Optimal transport from the undesired activations to the desired: mean, coordinates, Gaussians."""

from lens_steer.steering.transport.affine import LinearAcT as LinearAcT
from lens_steer.steering.transport.affine import MeanAcT as MeanAcT
from lens_steer.steering.transport.gaussian import MiMiC as MiMiC
