"""What looks at a direction or a method in depth, before and beside comparisons of methods.

`SteerabilityReport` says on which prompts a method pushes the right way, `ReadSteerReport` from
which tokens and layers a direction is best read, `ManifoldReport` whether steered activations stay
where natural ones are. `vocabulary` says which tokens a direction promotes (`promoted_tokens`,
`promoted_by_layer`, `readout`, `directions`, at `neutral_texts`), `activation_vocabulary` which
ones follow an activation (`likely_tokens`), `project` where texts lie along a direction
(`projection`), `edit_attribution` by which later heads and MLPs an edit changes an answer
(`attributing_edits`, `edit_effects`; `later_components` is its report), `interchange` how much of a
difference a whole activation carries at a layer (`exchanging`, `exchanged_runs`; `carried` is its
report); both score rows in `scored_rows`. `named_methods` checks the methods that each report takes
by name; `clouds` holds natural activations as a distribution, `read_cells` one cell of the read x
steer matrix.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.diagnostics.attributing_edits import edit_attribution as edit_attribution
from lens_steer.diagnostics.carried import Interchange as Interchange
from lens_steer.diagnostics.directions import head_direction as head_direction
from lens_steer.diagnostics.directions import neuron_direction as neuron_direction
from lens_steer.diagnostics.exchanged_runs import Probe as Probe
from lens_steer.diagnostics.exchanging import interchange as interchange
from lens_steer.diagnostics.later_components import EditAttribution as EditAttribution
from lens_steer.diagnostics.likely_tokens import ActivationVocabulary as ActivationVocabulary
from lens_steer.diagnostics.likely_tokens import activation_vocabulary as activation_vocabulary
from lens_steer.diagnostics.manifold import ManifoldReport as ManifoldReport
from lens_steer.diagnostics.named_methods import check_named as check_named
from lens_steer.diagnostics.named_methods import row_of as row_of
from lens_steer.diagnostics.neutral_texts import NEUTRAL_TEXTS as NEUTRAL_TEXTS
from lens_steer.diagnostics.projection import Projection as Projection
from lens_steer.diagnostics.projection import project as project
from lens_steer.diagnostics.promoted_by_layer import VocabularyByLayer as VocabularyByLayer
from lens_steer.diagnostics.promoted_by_layer import vocabulary_by_layer as vocabulary_by_layer
from lens_steer.diagnostics.promoted_tokens import Vocabulary as Vocabulary
from lens_steer.diagnostics.promoted_tokens import vocabulary as vocabulary
from lens_steer.diagnostics.read_steer import ReadSteerReport as ReadSteerReport
from lens_steer.diagnostics.readout import CarriedApartError as CarriedApartError
from lens_steer.diagnostics.steerability import SteerabilityReport as SteerabilityReport

_check_room(globals())
