"""Contrastive pairs: texts that show a behaviour beside texts that do not, paired or not."""

from lens_steer.pairs._example import Example as Example
from lens_steer.pairs._example import rows_of as rows_of
from lens_steer.pairs._pairs import ContrastivePairs as ContrastivePairs
