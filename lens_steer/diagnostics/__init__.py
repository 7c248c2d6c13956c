"""Reports that look at a direction or a method in depth, before and beside comparisons."""

from lens_steer.diagnostics.divergence_point import DivergenceReport as DivergenceReport
from lens_steer.diagnostics.manifold import ManifoldReport as ManifoldReport
from lens_steer.diagnostics.path_split import PathSplitReport as PathSplitReport
from lens_steer.diagnostics.read_steer import ReadSteerReport as ReadSteerReport
from lens_steer.diagnostics.steerability import SteerabilityReport as SteerabilityReport
