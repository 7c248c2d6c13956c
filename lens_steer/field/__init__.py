"""The field of a barrier at held-out activations: is it linear, does the ODE matter, where to?

`trace(barrier, activations, angle=0.5)` gives a `FieldReport`: h along the flow, the flow against
one step, the field's shape, the calibration of h, crowding, what steps cost, and directions beside
it. `slice_map` draws h on a plane.
"""

from lens_steer.field._calibration import CalibrationReport as CalibrationReport
from lens_steer.field._convergence import ConvergenceReport as ConvergenceReport
from lens_steer.field._crowding import CrowdingReport as CrowdingReport
from lens_steer.field._directions import DirectionsReport as DirectionsReport
from lens_steer.field._gap import GapReport as GapReport
from lens_steer.field._reading import Reading as Reading
from lens_steer.field._report import FieldReport as FieldReport
from lens_steer.field._report import trace as trace
from lens_steer.field._rise import RiseReport as RiseReport
from lens_steer.field._sample import Sample as Sample
from lens_steer.field._scaling import CalibrationPair as CalibrationPair
from lens_steer.field._shape import ShapeReport as ShapeReport
from lens_steer.field._slice import SliceMap as SliceMap
from lens_steer.field._slice import slice_map as slice_map
from lens_steer.field._stability import StabilityReport as StabilityReport
from lens_steer.field._turning import TurningReport as TurningReport
