"""Which heads, neurons and dimensions carry a behaviour, and how far to trust the answer.

Elements are scored by the difference between the classes (`contrasts`), by gradients (`gradients`),
also for each nat that a push costs (`nats`), or by leaving them out (`ablation`, over `answers`,
whose hooks are in `scaled_points`); `scores` ranks them, `mask` holds the chosen. `agreement`
compares attributions, `stability` says how far a choice depends on the pairs, and `signs` whether
activations have the sign to be amplified.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.attribution.ablation import AblationReport as AblationReport
from lens_steer.attribution.ablation import zero_ablation as zero_ablation
from lens_steer.attribution.agreement import AgreementReport as AgreementReport
from lens_steer.attribution.answers import answers_at as answers_at
from lens_steer.attribution.answers import frozen_answers_at as frozen_answers_at
from lens_steer.attribution.contrasts import contrast as contrast
from lens_steer.attribution.contrasts import contrast_in_resid as contrast_in_resid
from lens_steer.attribution.contrasts import contrast_norm as contrast_norm
from lens_steer.attribution.gradients import attribution_patching as attribution_patching
from lens_steer.attribution.gradients import grad_x_activation as grad_x_activation
from lens_steer.attribution.mask import ElementMask as ElementMask
from lens_steer.attribution.mask import by_element as by_element
from lens_steer.attribution.mask import masked as masked
from lens_steer.attribution.nats import slope_per_nat as slope_per_nat
from lens_steer.attribution.scores import ElementScores as ElementScores
from lens_steer.attribution.scores import Ranking as Ranking
from lens_steer.attribution.signs import SignReport as SignReport
from lens_steer.attribution.stability import StabilityReport as StabilityReport

_check_room(globals())
