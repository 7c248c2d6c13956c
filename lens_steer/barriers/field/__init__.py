"""How the gradient field of a barrier behaves at held-out activations, and reports about it.

`trace` follows the field from every row (`paths`, on the integrators of `barriers.flows`) and makes
a `FieldReport` of one report per question: how far rows must go until they count as desired
(`rise`), what many steps buy over one (`gap`), whether the field is more than one direction
(`shape`), whether h is a log-ratio (`calibration`), and whether simpler methods point the same way
(`directions`). `slice_map` draws the field on a plane, `DirectionTokens` reads a barrier's
directions as tokens. All means are over `HeldOutRows`, with intervals by group.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.barriers.field.calibration import BarrierCalibration as BarrierCalibration
from lens_steer.barriers.field.calibration_scale import CalibrationPair as CalibrationPair
from lens_steer.barriers.field.direction_tokens import DirectionTokens as DirectionTokens
from lens_steer.barriers.field.directions import DirectionsReport as DirectionsReport
from lens_steer.barriers.field.gap import GapReport as GapReport
from lens_steer.barriers.field.held_out import CLASS_COLOURS as CLASS_COLOURS
from lens_steer.barriers.field.held_out import HeldOutRows as HeldOutRows
from lens_steer.barriers.field.held_out import stacked_rows as stacked_rows
from lens_steer.barriers.field.paths import FlowPaths as FlowPaths
from lens_steer.barriers.field.report import FieldReport as FieldReport
from lens_steer.barriers.field.report import trace as trace
from lens_steer.barriers.field.rise import RiseReport as RiseReport
from lens_steer.barriers.field.shape import ShapeReport as ShapeReport
from lens_steer.barriers.field.slices import SliceMap as SliceMap
from lens_steer.barriers.field.slices import slice_map as slice_map

_check_room(globals())
