"""Measurements of a barrier's gradient field along flows: `trace` makes a `FieldReport`."""

from lens_steer.barriers.field.calibration import BarrierCalibration as BarrierCalibration
from lens_steer.barriers.field.convergence import ConvergenceReport as ConvergenceReport
from lens_steer.barriers.field.crowding import CrowdingReport as CrowdingReport
from lens_steer.barriers.field.directions import DirectionsReport as DirectionsReport
from lens_steer.barriers.field.gap import GapReport as GapReport
from lens_steer.barriers.field.reading import DirectionTokens as DirectionTokens
from lens_steer.barriers.field.report import FieldReport as FieldReport
from lens_steer.barriers.field.report import trace as trace
from lens_steer.barriers.field.rise import RiseReport as RiseReport
from lens_steer.barriers.field.sample import HeldOutRows as HeldOutRows
from lens_steer.barriers.field.scaling import CalibrationPair as CalibrationPair
from lens_steer.barriers.field.shape import ShapeReport as ShapeReport
from lens_steer.barriers.field.slices import SliceMap as SliceMap
from lens_steer.barriers.field.slices import slice_map as slice_map
from lens_steer.barriers.field.stability import FieldStability as FieldStability
from lens_steer.barriers.field.turning import TurningReport as TurningReport
