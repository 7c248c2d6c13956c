"""Blocks as maps of a text's last token, its context frozen: their Jacobians and products."""

from lens_steer.jacobians._fisher import PullbackFisher as PullbackFisher
from lens_steer.jacobians._fisher import pullback_fisher as pullback_fisher
from lens_steer.jacobians._linearize import linearize as linearize
from lens_steer.jacobians._maps import BlockMaps as BlockMaps
from lens_steer.jacobians._rows import Texts as Texts
from lens_steer.jacobians._types import LayerJacobians as LayerJacobians
