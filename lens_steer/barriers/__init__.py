"""Barriers: log-density ratios of two classes of activations, with gradients and Hessians."""

from lens_steer.barriers.barrier import Barrier as Barrier
from lens_steer.barriers.fourier import FourierBarrier as FourierBarrier
from lens_steer.barriers.joint import JointBarrier as JointBarrier
from lens_steer.barriers.linear import LinearBarrier as LinearBarrier
from lens_steer.barriers.polynomial import PolynomialBarrier as PolynomialBarrier
from lens_steer.barriers.sketch import CountSketch as CountSketch
from lens_steer.barriers.sphere import Extremum as Extremum
