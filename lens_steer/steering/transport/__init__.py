"""Optimal transport from the undesired activations to the desired: mean, coordinates, Gaussians."""

from lens_steer.steering.transport._act import LinearAcT as LinearAcT
from lens_steer.steering.transport._act import MeanAcT as MeanAcT
from lens_steer.steering.transport._mimic import MiMiC as MiMiC
