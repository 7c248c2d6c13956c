"""What looks at a direction or a method in depth, before and beside comparisons of methods.

`SteerabilityReport` says on which prompts a method pushes the right way, `ReadSteerReport` from
which tokens and layers a direction is best read, `ManifoldReport` whether steered activations stay
where natural ones are; `vocabulary` which tokens a direction promotes and suppresses.
`named_methods` checks the methods that each report takes by name; `clouds`
holds natural activations as a distribution, `read_cells` one cell of the read x steer matrix.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.diagnostics.directions import head_direction as head_direction
from lens_steer.diagnostics.directions import neuron_direction as neuron_direction
from lens_steer.diagnostics.manifold import ManifoldReport as ManifoldReport
from lens_steer.diagnostics.named_methods import check_named as check_named
from lens_steer.diagnostics.named_methods import row_of as row_of
from lens_steer.diagnostics.read_steer import ReadSteerReport as ReadSteerReport
from lens_steer.diagnostics.steerability import SteerabilityReport as SteerabilityReport
from lens_steer.diagnostics.vocabulary import Vocabulary as Vocabulary
from lens_steer.diagnostics.vocabulary import vocabulary as vocabulary

_check_room(globals())
