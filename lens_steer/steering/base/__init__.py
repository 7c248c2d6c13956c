"""What all steering methods share: intervention, scope, the steered block, generation."""

from lens_steer.steering.base._continue import Methods as Methods
from lens_steer.steering.base._continue import continuations as continuations
from lens_steer.steering.base._continue import continuations_of_each as continuations_of_each
from lens_steer.steering.base._decode import Draws as Draws
from lens_steer.steering.base._directions import check_unit as check_unit
from lens_steer.steering.base._directions import unit_of as unit_of
from lens_steer.steering.base._displacement import Displacement as Displacement
from lens_steer.steering.base._displacement import Push as Push
from lens_steer.steering.base._generate import generate as generate
from lens_steer.steering.base._generate import prompt_rows as prompt_rows
from lens_steer.steering.base._intervention import AnyIntervention as AnyIntervention
from lens_steer.steering.base._intervention import Edit as Edit
from lens_steer.steering.base._intervention import Intervention as Intervention
from lens_steer.steering.base._sampling import Sampling as Sampling
from lens_steer.steering.base._scope import Scope as Scope
from lens_steer.steering.base._scope import absolute_positions as absolute_positions
from lens_steer.steering.base._scope import check_scope as check_scope
from lens_steer.steering.base._scope import steered_positions as steered_positions
from lens_steer.steering.base._site_map import SiteMap as SiteMap
from lens_steer.steering.base._site_map import check_shape as check_shape
from lens_steer.steering.base._site_map import rows_of as rows_of
from lens_steer.steering.base._steered import steered as steered
