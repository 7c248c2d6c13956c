"""Elements of a layer (heads, neurons, dimensions): a score for each, and masks that choose some.

Source: SADI, Wang et al. 2024 (arXiv:2410.12299), section 3: elements are ranked by the mean
difference of their activations over contrastive pairs, over all layers together; the first k make
the binary mask.
"""

from lens_steer.elements._mask import ElementMask as ElementMask
from lens_steer.elements._mask import by_element as by_element
from lens_steer.elements._mask import masked as masked
from lens_steer.elements._scores import ElementScores as ElementScores
from lens_steer.elements._scores import Ranking as Ranking
