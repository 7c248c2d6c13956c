"""Barriers: log-density ratios of two classes of activations, with gradients and Hessians."""

from lens_steer.barriers._barrier import Barrier as Barrier
from lens_steer.barriers._fourier import FourierBarrier as FourierBarrier
from lens_steer.barriers._joint import JointBarrier as JointBarrier
from lens_steer.barriers._linear import LinearBarrier as LinearBarrier
from lens_steer.barriers._polynomial import PolynomialBarrier as PolynomialBarrier
from lens_steer.barriers._sketch import CountSketch as CountSketch
from lens_steer.barriers._sphere import Extremum as Extremum
