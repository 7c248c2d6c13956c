"""Which heads, neurons and dimensions carry a behaviour, and how far to trust the answer."""

from lens_steer.attribution._ablation import AblationReport as AblationReport
from lens_steer.attribution._ablation import effects as effects
from lens_steer.attribution._agreement import AgreementReport as AgreementReport
from lens_steer.attribution._agreement import SignReport as SignReport
from lens_steer.attribution._contrast import contrast as contrast
from lens_steer.attribution._contrast import contrast_norm as contrast_norm
from lens_steer.attribution._contrast import contrast_written as contrast_written
from lens_steer.attribution._gradients import patching as patching
from lens_steer.attribution._gradients import scaling as scaling
from lens_steer.attribution._stability import LabelBalance as LabelBalance
from lens_steer.attribution._stability import StabilityReport as StabilityReport
